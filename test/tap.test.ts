/** The tap on real channels: a visitor's end at one session, a local service behind the other. */
import assert from 'node:assert/strict'
import { EventEmitter, once } from 'node:events'
import net from 'node:net'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { test, type TestContext } from 'node:test'
import { join } from '../join.ts'
import type { Deliver, RequestRecord, Tunnel, TunnelEvents } from '../lib/api.ts'
import { cut } from '../lib/ending.ts'
import { Session } from '../lib/mux.ts'
import { count, tap, type TapOptions, watched } from '../lib/tap.ts'
import { collectGarbage, event, tcpPair } from './attacker.ts'
import { bodyOf, hashOf, hashOfBody, tcpApp, until } from './helpers.ts'

interface Tapped {
  records: RequestRecord[]
  /** A new channel as the visitor has it, and what came on it. */
  visit: () => Promise<{ channel: Duplex; text: () => string }>
  server: Session
}

/** Sessions whose client delivers through a tap. */
async function tapped(t: TestContext, deliver: Deliver, options: TapOptions = {}): Promise<Tapped> {
  const [near, far] = await tcpPair(t)
  const client = new Session(near, { side: 'client' })
  const server = new Session(far, { side: 'server' })
  t.after(() => {
    client.close()
    server.close()
  })
  const records: RequestRecord[] = []
  client.on(
    'channel',
    tap(deliver, (record) => records.push(record), options),
  )
  const visit = async () => {
    const channel = await server.open()
    let text = ''
    channel.on('error', () => undefined).on('data', (bytes: Buffer) => (text += bytes.toString('latin1')))
    return { channel, text: () => text }
  }
  return { records, visit, server }
}

/** Joins each channel with a connection to `app`. */
function joinTo(app: { port: number }): Deliver {
  return (channel) => {
    channel.on('error', () => undefined)
    const local = net.connect({ port: app.port, host: '127.0.0.1', allowHalfOpen: true })
    void join(
      channel,
      local.on('error', () => undefined),
    )
  }
}

/** A local service that answers each request with the next of `answers`, when it came whole. */
function answering(t: TestContext, ...answers: string[]) {
  return tcpApp(t, (socket) => {
    let came = ''
    socket.on('data', (bytes) => {
      came += bytes.toString('latin1')
      for (let end; (end = came.indexOf('\r\n\r\n')) >= 0; came = came.slice(end + 4))
        socket.write(answers.shift() ?? '')
    })
    socket.on('end', () => socket.end())
  })
}

const get = (path: string, method = 'GET') => `${method} ${path} HTTP/1.1\r\nHost: a.test\r\n\r\n`
const ok = (body: string) => `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`
const facts = ({ method, path, status, requestBytes, answerBytes }: RequestRecord) =>
  [method, path, status, requestBytes, answerBytes] as const

test('a request is told of with its answer: when, what, how long and how much', async (t) => {
  let now = 1000
  const app = await tcpApp(t, (socket) =>
    socket.on('data', () => {
      now += 25
      socket.write(ok('hello'))
    }),
  )
  const { records, visit } = await tapped(t, joinTo(app), { now: () => now })
  const { channel } = await visit()
  const before = Date.now()
  channel.write('POST /form?a=1 HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc')
  await until(() => records.length === 1, 'a record')
  const [record] = records as [RequestRecord]
  assert.deepEqual(facts(record), ['POST', '/form?a=1', 200, 3, 5])
  assert.equal(record.durationMs, 25)
  assert.ok(record.at.getTime() >= before && record.at.getTime() <= Date.now())
})

test('pipelined requests get each its own answer, also where one to HEAD has no body', async (t) => {
  const answers = [
    ok('one'),
    'HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n',
    'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n',
    'HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n',
  ]
  const { records, visit } = await tapped(t, joinTo(await answering(t, ...answers)))
  const { channel, text } = await visit()
  channel.write(get('/1') + get('/2', 'HEAD') + get('/3', 'DELETE') + get('/4'))
  await until(() => records.length === 4, 'four records')
  assert.deepEqual(records.map(facts), [
    ['GET', '/1', 200, 0, 3],
    ['HEAD', '/2', 200, 0, 0],
    ['DELETE', '/3', 204, 0, 0],
    ['GET', '/4', 404, 0, 13],
  ])
  await until(() => text() === answers.join(''), 'the answers as they were sent')
})

