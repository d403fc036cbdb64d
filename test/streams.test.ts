import assert from 'node:assert/strict'
import type http from 'node:http'
import type { AddressInfo } from 'node:net'
import { test, type TestContext } from 'node:test'
import { WebSocket, WebSocketServer } from 'ws'
import { httpApp, tcpApp, tunnelTo, until, visitor, type Way, within } from './helpers.ts'

test('a WebSocket carries text and binary, and the close code of either side', async (t) => {
  const way = await webSocketApp(t, (socket) => {
    socket.on('message', (data: Buffer, isBinary) => {
      if (data.toString() === 'leave') socket.close(4001, 'as you wish')
      else socket.send(data, { binary: isBinary })
    })
  })
  const one = await webSocket(t, way)
  for (const sent of ['täxt', 'x'.repeat(100_000), '']) assert.equal((await echo(one, sent)).toString(), sent)
  const bytes = Buffer.from([...Array(256).keys()])
  assert.deepEqual(await echo(one, bytes), bytes)
  one.send('leave')
  assert.deepEqual(await closing(one), [4001, 'as you wish'])

  const other = await webSocket(t, way)
  const seen = within(nextClose, 'the close at the local service')
  other.close(4002, 'enough')
  assert.deepEqual(await closing(other), [4002, 'enough'])
  assert.deepEqual(await seen, [4002, 'enough'])
})

let nextClose: Promise<[number, string]>

async function webSocketApp(t: TestContext, onSocket: (socket: WebSocket) => void): Promise<Way> {
  const app = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  t.after(() => {
    for (const client of app.clients) client.terminate()
    app.close()
  })
  app.on('connection', (socket) => {
    nextClose = closing(socket)
    onSocket(socket)
  })
  await new Promise((resolve) => app.once('listening', resolve))
  return tunnelTo(t, (app.address() as AddressInfo).port)
}

async function webSocket(t: TestContext, way: Way): Promise<WebSocket> {
  const socket = new WebSocket(`ws://127.0.0.1:${way.port}/`, { headers: { host: way.host } })
  t.after(() => socket.terminate())
  await within(
    new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject)),
    'a WebSocket',
  )
  return socket
}

function echo(socket: WebSocket, sent: string | Buffer): Promise<Buffer> {
  const answer = new Promise<Buffer>((resolve) => {
    socket.once('message', (data: Buffer, isBinary) => {
      assert.equal(isBinary, typeof sent !== 'string')
      resolve(data)
    })
  })
  socket.send(sent)
  return within(answer, 'the echo')
}

function closing(socket: WebSocket): Promise<[number, string]> {
  return new Promise((resolve) => socket.once('close', (code, reason) => resolve([code, reason.toString()])))
}

test('a refused upgrade leaves an ordinary connection that goes on', async (t) => {
  const app = await httpApp(t, (request, response) =>
    response.end(`<${request.url} ${request.headers.upgrade}>`),
  )
  const way = await tunnelTo(t, app.port)
  const one = visitor(t, way)
  for (let n = 0; n < 3; n++) {
    one.send(`GET /${n} HTTP/1.1\r\nHost: ${way.host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`)
    one.send(`GET /${n}x HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`)
    await one.got(`</${n}x undefined>`)
    assert.ok(one.text.includes(`</${n} websocket>`))
  }
})

test('bytes sent before the upgrade is granted arrive after it, in order and whole', async (t) => {
  const early = 'early '.repeat(50_000)
  let came = ''
  const app = await tcpApp(t, (socket) => {
    socket.once('data', (head) => {
      assert.ok(head.toString().endsWith('\r\n\r\n'), 'nothing but the head comes before the 101')
      setImmediate(() => {
        socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: own\r\n\r\nfirst')
        socket.on('data', (bytes) => (came += bytes.toString()))
        socket.on('end', () => socket.end('last'))
      })
    })
  })
  const way = await tunnelTo(t, app.port)
  const one = visitor(t, way)
  one.send(`GET / HTTP/1.1\r\nHost: ${way.host}\r\nConnection: Upgrade\r\nUpgrade: own\r\n\r\n`)
  one.send(early)
  await one.got(/\r\n\r\nfirst$/)
  one.send('late')
  one.socket.end()
  assert.equal(await one.ended(), 'end')
  assert.ok(one.text.endsWith('firstlast'))
  assert.equal(came.length, early.length + 4)
  assert.ok(came === `${early}late`)
})

