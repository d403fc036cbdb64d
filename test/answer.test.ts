import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { answer } from '../lib/answer.ts'
import { TunnelError } from '../lib/errors.ts'
import { until, visitor } from './helpers.ts'
import { get, post, twoTunnels } from './two-tunnels.ts'

/** The head and the body of the one answer in `text`, whose length must be right. */
function read(text: string): { status: number; fields: Map<string, string>; body: string } {
  const [head = '', body = ''] = text.split(/\r\n\r\n([^]*)/)
  const [line = '', ...lines] = head.split('\r\n')
  const fields = new Map(lines.map((field) => field.split(/: ([^]*)/).slice(0, 2) as [string, string]))
  return { status: Number(line.split(' ')[1]), fields, body }
}

const nobody = { host: 'nobody.localhost' }
const browser = 'Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n'

test('an answer of our own says who speaks and why, is not stored, not indexed, and ends the connection', async (t) => {
  const { server, one } = await twoTunnels(t)
  for (const request of [
    get(nobody),
    get(nobody, '/', browser),
    get(nobody, '/', 'Accept: application/json\r\n'),
    'nonsense\r\n\r\n',
    post(nobody, '/', 'x'),
  ]) {
    const client = visitor(t, server).send(request + get(one))
    assert.equal(await client.ended(), 'end')
    const { fields, body } = read(client.text)
    assert.equal(fields.get('Connection'), 'close')
    assert.equal(fields.get('Cache-Control'), 'no-store')
    assert.equal(fields.get('X-Robots-Tag'), 'noindex')
    assert.equal(fields.get('X-Content-Type-Options'), 'nosniff')
    assert.match(fields.get('Content-Security-Policy') ?? '', /^default-src 'none'/)
    assert.match(fields.get('X-Groktunnel-Error') ?? '', /^(no-such-tunnel|bad-request)$/)
    assert.equal(Number(fields.get('Content-Length')), Buffer.byteLength(body, 'latin1'))
  }
})

