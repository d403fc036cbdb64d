import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import net from 'node:net'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { test } from 'node:test'
import {
  ask,
  askPeer,
  bodyOf,
  hashOf,
  hashOfBody,
  httpApp,
  startPeer,
  tcpApp,
  tunnelTo,
  until,
  visitor,
  within,
} from './helpers.ts'

const MiB = 1024 * 1024

test('256 MiB come down whole', async (t) => {
  const seed = 'down'
  const app = await httpApp(
    t,
    (_, response) => void pipeline(Readable.from(bodyOf(256 * MiB, seed)), response),
  )
  const way = await tunnelTo(t, app.port)
  const request = http.get({ port: way.port, headers: { host: way.host }, agent: false })
  const [response] = (await once(request, 'response')) as [http.IncomingMessage]
  assert.deepEqual(await within(hashOf(response), '256 MiB', 40_000), {
    hash: hashOfBody(256 * MiB, seed),
    bytes: 256 * MiB,
  })
})

test('256 MiB go up whole', async (t) => {
  const seed = 'up'
  const app = await httpApp(t, (request, response) => {
    void hashOf(request).then((sum) => response.end(JSON.stringify(sum)))
  })
  const way = await tunnelTo(t, app.port)
  const headers = { host: way.host, 'content-length': 256 * MiB }
  const request = http.request({ port: way.port, method: 'POST', headers, agent: false })
  const answer = once(request, 'response') as Promise<[http.IncomingMessage]>
  await within(pipeline(Readable.from(bodyOf(256 * MiB, seed)), request), '256 MiB to be sent', 40_000)
  const [response] = await within(answer, 'an answer')
  const sum = JSON.parse((await response.toArray()).join('')) as unknown
  assert.deepEqual(sum, { hash: hashOfBody(256 * MiB, seed), bytes: 256 * MiB })
})

test('an answer that echoes its request while it still comes passes both ways at once', async (t) => {
  const app = await httpApp(t, (request, response) => void pipeline(request, response))
  const way = await tunnelTo(t, app.port)
  const request = http.request({ port: way.port, method: 'POST', headers: { host: way.host }, agent: false })
  request.write('first')
  const [response] = (await within(once(request, 'response'), 'the answer to begin')) as [
    http.IncomingMessage,
  ]
  const sent = pipeline(Readable.from(bodyOf(32 * MiB, 'echo')), request)
  const came = response.iterator() as AsyncIterableIterator<Buffer>
  const [first] = [(await came.next()).value as Buffer]
  assert.equal(first.toString(), 'first')
  const sum = await within(hashOf(came), 'the echo', 30_000)
  assert.deepEqual(sum, { hash: hashOfBody(32 * MiB, 'echo'), bytes: 32 * MiB })
  await sent
})

test('a visitor who has sent its request and its FIN still reads the late answer', async (t) => {
  const app = await tcpApp(t, (socket) => {
    let came = ''
    socket.on('data', (bytes) => (came += bytes.toString()))
    // It answers only once it has seen the end.
    socket.on('end', () => socket.end(`HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nlate ${came.slice(-6)}`))
  })
  const way = await tunnelTo(t, app.port)
  const one = visitor(t, way)
  one.socket.end(`POST / HTTP/1.1\r\nHost: ${way.host}\r\nContent-Length: 6\r\n\r\nupload`)
  assert.equal(await one.ended(), 'end')
  assert.match(one.text, /late upload$/)
  await until(() => app.sockets.size === 0, 'the connection to the local service to close')
})

test('a local service that has sent its answer and its FIN still gets the rest of the upload', async (t) => {
  const late = 'x'.repeat(3 * MiB)
  let [rest, ended] = ['', false]
  const app = await tcpApp(t, (socket) => {
    socket.once('data', () => {
      socket.end('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly')
      socket.on('data', (bytes) => (rest += bytes.toString()))
      socket.on('end', () => (ended = true))
    })
  })
  const way = await tunnelTo(t, app.port)
  const one = visitor(t, way)
  one.send(`POST / HTTP/1.1\r\nHost: ${way.host}\r\nContent-Length: ${late.length}\r\n\r\n`)
  await one.got(/early$/)
  one.send(late)
  await until(() => rest.length >= late.length, 'the upload')
  assert.ok(rest === late)
  assert.equal(await one.ended(), 'end')
  one.socket.end()
  await until(() => ended, 'the end of the upload')
})

