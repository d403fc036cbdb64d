import assert from 'node:assert/strict'
import type { AddressInfo } from 'node:net'
import { test, type TestContext } from 'node:test'
import { WebSocket, WebSocketServer } from 'ws'
import type { DeliverOptions } from '../lib/deliver/deliver.ts'
import { type DeliveredWay, deliverTo } from './delivering.ts'
import { httpApp, tcpApp, until, visitor, within } from './helpers.ts'

const changing: DeliverOptions = { header: ['X-Tunnel: on'] }
const everything: DeliverOptions = {
  hostHeader: 'rewrite',
  header: ['X-Tunnel: on'],
  removeHeader: ['X-Secret'],
  responseHeader: ['X-Answer: yes'],
  basicAuth: 'user:pass',
  allowIp: ['127.0.0.0/8'],
  denyIp: ['192.0.2.1'],
  cors: true,
}
const credentials = { Authorization: `Basic ${Buffer.from('user:pass').toString('base64')}` }

/** Echoes, and leaves when told to; tells the fields of the last request. */
async function echoApp(t: TestContext) {
  const app = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  t.after(() => {
    for (const client of app.clients) client.terminate()
    app.close()
  })
  const seen: { headers: NodeJS.Dict<string | string[]>; closed: unknown[] } = { headers: {}, closed: [] }
  app.on('connection', (socket, request) => {
    seen.headers = request.headers
    socket.on('close', (code, reason) => (seen.closed = [code, reason.toString()]))
    socket.on('message', (data: Buffer, isBinary) => {
      if (data.toString() === 'leave') socket.close(4001, 'as you wish')
      else socket.send(data, { binary: isBinary })
    })
  })
  await new Promise((resolve) => app.once('listening', resolve))
  return { port: (app.address() as AddressInfo).port, seen }
}

async function open(t: TestContext, way: DeliveredWay, headers: Record<string, string>): Promise<WebSocket> {
  const url = `ws://127.0.0.1:${way.port}/a?b=c`
  const socket = new WebSocket(url, ['one', 'two'], { headers: { host: way.host, ...headers } })
  t.after(() => socket.terminate())
  const opened = new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))
  await within(opened, 'a WebSocket')
  return socket
}

function echo(socket: WebSocket, sent: string | Buffer): Promise<Buffer> {
  const answer = new Promise<Buffer>((resolve) => socket.once('message', (data: Buffer) => resolve(data)))
  socket.send(sent)
  return within(answer, 'the echo')
}

test('a WebSocket works through all that can be asked for at once', async (t) => {
  const { port, seen } = await echoApp(t)
  const way = await deliverTo(t, port, everything)
  const one = await open(t, way, { ...credentials, origin: way.url, 'x-secret': 'x' })
  assert.equal(one.protocol, 'one')
  const { host, origin, authorization, 'x-tunnel': added, 'x-secret': secret } = seen.headers
  assert.deepEqual([host, origin], [`localhost:${port}`, `http://localhost:${port}`])
  assert.deepEqual([authorization, added, secret], [undefined, 'on', undefined])
  for (const sent of ['täxt', 'x'.repeat(1_000_000), ''])
    assert.equal((await echo(one, sent)).toString(), sent)
  const bytes = Buffer.from([...Array(256).keys()])
  assert.deepEqual(await echo(one, bytes), bytes)
  const closed = new Promise((resolve) => one.once('close', (code, why) => resolve([code, why.toString()])))
  one.send('leave')
  assert.deepEqual(await within(closed, 'a close'), [4001, 'as you wish'])
  const other = await open(t, way, credentials)
  other.close(4002, 'enough')
  await until(() => seen.closed[0] === 4002, 'the close at the service')
  assert.deepEqual(seen.closed, [4002, 'enough'])
})

test('a WebSocket needs the password and an address as any request does', async (t) => {
  const { port, seen } = await echoApp(t)
  await assert.rejects(open(t, await deliverTo(t, port, everything), {}), /401/)
  await assert.rejects(open(t, await deliverTo(t, port, { denyIp: ['127.0.0.1'] }), {}), /403/)
  assert.deepEqual(seen.headers, {})
})

test('a visitor who vanishes ends the WebSocket at the service, and the other way round', async (t) => {
  const app = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  t.after(() => app.close())
  await new Promise((resolve) => app.once('listening', resolve))
  const way = await deliverTo(t, (app.address() as AddressInfo).port, changing)
  const one = await open(t, way, {})
  one.terminate()
  await until(() => app.clients.size === 0, 'the end at the service')
  const other = await open(t, way, {})
  const code = new Promise((resolve) => other.once('close', resolve))
  for (const client of app.clients) client.terminate()
  assert.equal(await within(code, 'the end at the visitor'), 1006)
})

const upgrade = 'Connection: Upgrade\r\nUpgrade: own/2\r\n'