test('after an upgrade either side may end first, and the other still speaks', async (t) => {
  const app = await tcpApp(t, (socket) => {
    socket.once('data', (head) => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: own\r\n\r\n')
      let came = ''
      socket.on('data', (bytes) => (came += bytes.toString()))
      if (head.includes('/app')) socket.end('app first')
      socket.on('end', () => (head.includes('/app') ? results.push(came) : socket.end(`app had ${came}`)))
    })
  })
  const results: string[] = []
  const way = await tunnelTo(t, app.port)
  const upgrade = `Host: ${way.host}\r\nConnection: Upgrade\r\nUpgrade: own\r\n\r\n`
  const one = visitor(t, way).send(`GET /visitor HTTP/1.1\r\n${upgrade}`)
  await one.got(' 101 ')
  one.socket.end('visitor first')
  await one.got('app had visitor first')
  const other = visitor(t, way).send(`GET /app HTTP/1.1\r\n${upgrade}`)
  await other.got('app first')
  assert.equal(await other.ended(), 'end')
  other.socket.end('visitor later')
  await until(() => results.length > 0, 'the rest at the local service')
  assert.deepEqual(results, ['visitor later'])
})

test('the first server-sent event arrives while the response is still open', async (t) => {
  let sentAt = 0
  let finish = () => {}
  const app = await httpApp(t, (_, response) => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' })
    sentAt = performance.now()
    response.write('data: one\n\n')
    finish = () => response.end('data: last\n\n')
  })
  const way = await tunnelTo(t, app.port)
  const one = visitor(t, way).send(`GET / HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`)
  await one.got('data: one')
  const ms = performance.now() - sentAt
  t.diagnostic(`first event after ${ms.toFixed(1)} ms`)
  assert.ok(ms < 1_000, `first event after ${ms} ms`)
  assert.ok(!one.text.includes('last'))
  finish()
  await one.got('data: last')
})

test('100-continue: the body is sent when the local service asks for it, and only then', async (t) => {
  const app = await httpApp(t, () => assert.fail('an ordinary request'))
  let asked: http.ServerResponse | undefined
  app.on('checkContinue', (request: http.IncomingMessage, response: http.ServerResponse) => {
    asked = response
    let body = ''
    request.on('data', (part: Buffer) => (body += part.toString()))
    request.on('end', () => response.end(`had ${body}`))
  })
  const way = await tunnelTo(t, app.port)
  const one = visitor(t, way)
  one.send(`POST / HTTP/1.1\r\nHost: ${way.host}\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n`)
  await until(() => asked !== undefined, 'the local service to see the request')
  assert.equal(one.text, '')
  asked?.writeContinue()
  await one.got(/^HTTP\/1\.1 100 Continue\r\n\r\n$/)
  one.send('body')
  await one.got(/HTTP\/1\.1 200 OK\r\n[^]*had body/)
})

test('103 Early Hints pass before the answer', async (t) => {
  const app = await httpApp(t, (_, response) => {
    response.writeEarlyHints({ link: '</style.css>; rel=preload' }, () => response.end('page'))
  })
  const way = await tunnelTo(t, app.port)
  const one = visitor(t, way).send(`GET / HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`)
  await one.got(/^HTTP\/1\.1 103 Early Hints\r\n[^]*style\.css[^]*HTTP\/1\.1 200 OK[^]*page/)
})

test('an HTTP/1.0 answer that ends with its connection comes whole and ends cleanly', async (t) => {
  const body = 'old '.repeat(100_000)
  const app = await tcpApp(t, (socket) => {
    socket.once('data', () => socket.end(`HTTP/1.0 200 OK\r\nServer: old\r\n\r\n${body}`))
  })
  const way = await tunnelTo(t, app.port)
  for (const version of ['1.0', '1.1']) {
    const one = visitor(t, way).send(`GET / HTTP/${version}\r\nHost: ${way.host}\r\n\r\n`)
    assert.equal(await one.ended(), 'end')
    assert.equal(one.text.length, 'HTTP/1.0 200 OK\r\nServer: old\r\n\r\n'.length + body.length)
  }
})

test('chunks and trailers pass both ways as they are', async (t) => {
  const app = await httpApp(t, (request, response) => {
    let body = ''
    request.on('data', (part: Buffer) => (body += part.toString()))
    request.on('end', () => {
      response.writeHead(200, { Trailer: 'X-Sum' })
      response.write(`${body} `)
      response.addTrailers({ 'X-Sum': `saw ${request.trailers['x-check']}` })
      response.end('answered')
    })
  })
  const way = await tunnelTo(t, app.port)
  const one = visitor(t, way)
  one.send(`POST / HTTP/1.1\r\nHost: ${way.host}\r\nTransfer-Encoding: chunked\r\nTrailer: X-Check\r\n\r\n`)
  one.send('5\r\nhello\r\n').send('6;ext=1\r\n world\r\n').send('0\r\nX-Check: ok\r\n\r\n')
  await one.got(/hello world [^]*answered[^]*\r\n0\r\nX-Sum: saw ok\r\n\r\n$/)
  one.send(`GET / HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`)
  await one.got('saw undefined')
})
