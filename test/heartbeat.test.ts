import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { test, type TestContext } from 'node:test'
import type { TunnelError } from '../lib/errors.ts'
import { Heartbeat } from '../lib/heartbeat.ts'
import { Session } from '../lib/mux.ts'
import { event, frame, PING, RawPeer, SYN, tcpPair } from './attacker.ts'
import { bodyOf, hashOf, hashOfBody, until, within } from './helpers.ts'

/** A server's session, and what the test makes of its peer. */
async function session(t: TestContext): Promise<[Session, Socket]> {
  const [near, far] = await tcpPair(t)
  far.on('error', () => undefined)
  return [new Session(near, { side: 'server' }), far]
}

function ended(session: Session): Promise<{ error: TunnelError | undefined; at: number }> {
  return new Promise((resolve) => session.on('close', (error) => resolve({ error, at: performance.now() })))
}

test('a peer that answers lives, and every round trip is told', async (t) => {
  const [ours, far] = await session(t)
  new RawPeer(far)
  const latencies: number[] = []
  new Heartbeat({ heartbeatMs: 60 }).watch(ours, (ms) => latencies.push(ms))
  let error: unknown = 'none'
  ours.on('close', (came) => (error = came))
  await until(() => latencies.length >= 10, 'ten round trips')
  assert.equal(error, 'none')
  assert.ok(latencies.every((ms) => ms > 0 && ms < 1000))
})

test('pings go out once a beat', async (t) => {
  const [ours, far] = await session(t)
  const peer = new RawPeer(far)
  const pings = () => peer.frames.filter(({ type, flags }) => type === PING && flags === SYN).length
  await until(() => pings() === 1, 'the first ping of the session')
  new Heartbeat({ heartbeatMs: 300 }).watch(ours)
  const from = performance.now()
  await until(() => pings() >= 6, 'five more')
  assert.ok(performance.now() - from > 4 * 300 - 50, `five pings in ${performance.now() - from} ms`)
})

test('a peer that falls silent is ended within 10 s of a beat of 3', async (t) => {
  const [ours, far] = await session(t)
  const peer = new RawPeer(far)
  const latencies: number[] = []
  new Heartbeat({ heartbeatMs: 600 }).watch(ours, (ms) => latencies.push(ms))
  await until(() => latencies.length === 2, 'a life')
  peer.stopReading()
  const from = performance.now()
  const { error, at } = await within(ended(ours), 'the end')
  assert.equal(error?.code, 'session-lost')
  assert.match(error?.message ?? '', /nothing was heard .* for \d+\.\d s/)
  assert.ok(at - from > 1.5 * 600, `after ${at - from} ms`)
  assert.ok(at - from < 2000, `after ${at - from} ms`)
})

test('any byte is a sign of life, also where pings stay unanswered', async (t) => {
  const [ours, far] = await session(t)
  far.resume()
  let [sent, closed] = [0, false]
  const bytes = frame(PING, SYN, 0, 7)
  const talk = setInterval(() => far.write(bytes.subarray(sent++ % 12, ((sent - 1) % 12) + 1)), 20)
  t.after(() => clearInterval(talk))
  ours.on('close', () => (closed = true))
  new Heartbeat({ heartbeatMs: 120 }).watch(ours)
  await until(() => sent > 60, 'ten beats')
  assert.equal(closed, false)
  clearInterval(talk)
  await until(() => closed, 'an end once it is silent')
})

test('when the clock jumps, the peer is pinged at once', async (t) => {
  const [ours, far] = await session(t)
  new RawPeer(far)
  let jumpedMs = 0
  const latencies: number[] = []
  const heartbeat = new Heartbeat({ heartbeatMs: 3_000 }, () => Date.now() + jumpedMs)
  heartbeat.watch(ours, (ms) => latencies.push(ms))
  await until(() => latencies.length === 1, 'the first round trip')
  jumpedMs = 3_600_000
  await until(() => latencies.length === 2, 'a round trip long before its beat', 1_500)
})

test('a peer that was silent when the clock jumped has its time anew', async (t) => {
  const [ours, far] = await session(t)
  new RawPeer(far).stopReading()
  let jumpedMs = 0
  const closed = ended(ours)
  new Heartbeat({ heartbeatMs: 600 }, () => Date.now() + jumpedMs).watch(ours)
  const from = performance.now()
  await until(() => performance.now() - from > 700, 'nearly its end')
  jumpedMs = 60_000
  const jumpedAt = performance.now()
  const { error, at } = await within(closed, 'the end')
  assert.equal(error?.code, 'session-lost')
  assert.ok(at - jumpedAt > 1.5 * 600, `${at - jumpedAt} ms after the jump`)
})

test('a long upload over a line that holds up the answers to pings kills neither side', async (t) => {
  const [clientSocket, near] = await tcpPair(t)
  const [far, serverSocket] = await tcpPair(t)
  slowly(t, near, far, 80)
  far.pipe(near)
  const ends = [
    new Session(clientSocket, { side: 'client' }),
    new Session(serverSocket, { side: 'server' }),
  ] as const
  const errors: unknown[] = []
  for (const one of ends) {
    one.on('close', (error) => errors.push(error))
    new Heartbeat({ heartbeatMs: 300 }).watch(one)
  }
  const [client, server] = ends
  const came = event(client, 'channel')
  const theirs = await server.open()
  theirs.end('!')
  const [ours] = (await came) as Awaited<ReturnType<Session['open']>>[]
  assert.ok(ours)
  const bytes = 192 * 1024
  for (const block of bodyOf(bytes, 'slow')) ours.write(block)
  ours.resume().end()
  theirs.on('error', (error) => errors.push(error))
  const body = await within(hashOf(theirs).catch(String), 'the upload')
  assert.deepEqual(errors, [])
  assert.deepEqual(body, { hash: hashOfBody(bytes, 'slow'), bytes })
})

/** What comes on `from` goes to `to` at so many bytes a ms; all that waits is kept, as long lines do. */
function slowly(t: TestContext, from: Socket, to: Socket, bytesPerMs: number): void {
  let held = Buffer.alloc(0)
  let passedAt = performance.now()
  from.on('data', (bytes: Buffer) => (held = Buffer.concat([held, bytes])))
  const line = setInterval(() => {
    const now = performance.now()
    const bytes = held.subarray(0, Math.floor((now - passedAt) * bytesPerMs))
    held = held.subarray(bytes.length)
    passedAt = now
    if (bytes.length > 0) to.write(bytes)
  }, 5)
  t.after(() => clearInterval(line))
  void once(from, 'close').then(() => clearInterval(line))
}
