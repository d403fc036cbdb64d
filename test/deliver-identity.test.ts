import assert from 'node:assert/strict'
import type { IncomingMessage } from 'node:http'
import { test, type TestContext } from 'node:test'
import { identity, visitedOrigin } from '../lib/deliver/identity.ts'
import type { Field } from '../lib/http/fields.ts'
import { parseTarget } from '../lib/target.ts'
import { deliverTo, linesOf } from './delivering.ts'
import { ask, httpApp, visitor } from './helpers.ts'

/** A service that answers with the fields it is told to, and tells those it got. */
async function mirror(t: TestContext) {
  const seen: IncomingMessage[] = []
  const answer: [string, string | string[]][] = []
  const app = await httpApp(t, (request, response) => {
    seen.push(request)
    for (const [name, value] of answer) response.setHeader(name, value)
    response.end('ok')
  })
  return { port: app.port, seen, answer }
}

test('--host-header rewrite: the service sees itself, and nothing that names the public host', async (t) => {
  const { port, seen } = await mirror(t)
  const way = await deliverTo(t, port, { hostHeader: 'rewrite' })
  const headers = {
    origin: way.url,
    referer: `${way.url}/a?b=${way.url}`,
    destination: `${way.url.replace('http', 'https')}/moved`,
    'x-own': way.host,
  }
  await ask(way, { headers })
  const self = `http://localhost:${port}`
  assert.equal(seen[0]?.headers.host, `localhost:${port}`)
  assert.equal(seen[0]?.headers.origin, self)
  assert.equal(seen[0]?.headers.referer, `${self}/a?b=${way.url}`)
  assert.equal(seen[0]?.headers.destination, `${self}/moved`)
  assert.equal(seen[0]?.headers['x-own'], way.host)
  const told = linesOf(seen[0]).filter((line) => /^(x-)?forwarded/i.test(line))
  assert.deepEqual(told, ['X-Forwarded-For: 127.0.0.1'])
})

test('origins and referers of other sites stay as they are', async (t) => {
  const { port, seen } = await mirror(t)
  const way = await deliverTo(t, port, { hostHeader: 'rewrite' })
  for (const origin of [
    'null',
    'http://evil.test',
    `http://evil.test#${way.host}`,
    `http://x.${way.host}`,
    'junk',
  ]) {
    const referer = `http://evil.test/${way.url}`
    await ask(way, { headers: { origin, referer } })
    assert.deepEqual([seen.at(-1)?.headers.origin, seen.at(-1)?.headers.referer], [origin, referer])
  }
})

test('a target in absolute form reaches the service as a path', async (t) => {
  const { port, seen } = await mirror(t)
  const way = await deliverTo(t, port, { hostHeader: 'rewrite' })
  for (const [path, expected] of [
    ['/a?b', '/a?b'],
    ['', '/'],
    ['?x', '/?x'],
  ]) {
    const one = visitor(t, way).send(`GET ${way.url}${path} HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`)
    await one.got(/ 200 OK/)
    assert.equal(seen.at(-1)?.url, expected)
  }
})

test('its answers name the public host again', async (t) => {
  const { port, answer } = await mirror(t)
  const way = await deliverTo(t, port, { hostHeader: 'rewrite' })
  const hostname = new URL(way.url).hostname
  const urls: [from: string, to: string][] = [
    [`http://localhost:${port}/a?b#c`, `${way.url}/a?b#c`],
    [`https://localhost:${port}`, way.url],
    [`HTTP://LocalHost:${port}/x`, `${way.url}/x`],
    [`http://127.0.0.1:${port}/`, `${way.url}/`],
    [`http://[::1]:${port}/`, `${way.url}/`],
    [`//localhost:${port}/x`, `//${way.host}/x`],
    ['/path', '/path'],
    [`http://localhost:${port + 1}/`, `http://localhost:${port + 1}/`],
    [`http://localhost:${port}.evil.test/`, `http://localhost:${port}.evil.test/`],
    [`http://user@localhost:${port}/`, `http://user@localhost:${port}/`],
    ['https://login.test/?to=http://localhost', 'https://login.test/?to=http://localhost'],
  ]
  for (const [from, to] of urls) {
    answer.splice(0, Infinity, ['Location', from], ['Content-Location', from], ['X-Own', from])
    const { headers } = await ask(way)
    assert.deepEqual([headers.location, headers['content-location'], headers['x-own']], [to, to, from])
  }
  const origins = [
    [`http://localhost:${port}`, way.url],
    ['*', '*'],
    ['null', 'null'],
    ['http://a.test', 'http://a.test'],
  ]
  for (const [from = '', to] of origins) {
    answer.splice(0, Infinity, ['Access-Control-Allow-Origin', from])
    assert.equal((await ask(way)).headers['access-control-allow-origin'], to)
  }
  const cookies: [from: string, to: string][] = [
    ['a=1; Domain=localhost; Path=/', `a=1; Domain=${hostname}; Path=/`],
    ['b=2;domain = .127.0.0.1', `b=2;domain = ${hostname}`],
    ['c=domain=localhost; Secure', 'c=domain=localhost; Secure'],
    ['d=4; Domain=other.test', 'd=4; Domain=other.test'],
    ['e=5; Domain=', 'e=5; Domain='],
  ]
  answer.splice(0, Infinity, ['Set-Cookie', cookies.map(([from]) => from)])
  assert.deepEqual(
    (await ask(way)).headers['set-cookie'],
    cookies.map(([, to]) => to),
  )
})