test('any protocol may be gone on in, and either side may end first', async (t) => {
  const had: string[] = []
  const app = await tcpApp(t, (socket) => {
    socket.once('data', (head) => {
      assert.match(head.toString(), /\r\nConnection: Upgrade\r\nUpgrade: own\/2\r\n/)
      socket.write(
        'HTTP/1.1 101 Switching Protocols\r\nUpgrade: own/2\r\nConnection: Upgrade\r\nX-A: b\r\n\r\nfirst',
      )
      let came = ''
      socket.on('data', (bytes) => (came += bytes.toString()))
      if (head.includes('/app')) socket.end('app first')
      socket.on('end', () => (head.includes('/app') ? had.push(came) : socket.end(`app had ${came}`)))
    })
  })
  const way = await deliverTo(t, app.port, changing)
  const one = visitor(t, way).send(`GET /visitor HTTP/1.1\r\nHost: ${way.host}\r\n${upgrade}\r\n`)
  await one.got(/^HTTP\/1\.1 101 [^]*X-A: b\r\n[^]*\r\n\r\nfirst$/)
  one.socket.end(`visitor ${'first '.repeat(50_000)}`)
  await one.got(new RegExp(`app had visitor (first ){50000}$`))
  assert.equal(await one.ended(), 'end')
  const other = visitor(t, way).send(`GET /app HTTP/1.1\r\nHost: ${way.host}\r\n${upgrade}\r\n`)
  await other.got('app first')
  assert.equal(await other.ended(), 'end')
  other.socket.end('visitor later')
  await until(() => had.length > 0, 'the rest at the service')
  assert.deepEqual(had, ['visitor later'])
})

test('after an upgrade a cut on either side is a cut on the other', async (t) => {
  const app = await tcpApp(t, (socket) => {
    socket.once('data', () => socket.write(`HTTP/1.1 101 Switching Protocols\r\n${upgrade}\r\n`))
    socket.resume()
  })
  const way = await deliverTo(t, app.port, changing)
  const ask = `GET / HTTP/1.1\r\nHost: ${way.host}\r\n${upgrade}\r\n`
  const one = visitor(t, way).send(ask)
  await one.got(' 101 ')
  for (const socket of app.sockets) socket.resetAndDestroy()
  assert.equal(await one.ended(), 'ECONNRESET')
  const other = visitor(t, way).send(ask)
  await other.got(' 101 ')
  other.socket.resetAndDestroy()
  await until(() => app.sockets.size === 0, 'the cut at the service')
})

test('an offer that the service ignores is answered in full, and closes the connection', async (t) => {
  const body = 'plain '.repeat(1_000_000)
  const app = await httpApp(t, (request, response) => response.end(`${request.headers.upgrade} ${body}`))
  const way = await deliverTo(t, app.port, changing)
  const one = visitor(t, way).send(`GET / HTTP/1.1\r\nHost: ${way.host}\r\n${upgrade}\r\n`)
  assert.equal(await one.ended(), 'end')
  assert.match(one.text, /^HTTP\/1\.1 200 OK[^]*\r\nConnection: close\r\n/)
  assert.ok(one.text.endsWith(`own/2 ${body}`) || one.text.includes(body))
})

test('an offer with a body is an ordinary request, whose connection goes on', async (t) => {
  const app = await httpApp(t, (request, response) => {
    let body = ''
    request.on('data', (part: Buffer) => (body += part.toString()))
    request.on('end', () => response.end(`<${request.url} ${request.headers.upgrade} ${body}>`))
  })
  const way = await deliverTo(t, app.port, changing)
  const one = visitor(t, way)
  for (const path of ['/1', '/2']) {
    one.send(`POST ${path} HTTP/1.1\r\nHost: ${way.host}\r\n${upgrade}Content-Length: 5\r\n\r\nhel`)
    one.send('lo')
    await one.got(`<${path} undefined hello>`)
    one.send(`POST ${path} HTTP/1.1\r\nHost: ${way.host}\r\n${upgrade}Transfer-Encoding: chunked\r\n\r\n`)
    one.send('2\r\nhi\r\n0\r\n\r\n')
    await one.got(`<${path} undefined hi>`)
  }
  one.send(
    `POST /3 HTTP/1.1\r\nHost: ${way.host}\r\n${upgrade}Connection: close\r\nContent-Length: 1\r\n\r\nx`,
  )
  await one.got('</3 undefined x>')
  assert.equal(await one.ended(), 'end')
})

test('an offer of HTTP/1.0 is none, and gets no chunks', async (t) => {
  const app = await httpApp(t, (request, response) => {
    response.write(`<${request.headers.upgrade} `)
    request.on('data', (part: Buffer) => response.write(part)).on('end', () => response.end('>'))
  })
  app.on('upgrade', (_, socket) => socket.destroy())
  const way = await deliverTo(t, app.port, changing)
  for (const body of ['', 'body']) {
    const one = visitor(t, way)
    const length = body === '' ? '' : 'Content-Length: 4\r\n'
    one.send(`POST / HTTP/1.0\r\nHost: ${way.host}\r\n${upgrade}${length}\r\n${body}`)
    assert.equal(await one.ended(), 'end')
    assert.match(one.text, new RegExp(`^HTTP/1\\.1 200 OK\\r\\n[^]*\\r\\n\\r\\n<undefined ${body}>$`))
    assert.doesNotMatch(one.text, /transfer-encoding/i)
  }
})

test('a visitor who leaves before the offer is answered is told to the service', async (t) => {
  const app = await tcpApp(t, (socket) => socket.resume())
  const way = await deliverTo(t, app.port, changing)
  const one = visitor(t, way).send(`GET / HTTP/1.1\r\nHost: ${way.host}\r\n${upgrade}\r\n`)
  await until(() => app.sockets.size === 1, 'the request')
  one.socket.resetAndDestroy()
  await until(() => app.sockets.size === 0, 'the end at the service')
})

test('an offer to a service that is down is 502', async (t) => {
  const app = await tcpApp(t, () => undefined)
  await new Promise((resolve) => app.close(resolve))
  const way = await deliverTo(t, app.port, changing)
  const one = visitor(t, way).send(`GET / HTTP/1.1\r\nHost: ${way.host}\r\n${upgrade}\r\n`)
  await one.got(/^HTTP\/1\.1 502 [^]*local-unreachable/)
  assert.equal(await one.ended(), 'end')
})
