/** What passes through a client that changes or checks requests must pass as it does through one that does not. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import { Duplex, Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { test } from 'node:test'
import type { DeliverOptions } from '../lib/deliver/deliver.ts'
import { taking } from '../lib/deliver/server.ts'
import { answerOf, deliverTo, linesOf, serviceAt, tempFolder } from './delivering.ts'
import {
  ask,
  bodyOf,
  hashOf,
  hashOfBody,
  httpApp,
  listening,
  tcpApp,
  until,
  visitor,
  within,
} from './helpers.ts'

const MiB = 1024 * 1024
/** Enough to have each request read, judged and written anew. */
const changing: DeliverOptions = { header: ['X-Tunnel: on'] }

test('method, path and fields reach the service as sent, repeated ones as often as sent', async (t) => {
  const app = await httpApp(t, (request, response) => {
    response.end(JSON.stringify([request.method, request.url, ...linesOf(request)]))
  })
  const way = await deliverTo(t, app.port, changing)
  const one = visitor(t, way)
  const path = '//a//b/../c/%2e%2e/d;x=1|{}?u=http://x//y?&#'.replace('#', '=')
  one.send(
    `OPTIONS ${path} HTTP/1.1\r\nhOST: ${way.host}\r\nX-One: 1\r\nCookie: a=1\r\nx-one: 2\r\n` +
      'X-Empty:\r\nX-Latin: \xe4\r\nContent-Length: 0\r\nConnection: X-Hop, close\r\nX-Hop: gone\r\n\r\n',
  )
  assert.equal(await one.ended(), 'end')
  const [method, url, ...lines] = JSON.parse(
    Buffer.from(one.text.split('\r\n\r\n')[1] ?? '', 'latin1').toString(),
  ) as string[]
  assert.deepEqual([method, url], ['OPTIONS', path])
  const told = lines.filter((line) => !/^(X-Forwarded-|Forwarded)/.test(line))
  const expected = ['X-One: 1', 'X-One: 2', 'Cookie: a=1', 'X-Empty: ', 'X-Latin: Ã¤', 'Content-Length: 0']
  assert.deepEqual(told, [`hOST: ${way.host}`, ...expected, 'X-Tunnel: on', 'Connection: keep-alive'])
})

test('status, reason and fields of the answer come as sent, repeated ones as often and in their order', async (t) => {
  const fields = 'Set-Cookie: a=1\r\nLink: <a>\r\nset-cookie: b=2\r\nX-Empty:\r\nLink: <b>\r\n'
  const app = await tcpApp(t, (socket) => {
    socket.on('data', () => socket.write(`HTTP/1.1 299 Quite (fine)\r\n${fields}Content-Length: 2\r\n\r\nok`))
  })
  const way = await deliverTo(t, app.port, changing)
  const one = visitor(t, way).send(`GET / HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`)
  await one.got(/ok$/)
  const expected = `${fields.replace('X-Empty:', 'X-Empty: ')}Content-Length: 2\r\nConnection: keep-alive`
  assert.equal(one.text, `HTTP/1.1 299 Quite (fine)\r\n${expected}\r\n\r\nok`)
})

test('a body of DELETE, OPTIONS and GET is a body, whatever its framing', async (t) => {
  const app = await httpApp(t, (request, response) => {
    let body = ''
    request.on('data', (part: Buffer) => (body += part.toString()))
    request.on('end', () => response.end(`<${request.method} ${body}>`))
  })
  const way = await deliverTo(t, app.port, changing)
  const one = visitor(t, way)
  for (const method of ['DELETE', 'OPTIONS', 'GET', 'POST']) {
    const smuggled = 'GET /stolen HTTP/1.1\r\nHost: x\r\n\r\n'
    one.send(`${method} / HTTP/1.1\r\nHost: ${way.host}\r\nTransfer-Encoding: chunked\r\n\r\n`)
    one.send(`${smuggled.length.toString(16)}\r\n${smuggled}\r\n0\r\n\r\n`)
    await one.got(`<${method} ${smuggled}>`)
    one.send(`${method} / HTTP/1.1\r\nHost: ${way.host}\r\nContent-Length: 4\r\n\r\nbody`)
    await one.got(`<${method} body>`)
    one.send(`${method} / HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`)
    await one.got(`<${method} >`)
  }
})

