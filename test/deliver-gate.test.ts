import assert from 'node:assert/strict'
import { test } from 'node:test'
import { delivery, type DeliverOptions } from '../lib/deliver/deliver.ts'
import { gate } from '../lib/deliver/gate.ts'
import { TunnelError } from '../lib/errors.ts'
import { parseTarget } from '../lib/target.ts'
import { deliverTo, tempFolder } from './delivering.ts'
import { ask, httpApp, visitor } from './helpers.ts'
import { writeFileSync } from 'node:fs'

const basic = (text: string) => ({ authorization: `Basic ${Buffer.from(text).toString('base64')}` })

test('--basic-auth asks for a password in a page of ours, and keeps it from the service', async (t) => {
  const seen: unknown[] = []
  const app = await httpApp(t, (request, response) => {
    seen.push(request.headers.authorization)
    response.end('secret')
  })
  const way = await deliverTo(t, app.port, { basicAuth: 'us:pä:ss' })
  const without = await ask(way, { headers: { accept: 'text/html' } })
  assert.equal(without.status, 401)
  assert.equal(without.headers['www-authenticate'], 'Basic realm="groktunnel", charset="UTF-8"')
  assert.equal(without.headers['x-groktunnel-error'], 'unauthorized')
  assert.match(without.body, /<!doctype html>/)
  const wrong = ['us:pä:s', 'us:pä:sss', 'us', ':', '', 'us:pä:ss\0', 'US:pä:ss']
  for (const text of wrong) assert.equal((await ask(way, { headers: basic(text) })).status, 401, text)
  const odd = ['Basic', 'Basic ===', 'Bearer x', `basic  ${Buffer.from('us:pä:ss').toString('base64')} x`]
  for (const authorization of odd) assert.equal((await ask(way, { headers: { authorization } })).status, 401)
  assert.deepEqual(seen, [])
  const right = await ask(way, { headers: basic('us:pä:ss') })
  assert.deepEqual([right.status, right.body], [200, 'secret'])
  const { authorization } = basic('us:pä:ss')
  const twice = visitor(t, way)
  twice.send(
    `GET / HTTP/1.1\r\nHost: ${way.host}\r\nAuthorization: ${authorization}\r\nAuthorization: x\r\n\r\n`,
  )
  await twice.got(/^HTTP\/1\.1 401 /)
  assert.deepEqual(seen, [undefined])
})

test('a large upload without the password is answered 401, not reset', async (t) => {
  const app = await httpApp(t, () => assert.fail('a request at the service'))
  const way = await deliverTo(t, app.port, { basicAuth: 'u:p' })
  const one = visitor(t, way)
  one.send(`POST / HTTP/1.1\r\nHost: ${way.host}\r\nContent-Length: 8000000\r\n\r\n`)
  one.send(Buffer.alloc(8_000_000))
  await one.got(/^HTTP\/1\.1 401 /)
  assert.equal(await one.ended(), 'end')
})

test('each request of a connection is asked for the password', async (t) => {
  const app = await httpApp(t, (_, response) => response.end('secret'))
  const way = await deliverTo(t, app.port, { basicAuth: 'u:p' })
  const one = visitor(t, way)
  one.send(`GET / HTTP/1.1\r\nHost: ${way.host}\r\nAuthorization: ${basic('u:p').authorization}\r\n\r\n`)
  await one.got(/200 OK[^]*secret/)
  one.send(`GET / HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`)
  await one.got(/HTTP\/1\.1 401 /)
  assert.equal(await one.ended(), 'end')
})

test('--header may send a password of its own to the service', async (t) => {
  const app = await httpApp(t, (request, response) => response.end(request.headers.authorization))
  const way = await deliverTo(t, app.port, { basicAuth: 'u:p', header: ['Authorization: Bearer own'] })
  assert.equal((await ask(way, { headers: basic('u:p') })).body, 'Bearer own')
  const open = await deliverTo(t, app.port, { header: ['X-A: b'] })
  assert.equal((await ask(open, { headers: { authorization: 'Bearer visitor' } })).body, 'Bearer visitor')
})

