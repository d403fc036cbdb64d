import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import net from 'node:net'
import type { Socket } from 'node:net'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { test, type TestContext } from 'node:test'
import { startRelay } from '../bench/relay.ts'
import { connect } from '../groktunnel.ts'
import {
  bodyOf,
  hashOf,
  hashOfBody,
  httpApp,
  startServer,
  tcpApp,
  until,
  visitor,
  type Way,
  within,
} from './helpers.ts'

const MIB = 1024 * 1024

/** Both ends of a connection over a relay. */
async function overRelay(t: TestContext, delayMs: number): Promise<[near: Socket, far: Socket]> {
  const accepted: Socket[] = []
  const app = await tcpApp(t, (socket) => accepted.push(socket))
  const relay = await startRelay(app.port, { delayMs })
  t.after(() => relay.close())
  const near = net.connect({ port: relay.port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
  t.after(() => near.destroy())
  await until(() => accepted.length === 1, 'a connection')
  return [near, accepted[0] as Socket]
}

test('the relay passes bytes on whole and in order, its delay later, each way', async (t) => {
  const ends = await overRelay(t, 60)
  for (const [from, to] of [ends, [...ends].reverse()] as [Socket, Socket][]) {
    const sentAt = performance.now()
    void pipeline(Readable.from(bodyOf(16 * MIB, 'relay')), from)
    await within(once(to, 'readable'), 'the first byte')
    const tookMs = performance.now() - sentAt
    assert.ok(tookMs >= 58, `the first byte took ${tookMs} ms`) // timers begin at the last turn's clock
    const came = await within(hashOf(to.iterator({ destroyOnReturn: false })), 'all bytes, and the end')
    assert.deepEqual(came, { hash: hashOfBody(16 * MIB, 'relay'), bytes: 16 * MIB })
  }
})

test('the relay passes on an end alone, and a reset behind the bytes that came before it', async (t) => {
  const [near, far] = await overRelay(t, 20)
  near.end('asked')
  await within(once(far.resume(), 'end'), 'an end')
  far.write('half an ans')
  const [half] = (await within(once(near, 'data'), 'an answer')) as [Buffer]
  assert.equal(half.toString(), 'half an ans')
  far.resetAndDestroy()
  await assert.rejects(within(once(near, 'end'), 'a reset'), { code: 'ECONNRESET' })
})

test('the relay takes 32 MiB before the first of them has arrived, but not without bound', async (t) => {
  const [near, far] = await overRelay(t, 1500)
  let taken = 0
  const block = Buffer.alloc(MIB)
  const write = (error?: Error | null): void => {
    if (error) return // the test is over
    near.write(block, write)
    taken += MIB
  }
  write()
  await within(once(far, 'readable'), 'the first byte') // it is left unread
  assert.ok(taken >= 32 * MIB && taken < 128 * MIB, `${taken / MIB} MiB taken`)
})

/** A tunnel whose server is 50 ms away: a window of 256 KiB carries 2.5 MiB/s and no more. */
async function farTunnelTo(t: TestContext, local: number): Promise<Way> {
  const server = await startServer(t)
  const relay = await startRelay(server.port, { delayMs: 50 })
  t.after(() => relay.close())
  const tunnel = await connect({ port: relay.port, local })
  t.after(() => tunnel.close().catch(() => undefined))
  return { port: server.port, host: new URL(tunnel.url).host, tunnel }
}

test('32 MiB come down a long way whole, and faster than the first window would let them', async (t) => {
  const app = await httpApp(
    t,
    (_, response) => void pipeline(Readable.from(bodyOf(32 * MIB, 'far')), response),
  )
  const way = await farTunnelTo(t, app.port)
  const request = http.get({ port: way.port, headers: { host: way.host }, agent: false })
  const [response] = (await within(once(request, 'response'), 'an answer')) as [http.IncomingMessage]
  const came = await within(hashOf(response), '32 MiB', 6000)
  assert.deepEqual(came, { hash: hashOfBody(32 * MIB, 'far'), bytes: 32 * MIB })
})

test('32 MiB go up a long way whole, and faster than the first window would let them', async (t) => {
  const app = await httpApp(t, (request, response) => {
    void hashOf(request).then((sum) => response.end(JSON.stringify(sum)))
  })
  const way = await farTunnelTo(t, app.port)
  const request = http.request({ port: way.port, method: 'POST', headers: { host: way.host }, agent: false })
  const answered = once(request, 'response') as Promise<[http.IncomingMessage]>
  void pipeline(Readable.from(bodyOf(32 * MIB, 'far')), request)
  const [response] = await within(answered, 'an answer', 6000)
  const came = JSON.parse((await response.toArray()).join('')) as unknown
  assert.deepEqual(came, { hash: hashOfBody(32 * MIB, 'far'), bytes: 32 * MIB })
})

test('a body that is cut a long way off reaches the visitor as a reset, behind what had come', async (t) => {
  const head = 'HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n'
  const app = await tcpApp(t, (socket) => void socket.once('data', () => socket.write(`${head}half of it`)))
  const way = await farTunnelTo(t, app.port)
  const one = visitor(t, way).send(`GET / HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`)
  await one.got('half of it')
  for (const socket of app.sockets) socket.resetAndDestroy()
  assert.equal(await one.ended(), 'ECONNRESET')
})