test('the head of an answer and its first event come while the rest is still to come', async (t) => {
  let write: (text: string) => void = () => undefined
  const app = await httpApp(t, (_, response) => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' })
    response.flushHeaders()
    write = (text) => response.write(text)
  })
  const way = await deliverTo(t, app.port, changing)
  const one = visitor(t, way).send(`GET / HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`)
  await one.got(/event-stream[^]*\r\n\r\n$/)
  const sentAt = performance.now()
  write('data: one\n\n')
  await one.got('data: one')
  t.diagnostic(`first event after ${(performance.now() - sentAt).toFixed(1)} ms`)
})

test('a request without an end is answered while it comes, piece by piece', async (t) => {
  const app = await httpApp(t, (request, response) => {
    response.writeHead(200)
    response.flushHeaders()
    request.pipe(response)
  })
  const way = await deliverTo(t, app.port, changing)
  const one = visitor(t, way)
  one.send(`POST / HTTP/1.1\r\nHost: ${way.host}\r\nTransfer-Encoding: chunked\r\n\r\n`)
  await one.got(/200 OK[^]*\r\n\r\n$/)
  for (const piece of ['one', 'two']) {
    one.send(`3\r\n${piece}\r\n`)
    await one.got(piece)
  }
})

test('100-continue: the service asks for the body, and only then it is sent', async (t) => {
  const app = await httpApp(t, () => assert.fail('an ordinary request'))
  let asked: http.ServerResponse | undefined
  app.on('checkContinue', (request: http.IncomingMessage, response: http.ServerResponse) => {
    asked = response
    let body = ''
    request.on('data', (part: Buffer) => (body += part.toString()))
    request.on('end', () => response.end(`had ${body}`))
  })
  const way = await deliverTo(t, app.port, changing)
  const one = visitor(t, way)
  for (const body of ['body', 'more']) {
    asked = undefined
    one.text = ''
    one.send(`POST / HTTP/1.1\r\nHost: ${way.host}\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n`)
    await until(() => asked !== undefined, 'the service to see the request')
    assert.equal(one.text, '')
    ;(asked as http.ServerResponse | undefined)?.writeContinue()
    await one.got(/^HTTP\/1\.1 100 Continue\r\n\r\n$/)
    one.send(body)
    await one.got(`had ${body}`)
  }
})

test('an expectation that the service refuses is answered, and the body never asked for', async (t) => {
  const app = await httpApp(t, () => assert.fail('an ordinary request'))
  app.on('checkContinue', (_: unknown, response: http.ServerResponse) => response.writeHead(413).end('no'))
  const way = await deliverTo(t, app.port, changing)
  const one = visitor(t, way)
  one.send(`POST / HTTP/1.1\r\nHost: ${way.host}\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n`)
  await one.got(/^HTTP\/1\.1 413 [^]*no/)
})

test('103 Early Hints pass before the answer', async (t) => {
  const app = await httpApp(t, (_, response) => {
    response.writeEarlyHints({ link: '</style.css>; rel=preload' }, () => response.end('page'))
  })
  const way = await deliverTo(t, app.port, changing)
  const one = visitor(t, way).send(`GET / HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`)
  await one.got(/^HTTP\/1\.1 103 Early Hints\r\n[^]*style\.css[^]*HTTP\/1\.1 200 OK[^]*page/)
  const old = visitor(t, way).send(`GET / HTTP/1.0\r\nHost: ${way.host}\r\n\r\n`)
  await old.got(/^HTTP\/1\.1 200 OK[^]*page/)
})