test('a request and an answer that come byte by byte are read all the same', async (t) => {
  const app = await tcpApp(t, (socket) => {
    const drip = async () => {
      for (const byte of ok('slow')) {
        socket.write(byte)
        await new Promise(setImmediate)
      }
    }
    socket.on('data', (bytes) => void (bytes.toString().endsWith('i') && drip()))
  })
  const { records, visit, server } = await tapped(t, joinTo(app))
  const { channel } = await visit()
  for (const byte of 'PUT /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi') {
    channel.write(byte)
    await server.ping()
  }
  await until(() => records.length === 1, 'a record')
  assert.deepEqual(records.map(facts), [['PUT', '/x', 200, 2, 4]])
})

test('an answer that ends with its connection is told of at its end', async (t) => {
  const app = await tcpApp(t, (socket) => {
    socket.once('data', () => socket.write('HTTP/1.0 200 OK\r\n\r\nall of'))
  })
  const { records, visit } = await tapped(t, joinTo(app))
  const { channel, text } = await visit()
  channel.write(get('/old'))
  await until(() => text().endsWith('all of'), 'the first part')
  assert.deepEqual(records, [])
  for (const socket of app.sockets) socket.end(' it')
  await until(() => records.length === 1, 'a record')
  assert.deepEqual(records.map(facts), [['GET', '/old', 200, 0, 9]])
})

test('a request without an answer is told of when none can come any more, and so is a cut one', async (t) => {
  const app = await tcpApp(t, (socket) => {
    socket.on('data', (bytes) => {
      if (!bytes.toString().startsWith('GET /cut')) return void socket.resetAndDestroy()
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf', () => setImmediate(() => cut(socket)))
    })
  })
  const { records, visit } = await tapped(t, joinTo(app))
  for (const path of ['/none', '/cut']) {
    const { channel } = await visit()
    channel.write(get(path))
    await until(() => channel.closed, 'the end of a channel')
  }
  await until(() => records.length === 2, 'two records')
  assert.deepEqual(records.map(facts), [
    ['GET', '/none', undefined, 0, 0],
    ['GET', '/cut', 200, 0, 4],
  ])
})

test('an early answer is told of at once, and the rest of that request disturbs nothing', async (t) => {
  const app = await tcpApp(t, (socket) => {
    socket.once('data', () => socket.write('HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n'))
    socket.on('data', (bytes) => bytes.toString().includes('GET /next') && socket.write(ok('')))
  })
  const { records, visit } = await tapped(t, joinTo(app))
  const { channel } = await visit()
  channel.write('POST /big HTTP/1.1\r\nHost: a.test\r\nContent-Length: 6\r\n\r\nabc')
  await until(() => records.length === 1, 'the early answer')
  channel.write(`def${get('/next')}`)
  await until(() => records.length === 2, 'the next answer')
  assert.deepEqual(records.map(facts), [
    ['POST', '/big', 413, 3, 0],
    ['GET', '/next', 200, 0, 0],
  ])
})

test('an upgrade is told of, and nothing after it is read', async (t) => {
  const upgrade = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'
  const app = await tcpApp(t, (socket) => {
    socket.once('data', () => {
      socket.write(upgrade)
      socket.pipe(socket)
    })
  })
  const { records, visit } = await tapped(t, joinTo(app))
  const { channel, text } = await visit()
  channel.write(
    'GET /live HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Long: 1\r\n\r\n',
  )
  await until(() => records.length === 1, 'the upgrade')
  assert.deepEqual(records.map(facts), [['GET', '/live', 101, 0, 0]])
  const looksLikeHttp = get('/not-a-request') + ok('not an answer')
  channel.write(looksLikeHttp)
  await until(() => text() === upgrade + looksLikeHttp, 'the echo')
  channel.end()
  await until(() => channel.closed, 'the end of the channel')
  assert.equal(records.length, 1)
})

test('what is not HTTP passes both ways, and nobody is told', async (t) => {
  const app = await tcpApp(t, (socket) => socket.pipe(socket))
  const { records, visit } = await tapped(t, joinTo(app))
  const { channel, text } = await visit()
  const noise = '\x16\x03\x01 not http\r\n\r\n\0\xff'
  channel.write(Buffer.from(noise, 'latin1'))
  await until(() => text() === noise, 'the echo')
  channel.write(get('/too-late'))
  await until(() => text() === noise + get('/too-late'), 'the second echo')
  channel.end()
  await until(() => channel.closed, 'the end of the channel')
  assert.deepEqual(records, [])
})

test('an answer that is not HTTP passes, and its request counts as not answered', async (t) => {
  const { records, visit } = await tapped(t, joinTo(await answering(t, 'SSH-2.0-server\r\n', ok('later'))))
  const { channel, text } = await visit()
  channel.write(get('/'))
  await until(() => records.length === 1, 'a record')
  assert.deepEqual(records.map(facts), [['GET', '/', undefined, 0, 0]])
  channel.write(get('/again'))
  await until(() => text() === `SSH-2.0-server\r\n${ok('later')}`, 'both answers')
  assert.equal(records.length, 1)
})

