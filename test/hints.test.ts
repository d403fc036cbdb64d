import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hints, type Look } from '../lib/deliver/hints.ts'
import { deliverTo } from './delivering.ts'
import { ask, httpApp, until } from './helpers.ts'

const pages: [status: number, page: string, server: string][] = [
  [403, 'Blocked request. This host ("x.localhost") is not allowed.\nTo allow this host, add ...', 'Vite'],
  [403, 'Invalid Host header', 'webpack-dev-server'],
  [200, 'Invalid Host header', 'webpack-dev-server'],
  [403, '<body><h1>Blocked hosts: x.localhost</h1>', 'Rails'],
  [403, 'Blocked host: x.localhost', 'Rails'],
  [400, '<title>DisallowedHost at /</title>', 'Django'],
  [400, '<h2>Bad Request - Invalid Hostname</h2>', 'ASP.NET'],
  [403, 'Host not permitted', 'Sinatra'],
  [403, 'Unauthorized', 'Next.js'],
]

for (const [status, page, server] of pages) {
  test(`the ${status} page of ${server} is told once, with the flag that cures it`, async (t) => {
    const app = await httpApp(t, (_, response) =>
      response.writeHead(status, { 'Content-Length': page.length }).end(page),
    )
    for (const options of [{}, { header: ['X-A: b'] }]) {
      if (status === 200 && 'header' in options) continue
      const way = await deliverTo(t, app.port, options)
      for (let n = 0; n < 2; n++) assert.equal((await ask(way)).body, page)
      const told = `the local service seems to refuse the tunnel’s host (${server}); try --host-header rewrite`
      assert.deepEqual(way.hints, [told])
    }
  })
}

test('other answers are no hint, and none is given where Host is rewritten already', async (t) => {
  const answers: [status: number, body: string][] = [
    [200, 'Blocked request. This host ("x") is not allowed.'],
    [404, 'Blocked hosts: x'],
    [403, 'Unauthorized: log in first'],
    [403, `${'x'.repeat(4096)}Blocked hosts: x`],
    [400, 'HTTP/1.1 403'],
  ]
  let answer = answers[0]
  const app = await httpApp(t, (_, response) => response.writeHead(answer?.[0] ?? 0).end(answer?.[1]))
  for (const options of [{}, { header: ['X-A: b'] }]) {
    const way = await deliverTo(t, app.port, options)
    for (answer of answers) await ask(way)
    assert.deepEqual(way.hints, [])
  }
  answer = [403, 'Blocked hosts: x']
  const way = await deliverTo(t, app.port, { hostHeader: 'rewrite' })
  assert.equal((await ask(way)).status, 403)
  assert.deepEqual(way.hints, [])
})

test('a page is read across pieces, on a connection that served before, and only its first 4 KiB', () => {
  const told: string[] = []
  const feed = (look: Look | undefined, ...pieces: string[]) =>
    pieces.forEach((piece) => look?.(Buffer.from(piece)))
  const fresh = () => hints((message) => told.push(message)).ofConnection()
  feed(
    fresh(),
    'HTTP/1.1 200 OK\r\n\r\nfine',
    'HTTP/1.1 403 Forbidden\r\n\r\nBlocked re',
    'quest. This host (x',
    ') is',
  )
  assert.equal(told.length, 1)
  feed(fresh(), 'HTTP/1.1 403 Forbidden\r\n\r\n', 'x'.repeat(5000), 'Blocked hosts: x')
  feed(fresh(), 'HTTP/1.1 400 Bad\r\n\r\n', 'x'.repeat(4075), 'Blocked hosts: x', 'Blocked hosts: x')
  feed(fresh(), '', 'H', 'HTTP/1.1 4', '\x15\x03\x01')
  assert.equal(told.length, 1)
  const one = hints((message) => told.push(message))
  const [first, second] = [one.ofConnection(), one.ofConnection()]
  feed(first, 'HTTP/1.1 403 Forbidden\r\n\r\nBlocked hosts: x')
  feed(second, 'HTTP/1.1 403 Forbidden\r\n\r\nBlocked hosts: x')
  assert.equal(told.length, 2)
  assert.equal(one.ofConnection(), undefined)
})

test('after a thousand connections nobody looks any more', () => {
  const all = hints(() => undefined)
  for (let nth = 1; nth <= 1_000; nth++) assert.notEqual(all.ofConnection(), undefined)
  assert.equal(all.ofConnection(), undefined)
})

test('a hint comes also when the page is sent in pieces over a real connection', async (t) => {
  const app = await httpApp(t, (_, response) => {
    response.writeHead(403).write('<body>')
    setImmediate(() => response.end('Blocked hosts: x'))
  })
  const way = await deliverTo(t, app.port)
  await ask(way)
  await until(() => way.hints.length === 1, 'a hint')
})