test('--host-header VALUE: the service sees that host, and is known by it', async (t) => {
  const { port, seen, answer } = await mirror(t)
  const way = await deliverTo(t, port, { hostHeader: 'App.MyApp.test:8080' })
  answer.push(['Location', 'http://app.myapp.test:8080/in'], ['Set-Cookie', 'a=1; Domain=myapp.test'])
  const { headers } = await ask(way, { headers: { origin: way.url } })
  assert.equal(seen[0]?.headers.host, 'app.myapp.test:8080')
  assert.equal(seen[0]?.headers.origin, 'http://app.myapp.test:8080')
  assert.equal(headers.location, `${way.url}/in`)
  assert.deepEqual(headers['set-cookie'], [`a=1; Domain=${new URL(way.url).hostname}`])
})

const field = (name: string, value: string): Field => ({ name, value })

test('over TLS and on a scheme’s own port, each host is written as its scheme has it', () => {
  const fields = [
    field('Host', 'app.test'),
    field('Origin', 'https://app.test'),
    field('X-Forwarded-Proto', 'https'),
    field('X-Forwarded-Host', 'app.test'),
  ]
  const visited = visitedOrigin(fields)
  assert.equal(visited, 'https://app.test')
  const plain = identity({ hostHeader: 'rewrite' }, parseTarget('80'))
  assert.deepEqual(plain?.request(fields, visited), [
    field('Host', 'localhost'),
    field('Origin', 'http://localhost'),
  ])
  const secure = identity({ hostHeader: 'rewrite' }, parseTarget('https://dev.test'))
  assert.deepEqual(secure?.request(fields, visited), [
    field('Host', 'dev.test'),
    field('Origin', 'https://dev.test'),
  ])
  for (const own of ['https://dev.test/x', 'https://dev.test:443/x', 'http://dev.test:80/x'])
    assert.deepEqual(secure?.answer([field('Location', own)], visited), [
      field('Location', 'https://app.test/x'),
    ])
})

test('what a server tells of the visitor can be anything, and breaks nothing', () => {
  const rewriting = identity({ hostHeader: 'rewrite' }, parseTarget('3000'))
  for (const host of ['', ' ', 'a b', '[', 'http://x', '\xff', ':', 'x:99999']) {
    for (const name of ['Host', 'X-Forwarded-Host']) {
      const fields = [field(name, host), field('Origin', `http://${host}`)]
      const visited = visitedOrigin(fields)
      assert.ok(URL.canParse(visited), `${name}: ${host} gave ${visited}`)
      rewriting?.request(fields, visited)
      rewriting?.answer(
        [field('Set-Cookie', 'a=1; Domain=localhost'), field('Location', '//localhost:3000')],
        visited,
      )
    }
  }
  assert.equal(identity({}, parseTarget('3000')), undefined)
})

test('--header, --remove-header and --response-header replace, add and remove', async (t) => {
  const { port, seen, answer } = await mirror(t)
  answer.push(['X-Old', 'old'], ['Server', 'app'])
  const way = await deliverTo(t, port, {
    header: ['X-New: one', 'X-New:two', 'user-agent: mine', 'X-Empty:', 'X-Colon: a:b'],
    removeHeader: ['cookie', 'X-Forwarded-Host'],
    responseHeader: ['server: tunnel', 'X-Old: new', 'X-Old: newer', 'Cache-Control: no-store'],
  })
  const { headers } = await ask(way, { headers: { 'user-agent': 'theirs', cookie: 'a=1', 'x-new': 'zero' } })
  const lines = linesOf(seen[0] as IncomingMessage)
  for (const line of ['X-New: one', 'X-New: two', 'user-agent: mine', 'X-Empty: ', 'X-Colon: a:b'])
    assert.equal(lines.filter((found) => found === line).length, 1, line)
  assert.ok(!lines.some((line) => /zero|theirs|^cookie|^x-forwarded-host/i.test(line)), lines.join())
  assert.deepEqual(
    [headers.server, headers['x-old'], headers['cache-control']],
    ['tunnel', 'new, newer', 'no-store'],
  )
})