test('after an answer that nobody asked for nothing is read', async (t) => {
  const app = await tcpApp(t, (socket) => {
    socket.write('HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n')
    socket.on('data', (bytes) => bytes.toString().startsWith('GET') && socket.write(ok('late')))
  })
  const { records, visit } = await tapped(t, joinTo(app))
  const { channel, text } = await visit()
  channel.write('\r\n')
  await until(() => text().includes('408'), 'what nobody asked for')
  channel.write(get('/'))
  await until(() => text().endsWith('late'), 'the answer')
  channel.end()
  for (const socket of app.sockets) socket.end()
  await until(() => channel.closed, 'the end of the channel')
  assert.deepEqual(records, [])
})

test('behind an odd request nothing more is read, but those before it are answered', async (t) => {
  const { records, visit } = await tapped(t, joinTo(await answering(t, ok('fine'), ok('odd'))))
  const { channel, text } = await visit()
  channel.write(`${get('/fine')}ODD\x01 / HTTP/1.1\r\n\r\n`)
  await until(() => text() === ok('fine') + ok('odd'), 'both answers')
  assert.deepEqual(records.map(facts), [['GET', '/fine', 200, 0, 4]])
})

test('of a crowd of pipelined requests the first hundred are followed, and all are answered', async (t) => {
  const paths = Array.from({ length: 150 }, (_, i) => `/${i}`)
  const gate = new Promise<void>((open) => setImmediate(open))
  const app = await tcpApp(t, (socket) => {
    let heads = 0
    socket.on('data', (bytes) => {
      heads += bytes.toString().split('\r\n\r\n').length - 1
      if (heads === 150) void gate.then(() => socket.write(paths.map((path) => ok(path)).join('')))
    })
  })
  const { records, visit } = await tapped(t, joinTo(app))
  const { channel, text } = await visit()
  channel.write(paths.map((path) => get(path)).join(''))
  await until(() => text() === paths.map((path) => ok(path)).join(''), 'all answers')
  assert.deepEqual(
    records.map(({ path }) => path),
    paths.slice(0, 100),
  )
})

test('answers that no local service gave are told of too', async (t) => {
  const deliver: Deliver = (channel) => {
    channel.on('error', () => undefined)
    channel.once('data', () => channel.end('HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\ndown'))
  }
  const { records, visit } = await tapped(t, deliver)
  const { channel } = await visit()
  channel.write(get('/'))
  await until(() => records.length === 1, 'a record')
  assert.deepEqual(records.map(facts), [['GET', '/', 502, 0, 4]])
})

test('large bodies pass through it whole, both ways at once, with half-close', async (t) => {
  const bytes = 8 * 1024 * 1024
  const app = await tcpApp(t, (socket) => socket.pipe(socket))
  const { visit } = await tapped(t, joinTo(app))
  const { channel } = await visit()
  channel.removeAllListeners('data')
  const came = hashOf(channel as AsyncIterable<Buffer>)
  for (const block of bodyOf(bytes, 'tap')) if (!channel.write(block)) await once(channel, 'drain')
  channel.end()
  assert.deepEqual(await came, { bytes, hash: hashOfBody(bytes, 'tap') })
})

test('nobody reads on its account: a channel left alone takes one window and holds its sender', async (t) => {
  let held: Duplex | undefined
  const { records, visit, server } = await tapped(t, (channel) => void (held = channel.on('error', () => {})))
  const { channel } = await visit()
  const body = Buffer.alloc(1024 * 1024)
  channel.write(`POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: ${body.length}\r\n\r\n`)
  channel.write(body)
  await until(() => held !== undefined && held.readableLength > 0, 'the first bytes')
  for (let i = 0; i < 5; i++) await server.ping()
  assert.equal(held?.readableFlowing, null)
  assert.ok((held?.readableLength ?? 0) <= 256 * 1024, `${held?.readableLength} bytes were taken`)
  assert.deepEqual(records, [])
})

test('a reset by the visitor reaches the local service as one', async (t) => {
  const sockets: Socket[] = []
  const app = await tcpApp(t, (socket) => void sockets.push(socket))
  const { records, visit } = await tapped(t, joinTo(app))
  const { channel } = await visit()
  channel.write(get('/'))
  await until(() => sockets.length === 1, 'a connection')
  const failed = event(sockets[0] as Socket, 'error')
  sockets[0]?.resume()
  channel.destroy()
  const [error] = (await failed) as [NodeJS.ErrnoException]
  assert.equal(error.code, 'ECONNRESET')
  await until(() => records.length === 1, 'a record')
})