test('an answer that comes before its request has ended is passed on at once, and the connection goes on', async (t) => {
  const app = await tcpApp(t, (socket) => {
    let came = ''
    socket.on('data', (bytes) => {
      const had = came.length
      came += bytes.toString()
      if (had === 0) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly')
      if (came.includes('/next')) socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext`)
    })
  })
  const way = await tunnelTo(t, app.port)
  const one = visitor(t, way)
  one.send(`POST / HTTP/1.1\r\nHost: ${way.host}\r\nContent-Length: 8\r\n\r\nhalf`)
  await one.got(/early$/)
  one.send(`halfGET /next HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`)
  await one.got(/next$/)
})

test('a stalled reader costs bounded memory, hurts nobody, and reads on after 10 s with nothing lost', async (t) => {
  const size = 128 * MiB
  const app = await httpApp(t, (request, response) => {
    if (request.url === '/small') response.end('small')
    else {
      response.setHeader('Content-Length', size)
      pipeline(Readable.from(bodyOf(size, 'stall')), response).catch(() => undefined)
    }
  })
  const [server, port] = await startPeer<number>(t, 'server')
  const [client, url] = await startPeer<string>(t, 'client', port, app.port)
  const way = { port, host: new URL(url).host }
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  t.after(() => agent.destroy())
  for (let n = 0; n < 300; n++) await ask(way, { path: '/small', agent })
  const memory = () => Promise.all([askPeer<number>(server, 'rss'), askPeer<number>(client, 'rss')])
  const before = await memory()

  const socket = net.connect({ port, host: '127.0.0.1' }).pause()
  t.after(() => socket.destroy())
  socket.write(`GET / HTTP/1.1\r\nHost: ${way.host}\r\nConnection: close\r\n\r\n`)
  await once(socket, 'readable')
  const peak = [0, 0]
  const latencies: number[] = []
  const end = performance.now() + 10_000
  while (performance.now() < end) {
    const at = performance.now()
    assert.equal((await ask(way, { path: '/small', agent })).body, 'small')
    latencies.push(performance.now() - at)
    if (latencies.length % 100 === 1)
      (await memory()).forEach((rss, n) => (peak[n] = Math.max(peak[n] ?? 0, rss)))
  }
  latencies.sort((a, b) => a - b)
  const [p50 = 0, p99 = 0] = [0.5, 0.99].map((part) => latencies[Math.floor(latencies.length * part)])
  const [serverGrew = 0, clientGrew = 0] = peak.map((rss, n) => Math.round((rss - (before[n] ?? 0)) / MiB))
  t.diagnostic(`server +${serverGrew} MiB, client +${clientGrew} MiB`)
  t.diagnostic(
    `${latencies.length} small requests meanwhile: p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms`,
  )
  assert.ok(serverGrew < 48 && clientGrew < 48, `server +${serverGrew} MiB, client +${clientGrew} MiB`)
  assert.ok(p50 < 50 && p99 < 500, `p50 ${p50} ms, p99 ${p99} ms`)

  const answer = socket as AsyncIterable<Buffer>
  assert.deepEqual(await within(hashOf(withoutHead(answer)), 'the rest', 40_000), {
    hash: hashOfBody(size, 'stall'),
    bytes: size,
  })
})

/** What follows the head of an answer. */
async function* withoutHead(answer: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void> {
  let head: Buffer | undefined = Buffer.alloc(0)
  for await (const bytes of answer) {
    if (head === undefined) {
      yield bytes
      continue
    }
    head = Buffer.concat([head, bytes])
    const end = head.indexOf('\r\n\r\n')
    if (end === -1) continue
    yield head.subarray(end + 4)
    head = undefined
  }
}