test('trailers pass both ways', async (t) => {
  const app = await httpApp(t, (request, response) => {
    request.resume().on('end', () => {
      response.writeHead(200, { Trailer: 'X-Sum' })
      response.write('answered')
      response.addTrailers({ 'X-Sum': `saw ${request.trailers['x-check']}` })
      response.end()
    })
  })
  const way = await deliverTo(t, app.port, changing)
  const one = visitor(t, way)
  one.send(`POST / HTTP/1.1\r\nHost: ${way.host}\r\nTransfer-Encoding: chunked\r\nTrailer: X-Check\r\n\r\n`)
  one.send('5\r\nhello\r\n0\r\nX-Check: ok\r\n\r\n')
  await one.got(/Trailer: X-Sum[^]*answered[^]*\r\n0\r\nX-Sum: saw ok\r\n\r\n$/)
})

test('trailers that are announced where none can be harm nobody', async (t) => {
  const app = await tcpApp(t, (socket) => {
    socket.on('data', (bytes) => {
      const body = bytes.includes('HEAD') ? '' : 'ok'
      socket.write(`HTTP/1.1 200 OK\r\nTrailer: X-A\r\nContent-Length: 2\r\n\r\n${body}`)
    })
  })
  const way = await deliverTo(t, app.port, changing)
  const one = visitor(t, way)
  one.send(`POST / HTTP/1.1\r\nHost: ${way.host}\r\nTrailer: X-B\r\nContent-Length: 1\r\n\r\nx`)
  await one.got(/ok$/)
  one.send(`HEAD / HTTP/1.1\r\nHost: ${way.host}\r\nTrailer: X-B\r\n\r\n`)
  await one.got(/ok[^]*Content-Length: 2[^]*\r\n\r\n/)
})

test('an answer of HTTP/1.0 comes whole; a visitor of HTTP/1.0 gets no chunks', async (t) => {
  const body = 'old '.repeat(100_000)
  const app = await tcpApp(t, (socket) => {
    socket.once('data', () => socket.end(`HTTP/1.0 200 OK\r\nServer: old\r\n\r\n${body}`))
  })
  const way = await deliverTo(t, app.port, changing)
  assert.equal((await ask(way)).body, body)
  const chunked = await httpApp(t, (_, response) => {
    response.write('two ')
    response.end('parts')
  })
  const other = await deliverTo(t, chunked.port, changing)
  const one = visitor(t, other).send(`GET / HTTP/1.0\r\nHost: ${other.host}\r\n\r\n`)
  assert.equal(await one.ended(), 'end')
  assert.match(one.text, /\r\n\r\ntwo parts$/)
  assert.doesNotMatch(one.text, /chunked/i)
})

test('a body that the service cuts is reset at the visitor, however it is framed and cut', async (t) => {
  const heads = ['Content-Length: 100000', 'Transfer-Encoding: chunked', 'X-Until: close']
  const app = await tcpApp(t, (socket) => {
    socket.once('data', (request) => {
      const [, head, how] = /^GET \/(\d)\/(\w+)/.exec(request.toString()) ?? []
      const part = head === '1' ? '4\r\npart\r\n' : 'part'
      socket.write(`HTTP/1.1 200 OK\r\n${heads[Number(head)]}\r\n\r\n${part}`)
      finish = () => void (how === 'fin' ? socket.end() : socket.resetAndDestroy())
    })
  })
  let finish = () => {}
  const way = await deliverTo(t, app.port, changing)
  for (const path of ['0/fin', '0/rst', '1/fin', '1/rst', '2/rst']) {
    const one = visitor(t, way).send(`GET /${path} HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`)
    await one.got(/part/)
    finish()
    assert.equal(await one.ended(), 'ECONNRESET', path)
  }
})

test('a reset that comes with the last bytes of a body without a length is no end', async (t) => {
  const app = await tcpApp(t, (socket) => {
    socket.once('data', () => {
      socket.write('HTTP/1.1 200 OK\r\nConnection: close\r\n\r\npart', () => socket.resetAndDestroy())
    })
  })
  const way = await deliverTo(t, app.port, changing)
  for (let n = 0; n < 20; n++) {
    const one = visitor(t, way).send(`GET / HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`)
    await one.ended()
    // The visitor, too, may take a reset for an end, but not for the last chunk.
    assert.doesNotMatch(one.text, /\r\n0\r\n\r\n$/)
  }
})