test('what it has given up, or seen to its end, it no longer listens to', async (t) => {
  const ends: [sent: string, answer: string, left: number][] = [
    [get('/'), ok('kept alive'), 1],
    ['no HTTP\r\n\r\n', 'nor this', 0],
    [get('/upgraded'), 'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\nraw', 0],
    [get('/'), 'no HTTP\r\n', 0],
    ['\r\n\r\n', ok('to nothing'), 0],
  ]
  for (const [sent, answer, left] of ends) {
    const channels: Duplex[] = []
    const deliver: Deliver = (channel) => {
      channels.push(channel.on('error', () => undefined))
      channel.once('data', () => channel.write(answer))
    }
    const { visit } = await tapped(t, deliver)
    const { channel, text } = await visit()
    channel.write(sent)
    await until(() => text() === answer, 'the answer')
    const counts = ['received', 'sent', 'finish'].map((event) => channels[0]?.listenerCount(event))
    assert.deepEqual(counts, [left, left, left], sent)
    channel.destroy()
    await until(() => channels[0]?.closed === true, 'the end')
    assert.deepEqual(
      ['received', 'sent', 'finish', 'close'].map((event) => channels[0]?.listenerCount(event)),
      [0, 0, 0, 0],
    )
  }
})

test('what it keeps of idle channels is little, whatever passed through them', async (t) => {
  const app = await tcpApp(t, (socket) => {
    socket.on('data', () => socket.write(ok('x'.repeat(200_000))))
  })
  const { records, visit } = await tapped(t, joinTo(app))
  const held = () => {
    collectGarbage()
    return process.memoryUsage().arrayBuffers
  }
  const oneMore = async () => {
    const before = records.length
    const { channel } = await visit()
    channel.removeAllListeners('data').resume()
    channel.write(`POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 50000\r\n\r\n${'x'.repeat(50_000)}`)
    await until(() => records.length > before, 'a record')
  }
  await oneMore()
  const before = held()
  for (let i = 0; i < 50; i++) await oneMore()
  const perChannel = (held() - before) / 50
  assert.ok(perChannel < 16_000, `${perChannel} bytes a channel`)
})

test('what a listener throws meets neither the channel nor the session', async (t) => {
  const thrown: unknown[] = []
  process.setUncaughtExceptionCaptureCallback((error) => thrown.push(error))
  t.after(() => process.setUncaughtExceptionCaptureCallback(null))
  const app = await answering(t, ok('one'), ok('two'))
  const fail = tap(joinTo(app), () => assert.fail('a listener that fails'))
  const { visit } = await tapped(t, fail)
  const { channel, text } = await visit()
  channel.write(get('/1'))
  await until(() => thrown.length === 1, 'what was thrown')
  channel.write(get('/2'))
  await until(() => text() === ok('one') + ok('two'), 'both answers')
})

test('channels are counted: how many are open, and how many there were', async (t) => {
  const counts: [number, number][] = []
  const app = await answering(t)
  const { visit } = await tapped(
    t,
    count(joinTo(app), (...pair) => counts.push(pair)),
  )
  const first = await visit()
  first.channel.write('x')
  await until(() => counts.length === 1, 'one')
  const second = await visit()
  second.channel.write('x')
  await until(() => counts.length === 2, 'two')
  first.channel.end()
  await until(() => counts.length === 3, 'one less')
  assert.deepEqual(counts, [
    [1, 1],
    [2, 2],
    [1, 2],
  ])
})

test('a tunnel tells of its connections always, of requests while somebody listens', async (t) => {
  const events = new EventEmitter<TunnelEvents>()
  const made: { tunnel?: Tunnel } = {}
  const app = await answering(t, ok('1'), ok('2'), ok('3'))
  const { visit } = await tapped(
    t,
    watched(joinTo(app), () => made.tunnel),
  )
  const told: unknown[] = []
  events.on('connections', (open, total) => told.push([open, total]))
  const ask = async (path: string) => {
    const { channel, text } = await visit()
    channel.write(get(path))
    await until(() => text().startsWith('HTTP/1.1 200 OK'), 'an answer')
    return channel
  }
  await ask('/before-there-is-a-tunnel')
  const closed = new Promise<void>(() => undefined)
  made.tunnel = Object.assign(events, { url: '', subdomain: '', latencyMs: 0, close: () => closed, closed })
  await ask('/unheard')
  events.on('request', ({ path }) => told.push(path))
  const heard = await ask('/heard')
  await until(() => told.length === 3, 'the request')
  heard.end()
  await until(() => told.length === 4, 'its end')
  assert.deepEqual(told, [[2, 2], [3, 3], '/heard', [2, 3]])
})