test('--allow-ip and --deny-ip let visitors pass by address, or answer 403', async (t) => {
  const app = await httpApp(t, (_, response) => response.end('in'))
  const lists: [options: DeliverOptions, status: number][] = [
    [{ allowIp: ['127.0.0.1'] }, 200],
    [{ allowIp: ['192.0.2.0/24', '127.0.0.0/8'] }, 200],
    [{ allowIp: ['192.0.2.0/24'] }, 403],
    [{ denyIp: ['127.0.0.1/32'] }, 403],
    [{ denyIp: ['192.0.2.1', '::1'] }, 200],
    [{ allowIp: ['127.0.0.0/8'], denyIp: ['127.0.0.1'] }, 403],
  ]
  for (const [options, status] of lists) {
    const way = await deliverTo(t, app.port, options)
    const spoof = { 'x-forwarded-for': '192.0.2.1', forwarded: 'for=192.0.2.1', 'x-real-ip': '192.0.2.1' }
    const got = await ask(way, { headers: spoof })
    assert.equal(got.status, status, JSON.stringify(options))
    if (status === 403) assert.equal(got.headers['x-groktunnel-error'], 'forbidden')
  }
})

test('behind a proxy that the server trusts, the address is the one that the proxy tells', () => {
  const { checkAddress } = gate({ allowIp: ['192.0.2.7', '2001:db8::/32'] })
  const check = (hops: string) => () => checkAddress([{ name: 'X-Forwarded-For', value: hops }])
  for (const hops of [
    '192.0.2.7',
    '::ffff:192.0.2.7',
    '2001:db8::1',
    '192.0.2.7, 10.0.0.1',
    'a, 192.0.2.7, 10.0.0.1',
    '192.0.2.7:4711, 10.0.0.1',
    '[2001:db8::1]:4711, 10.0.0.1',
    '"[2001:db8::1]", 10.0.0.1',
  ])
    assert.doesNotThrow(check(hops), hops)
  for (const hops of ['', 'unknown', '192.0.2.8', '192.0.2.7, 192.0.2.8, 10.0.0.1', '10.0.0.1, 192.0.2.7'])
    assert.throws(check(hops), { code: 'forbidden' }, hops)
  assert.throws(() =>
    gate({ denyIp: ['192.0.2.8'] }).checkAddress([{ name: 'x-forwarded-for', value: '192.0.2.8' }]),
  )
})

test('whose address cannot be read does not pass a list, not even one of denials', () => {
  const { checkAddress } = gate({ denyIp: ['192.0.2.0/24', '2001:db8::/32'] })
  const check = (hops: string) => () => checkAddress([{ name: 'X-Forwarded-For', value: hops }])
  for (const hops of ['192.0.3.1', '192.0.3.1:80, 10.0.0.1', '2001:db9::1', '[2001:db9::1]:80, 10.0.0.1'])
    assert.doesNotThrow(check(hops), hops)
  const denied = ['192.0.2.1', '::ffff:192.0.2.1', '192.0.2.1:80, 10.0.0.1', '[2001:db8::1]:80, 10.0.0.1']
  for (const hops of [...denied, '', 'unknown, 10.0.0.1', '1.2.3, 10.0.0.1', '[192.0.3.1, 10.0.0.1'])
    assert.throws(check(hops), { code: 'forbidden' }, hops)
  assert.doesNotThrow(() => gate({}).checkAddress([]))
})