test('a visitor who leaves is told to the service, in the middle of either body', async (t) => {
  const ends: string[] = []
  const app = await httpApp(t, (request, response) => {
    const note = () => ends.push(`${request.url} ${response.writableFinished}`)
    response.on('close', note)
    if (request.url === '/down') response.write('part')
  })
  const way = await deliverTo(t, app.port, changing)
  const down = visitor(t, way).send(`GET /down HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`)
  await down.got('part')
  down.socket.resetAndDestroy()
  await until(() => ends.includes('/down false'), 'the end of the download')
  const up = visitor(t, way).send(`POST /up HTTP/1.1\r\nHost: ${way.host}\r\nContent-Length: 9\r\n\r\npart`)
  await within(once(app, 'request'), 'the upload')
  up.socket.resetAndDestroy()
  await until(() => ends.includes('/up false'), 'the end of the upload')
})

test('a visitor who only closes, as a browser does, is told to a service that waits with its answer', async (t) => {
  const ends: string[] = []
  const app = await httpApp(t, (request, response) => {
    request.resume()
    response.on('close', () => ends.push(`${request.url} ${response.writableFinished}`))
    if (request.url === '/events') response.write('data: 1\n\n')
  })
  const way = await deliverTo(t, app.port, changing)
  const events = visitor(t, way).send(`GET /events HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`)
  await events.got('data: 1')
  events.socket.end()
  await until(() => ends.includes('/events false'), 'the end of the events')
  const poll = visitor(t, way)
  const asked = once(app, 'request')
  poll.send(`POST /poll HTTP/1.1\r\nHost: ${way.host}\r\nContent-Length: 4\r\n\r\nbody`)
  await within(asked, 'a request')
  poll.socket.end()
  await until(() => ends.includes('/poll false'), 'the end of the poll')
})

test('a visitor that has ended its side still gets a late answer, from a service that gives one', async (t) => {
  let finish = () => {}
  const app = await httpApp(t, (request, response) => {
    request.resume()
    request.socket.once('end', () => (finish = () => response.end('late')))
  })
  Object.assign(app, { httpAllowHalfOpen: true })
  const way = await deliverTo(t, app.port, changing)
  for (const request of ['GET / HTTP/1.1\r\n', 'POST / HTTP/1.1\r\nContent-Length: 4\r\n']) {
    finish = () => {}
    const one = visitor(t, way)
    const body = request.startsWith('POST') ? 'body' : ''
    const waiting = finish
    one.socket.end(`${request}Host: ${way.host}\r\n\r\n${body}`)
    await until(() => finish !== waiting, 'the end of the request')
    finish()
    assert.equal(await one.ended(), 'end')
    assert.match(one.text, /^HTTP\/1\.1 200 OK[^]*late/)
  }
})

test('with the service down a visitor gets 502 at once, and the same tunnel serves when it is back', async (t) => {
  const app = await httpApp(t, (_, response) => response.end('up'))
  const { port } = app
  const way = await deliverTo(t, port, changing)
  assert.equal((await ask(way)).body, 'up')
  app.closeAllConnections()
  await once(app.close(), 'close')
  const down = await ask(way, { headers: { accept: 'text/html' } })
  assert.deepEqual([down.status, down.headers['x-groktunnel-error']], [502, 'local-unreachable'])
  assert.match(down.body, new RegExp(`<!doctype html>[^]*port ${port}, got ECONNREFUSED; is it running\\?`))
  const upload = visitor(t, way)
  upload.send(`POST / HTTP/1.1\r\nHost: ${way.host}\r\nContent-Length: 8000000\r\n\r\n`)
  upload.send(Buffer.alloc(8_000_000))
  await upload.got(/^HTTP\/1\.1 502 [^]*local-unreachable/)
  assert.equal(await upload.ended(), 'end')
  await listening(app, port)
  assert.equal((await ask(way)).body, 'up')
})