test('it is a page for browsers, JSON for who asks for it, and one line of text for all others', async (t) => {
  const { server } = await twoTunnels(t)
  const ask = async (fields: string) => {
    const client = visitor(t, server).send(get(nobody, '/', fields))
    await client.ended()
    return read(client.text)
  }
  const page = await ask(browser)
  assert.equal(page.fields.get('Content-Type'), 'text/html; charset=utf-8')
  assert.match(
    page.body,
    /^<!doctype html>[^]*<meta name="robots" content="noindex">[^]*<h1>404 Not Found<\/h1>/,
  )
  assert.doesNotMatch(page.body, /<script|\son\w+=|https?:\/\//i)
  const json = await ask('accept: application/json\r\n')
  assert.equal(json.fields.get('Content-Type'), 'application/json; charset=utf-8')
  assert.deepEqual(Object.keys(JSON.parse(json.body) as object), ['code', 'message'])
  for (const fields of ['', 'Accept: */*\r\n', 'Accept: text/plain\r\n']) {
    const text = await ask(fields)
    assert.equal(text.fields.get('Content-Type'), 'text/plain; charset=utf-8')
    assert.match(text.body, /^404 Not Found: .*nobody\.localhost\n$/)
  }
})

test('HEAD is answered with the head of the same answer and no body', async (t) => {
  const { server } = await twoTunnels(t)
  const whole = visitor(t, server).send(get(nobody))
  await whole.ended()
  const head = visitor(t, server).send(get(nobody).replace('GET', 'HEAD'))
  assert.equal(await head.ended(), 'end')
  assert.ok(head.text.endsWith('\r\n\r\n'))
  assert.equal(read(head.text).fields.get('Content-Length'), read(whole.text).fields.get('Content-Length'))
})

describe('nothing a visitor sends comes back as HTML:', () => {
  const evil = '<script>alert(1)</script>'
  const chunked = 'Transfer-Encoding: chunked\r\n'
  const requests: [name: string, request: (host: string) => string][] = [
    ['in Host', () => get({ host: `${evil}.localhost` }, '/', browser)],
    ['in the path', () => get(nobody, `/${evil}`, browser)],
    ['in a field', () => get(nobody, '/', `${browser}X: ${evil}\r\n`)],
    ['in a field’s name', (host) => get({ host }, '/', `${browser}${evil}: x\r\n`)],
    ['in the method', () => `${evil} / HTTP/1.1\r\n${browser}\r\n`],
    [
      'in a chunk’s extension',
      (host) => `${get({ host }, '/', browser + chunked)}1;${evil}\r\nx\r\n0\r\n\r\n`,
    ],
    ['in a chunk’s size', (host) => `${get({ host }, '/', browser + chunked)}<`],
    ['in trailers', (host) => `${get({ host }, '/', browser + chunked)}0\r\n${evil}\r\n\r\n`],
  ]
  for (const [name, request] of requests) {
    test(name, async (t) => {
      const { server, one } = await twoTunnels(t)
      const client = visitor(t, server).send(request(one.host))
      assert.equal(await client.ended(), 'end')
      const { status, fields, body } = read(client.text)
      assert.ok(status === 400 || status === 404)
      if (fields.get('Content-Type')?.startsWith('text/html')) assert.ok(!body.includes('<script'))
      assert.ok(![...fields.values()].some((value) => value.includes('<')))
    })
  }
})

test('a fault in a body is told in the form the visitor accepts, quoted safely', async (t) => {
  const { server, one } = await twoTunnels(t)
  const client = visitor(t, server)
  client.send(`${get(one, '/', `${browser}Transfer-Encoding: chunked\r\n`)}1;<b>"&'\r\n`)
  assert.equal(await client.ended(), 'end')
  const { status, fields, body } = read(client.text)
  assert.equal(status, 400)
  assert.equal(fields.get('Content-Type'), 'text/html; charset=utf-8')
  assert.ok(body.includes('&#60;b&#62;') && !body.includes('<b>'))
})

describe('also where the head itself is refused:', () => {
  const heads: [what: string, status: number, head: (host: string) => string][] = [
    ['two Hosts', 400, (host) => get({ host }, '/', `${browser}Host: other\r\n`)],
    ['a bare LF', 400, (host) => get({ host }, '/', `${browser}A: b\nC: d\r\n`)],
    ['a coding of its own', 501, (host) => get({ host }, '/', `${browser}Transfer-Encoding: x\r\n`)],
    ['cookies of 70 KiB', 431, (host) => get({ host }, '/', `${browser}Cookie: ${'x'.repeat(70_000)}\r\n`)],
    ['time enough', 408, (host) => get({ host }, '/', browser).slice(0, -2)],
  ]
  for (const [what, status, head] of heads) {
    for (const how of ['in one write', 'in many']) {
      test(`${what}, ${how}`, async (t) => {
        const { server, one } = await twoTunnels(t, { headTimeoutMs: 200 })
        const text = head(one.host)
        const client = visitor(t, server)
        const [first, rest] = [text.slice(0, how === 'in many' ? 180 : Infinity), text.slice(180)]
        client.send(first)
        if (how === 'in many') await new Promise((resolve) => client.socket.write(rest.slice(0, 7), resolve))
        if (how === 'in many') client.send(rest.slice(7))
        await until(() => client.ending !== undefined || client.text.includes('</html>'), 'an answer')
        const answered = read(client.text)
        assert.equal(answered.status, status)
        assert.equal(answered.fields.get('Content-Type'), 'text/html; charset=utf-8')
      })
    }
  }
})

test('a HEAD that is refused is answered with a head', async (t) => {
  const { server } = await twoTunnels(t)
  for (const before of ['', '\r\n']) {
    const client = visitor(t, server).send(`${before}HEAD / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n`)
    assert.equal(await client.ended(), 'end')
    assert.ok(client.text.startsWith('HTTP/1.1 400 ') && client.text.endsWith('\r\n\r\n'), client.text)
  }
})

test('no message breaks out of the head, whatever is in it', () => {
  const error = new TunnelError('bad-request', 'a\r\nSet-Cookie: evil=1\r\n\r\n<script>\u2028\ud83d\ude00')
  for (const accept of ['text/html', 'application/json', '*/*']) {
    const bytes = answer(error, { method: 'GET', fields: [{ name: 'Accept', value: accept }] })
    const { fields, body } = read(bytes.toString('latin1'))
    assert.equal(fields.get('Set-Cookie'), undefined)
    assert.equal(Number(fields.get('Content-Length')), body.length)
    if (accept === 'text/html') assert.ok(!body.includes('<script'))
    if (accept === 'application/json')
      assert.equal((JSON.parse(Buffer.from(body, 'latin1').toString()) as Error).message, error.message)
  }
})

test('503 says when to try again, 405 what is allowed', () => {
  assert.match(answer(new TunnelError('server-full', 'full')).toString(), /\r\nRetry-After: \d+\r\n/)
  assert.match(answer(new TunnelError('method-not-allowed', 'no')).toString(), /\r\nAllow: GET, /)
})