test('--cors lets pages of any origin call: their questions are answered, before a password is asked for', async (t) => {
  const app = await httpApp(t, (request, response) => {
    response.setHeader('Access-Control-Allow-Origin', 'http://other.test')
    response.setHeader('Access-Control-Allow-Credentials', 'true')
    response.end(request.method)
  })
  const way = await deliverTo(t, app.port, { cors: true, basicAuth: 'u:p' })
  const question = {
    origin: 'http://page.test',
    'access-control-request-method': 'PUT',
    'access-control-request-headers': 'authorization, x-own',
    'access-control-request-private-network': 'true',
  }
  const leave = await ask(way, { method: 'OPTIONS', headers: question })
  assert.deepEqual([leave.status, leave.body], [204, ''])
  assert.equal(leave.headers['access-control-allow-origin'], '*')
  assert.equal(leave.headers['access-control-allow-methods'], 'PUT')
  assert.equal(leave.headers['access-control-allow-headers'], 'authorization, x-own')
  assert.equal(leave.headers['access-control-allow-private-network'], 'true')
  assert.equal(leave.headers['access-control-allow-credentials'], undefined)
  const got = await ask(way, { method: 'PUT', headers: { ...basic('u:p'), origin: 'http://page.test' } })
  assert.deepEqual([got.status, got.body], [200, 'PUT'])
  assert.equal(got.headers['access-control-allow-origin'], '*')
  assert.equal(got.headers['access-control-expose-headers'], '*')
  assert.equal(got.headers['access-control-allow-credentials'], undefined)
  const ordinary = await ask(way, { method: 'OPTIONS', headers: basic('u:p') })
  assert.deepEqual([ordinary.status, ordinary.body], [200, 'OPTIONS'])
})

test('a folder is guarded and opened as a service is', async (t) => {
  const folder = tempFolder(t)
  writeFileSync(`${folder}/index.html`, 'page')
  const way = await deliverTo(t, folder, { basicAuth: 'u:p', cors: true, responseHeader: ['X-A: b'] })
  assert.equal((await ask(way)).status, 401)
  const got = await ask(way, { headers: basic('u:p') })
  assert.deepEqual([got.status, got.body], [200, 'page'])
  assert.deepEqual([got.headers['access-control-allow-origin'], got.headers['x-a']], ['*', 'b'])
})

const bad: [options: DeliverOptions, message: RegExp][] = [
  [{ basicAuth: 'secret' }, /^expected --basic-auth user:password, got no colon/],
  [{ basicAuth: ':secret' }, /--basic-auth/],
  [{ basicAuth: 'user:' }, /--basic-auth/],
  [{ allowIp: ['10.0.0.0/33'] }, /CIDR such as 10\.0\.0\.0\/8, got "10\.0\.0\.0\/33"/],
  [{ denyIp: ['example.com'] }, /got "example\.com"/],
  [
    { header: ['no-colon'] },
    /expected a header such as 'X-Name: value', got one that begins with "no-colon"/,
  ],
  [{ header: ['X Y: z'] }, /begins with "X Y"/],
  [{ header: ['X-A: b\r\nX-C: d'] }, /one line/],
  [{ header: ['X-A: ☃'] }, /latin1/],
  [{ header: ['Host: x'] }, /use --host-header/],
  [{ header: ['Content-Length: 3'] }, /that may be changed, got Content-Length/],
  [{ responseHeader: ['Transfer-Encoding: chunked'] }, /that may be changed/],
  [{ removeHeader: ['Connection'] }, /that may be changed/],
  [{ removeHeader: ['X-A: b'] }, /'X-Name: value'/],
  [{ hostHeader: 'a b' }, /expected --host-header rewrite or a host such as myapp\.test:8080, got "a b"/],
  [{ hostHeader: 'http://x' }, /--host-header/],
  [{ hostHeader: 'x:99999' }, /--host-header/],
  [{ hostHeader: '' }, /--host-header/],
]

for (const [options, message] of bad) {
  test(`${JSON.stringify(options)} is refused at the start`, async () => {
    await assert.rejects(delivery(parseTarget('3000'), options), (error) => {
      assert.ok(error instanceof TunnelError)
      assert.equal(error.code, 'usage')
      assert.match(error.message, message)
      assert.doesNotMatch(error.message, /secret/)
      return true
    })
  })
}