const badAnswers: [answer: string, message: RegExp][] = [
  ['HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n', /status 99/],
  ['HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: own\r\n\r\n', /unasked/],
  ['HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok', /bad answer \(HPE_/],
  ['SSH-2.0-OpenSSH\r\n', /bad answer \(HPE_/],
  ['', /without an answer/],
]

test('an answer that cannot be passed on is 502, and the tunnel goes on', async (t) => {
  let answer = ''
  const app = await tcpApp(t, (socket) =>
    socket.once('data', () => socket.end(Buffer.from(answer, 'latin1'))),
  )
  const way = await deliverTo(t, app.port, changing)
  for (const [bad, message] of badAnswers) {
    answer = bad
    const got = await ask(way)
    assert.deepEqual([got.status, got.headers['x-groktunnel-error']], [502, 'bad-answer'], bad)
    assert.match(got.body, message)
  }
  answer = 'HTTP/1.1 200 O\x01K\xff\r\nContent-Length: 2\r\n\r\nok'
  const one = visitor(t, way).send(`GET / HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`)
  await one.got(/^HTTP\/1\.1 200 O\?K\xff\r\n[^]*ok$/)
})

test('heads of 60 KB pass both ways', async (t) => {
  const roomy = http.createServer({ maxHeaderSize: 80 * 1024 }, (request, response) => {
    response.setHeader('X-Back', String(request.headers['x-there'])).end()
  })
  t.after(() => roomy.close())
  const way = await deliverTo(t, await listening(roomy, 0), changing)
  const long = 'x'.repeat(60_000)
  const one = visitor(t, way).send(
    `GET / HTTP/1.1\r\nHost: ${way.host}\r\nX-There: ${long}\r\nConnection: close\r\n\r\n`,
  )
  assert.equal(await one.ended(), 'end')
  assert.ok(one.text.includes(`X-Back: ${long}`))
})

test('what node’s http cannot read is refused in our words', async (t) => {
  const app = await httpApp(t, (_, response) => response.end())
  const way = await deliverTo(t, app.port, changing)
  const one = visitor(t, way).send(`FROB / HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`)
  await one.got(/^HTTP\/1\.1 501 [^]*not-implemented[^]*a method that node knows/)
})

test('requests of one visitor share a connection to the service, those of two do not', async (t) => {
  const ports = new Map<string | undefined, Set<number | undefined>>()
  const app = await httpApp(t, (request, response) => {
    const seen = ports.get(request.url) ?? new Set()
    ports.set(request.url, seen.add(request.socket.remotePort))
    response.end('ok')
  })
  const way = await deliverTo(t, app.port, changing)
  const agents = ['/one', '/two'].map((path) => ({
    path,
    agent: new http.Agent({ keepAlive: true, maxSockets: 1 }),
  }))
  t.after(() => agents.forEach(({ agent }) => agent.destroy()))
  for (let n = 0; n < 10; n++)
    for (const options of agents) assert.equal((await ask(way, options)).body, 'ok')
  const seen = ['/one', '/two'].map((path) => [...(ports.get(path) ?? [])])
  assert.deepEqual([seen[0]?.length, seen[1]?.length], [1, 1])
  assert.notEqual(seen[0]?.[0], seen[1]?.[0])
})

test('the connection to the service ends with that of the visitor', async (t) => {
  const app = await httpApp(t, (_, response) => response.end('ok'))
  app.keepAliveTimeout = 0
  let open = 0
  app.on('connection', (socket) => {
    open += 1
    socket.on('close', () => (open -= 1))
  })
  const way = await deliverTo(t, app.port, changing)
  const one = visitor(t, way).send(`GET / HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`)
  await one.got(/ok/)
  assert.equal(open, 1)
  one.socket.end()
  await until(() => open === 0, 'no connection to the service')
})

test('a service that closes idle connections is dialled anew; one that resets them has the visitor try again', async (t) => {
  let requests = 0
  const app = await tcpApp(t, (socket) => {
    socket.on('data', (bytes) => {
      requests += 1
      if (bytes.includes('/reset')) return socket.resetAndDestroy()
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
      if (bytes.includes('/close')) socket.end()
    })
    socket.on('end', () => socket.end())
  })
  const way = await deliverTo(t, app.port, changing)
  const get = (path: string) => `GET /${path} HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`
  const one = visitor(t, way).send(get('close'))
  await one.got(/ok$/)
  await until(() => app.sockets.size === 0, 'the connection to close')
  one.text = ''
  one.send(get('again'))
  await one.got(/ok$/)
  one.send(get('reset'))
  assert.equal(await one.ended(), 'ECONNRESET')
  assert.equal(requests, 3)
  const first = visitor(t, way).send(get('reset'))
  await first.got(/^HTTP\/1\.1 502 [^]*bad-answer/)
})

test('64 MiB go up and come down whole', async (t) => {
  const app = await httpApp(t, (request, response) => {
    if (request.method === 'GET') void pipeline(Readable.from(bodyOf(64 * MiB, 'down')), response)
    else void hashOf(request).then((sum) => response.end(JSON.stringify(sum)))
  })
  const way = await deliverTo(t, app.port, changing)
  const down = await answerOf(way)
  const sum = await within(hashOf(down), '64 MiB down', 30_000)
  assert.deepEqual(sum, { hash: hashOfBody(64 * MiB, 'down'), bytes: 64 * MiB })
  for (const headers of [{ 'content-length': String(64 * MiB) }, {}]) {
    const up = await answerOf(way, { method: 'POST', headers }, (request) => {
      void pipeline(Readable.from(bodyOf(64 * MiB, 'up')), request)
    })
    const told = JSON.parse((await up.toArray()).join('')) as unknown
    assert.deepEqual(told, { hash: hashOfBody(64 * MiB, 'up'), bytes: 64 * MiB })
  }
})

test('a slow reader holds the service back, and costs no memory for it', async (t) => {
  let written = 0
  const app = await httpApp(t, (_, response) => {
    const body = Readable.from(bodyOf(64 * MiB, 'slow'))
    body.on('data', (part: Buffer) => (written += part.length))
    body.pipe(response)
  })
  const way = await deliverTo(t, app.port, changing)
  const one = visitor(t, way).send(`GET / HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`)
  await one.got(/200 OK/)
  one.socket.pause()
  let before = -1
  await until(() => {
    const isStill = written === before
    before = written
    return isStill && written > 0
  }, 'the service to be held back')
  assert.ok(written < 48 * MiB, `${written} bytes were taken from the service`)
})

test('a service that does not read holds the visitor back, at the channel', async () => {
  let request: http.IncomingMessage | undefined
  const channel = new Duplex({ readableHighWaterMark: 32 * MiB, read() {}, write: (_, __, done) => done() })
  taking((exchange) => (request = exchange.request))(channel)
  channel.push(`POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ${32 * MiB}\r\n\r\n`)
  for (let n = 0; n < 32; n++) channel.push(Buffer.alloc(MiB / 4))
  await until(() => channel.isPaused(), 'a paused channel')
  assert.ok(request !== undefined && request.readableLength <= MiB, `${request?.readableLength} bytes`)
  channel.destroy()
})

test('500 at once each get their own answer', async (t) => {
  const waiting: (() => void)[] = []
  const app = await httpApp(t, (request, response) => {
    waiting.push(() => response.end(`answer to ${request.url}`))
    if (waiting.length === 500) for (const answer of waiting.reverse()) answer()
  })
  const way = await deliverTo(t, app.port, changing)
  const answers = await Promise.all(Array.from({ length: 500 }, (_, n) => ask(way, { path: `/${n}` })))
  answers.forEach(({ body }, n) => assert.equal(body, `answer to /${n}`))
})

test('a unix socket and services on one kind of address only are served, changed or not', async (t) => {
  const path = `${tempFolder(t)}/app.sock`
  await serviceAt(t, { path }, (request, response) => response.end(`unix ${request.headers.host}`))
  for (const options of [{}, changing, { hostHeader: 'rewrite' }]) {
    const way = await deliverTo(t, `unix:${path}`, options)
    const host = 'hostHeader' in options ? 'localhost' : way.host
    assert.equal((await ask(way)).body, `unix ${host}`)
    for (const address of ['::1', '127.0.0.1']) {
      const app = await serviceAt(t, { port: 0, host: address }, (_, response) => response.end(address))
      const { port } = app.address() as { port: number }
      assert.equal((await ask(await deliverTo(t, port, options))).body, address)
    }
  }
})
