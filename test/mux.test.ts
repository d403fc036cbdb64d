/** Two sessions over a real TCP connection. Waiting is by events and pings: a ping returns after all sent before it. */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import net from 'node:net'
import type { Socket } from 'node:net'
import test from 'node:test'
import type { TestContext } from 'node:test'
import { TunnelError } from '../lib/errors.ts'
import { Session } from '../lib/mux.ts'
import type { Channel, SessionOptions } from '../lib/mux.ts'
import {
  ACK,
  collectGarbage,
  data,
  event,
  frame,
  GOAWAY,
  KIB,
  listening,
  MIB,
  PING,
  RawPeer,
  readAll,
  RST,
  SYN,
  tcpPair,
  UPDATE,
  within,
} from './attacker.ts'

const WINDOW = 256 * KIB

interface Ends {
  client: Session
  server: Session
  clientSocket: Socket
  serverSocket: Socket
}

type Limits = Omit<SessionOptions, 'side'>

/** A client's and a server's session; where `delayMs` is given, each byte takes so long each way. */
async function sessions(t: TestContext, limits: Limits = {}, delayMs = 0): Promise<Ends> {
  const [clientSocket, far] = await tcpPair(t)
  let serverSocket = far
  if (delayMs > 0) {
    const [near, end] = await tcpPair(t)
    relay(far, near, delayMs)
    relay(near, far, delayMs)
    serverSocket = end
  }
  const client = new Session(clientSocket, { side: 'client', ...limits })
  const server = new Session(serverSocket, { side: 'server', ...limits })
  await Promise.all([client.ping(), server.ping()])
  return { client, server, clientSocket, serverSocket }
}

/** What comes on `from` goes to `to`, each piece `delayMs` later. */
function relay(from: Socket, to: Socket, delayMs: number): void {
  from.setNoDelay(true)
  from.on('data', (bytes: Buffer) => setTimeout(() => to.write(bytes), delayMs))
  from.on('end', () => setTimeout(() => to.end(), delayMs))
}

/** A channel as the server and as the client has it. */
async function channel({ client, server }: Ends): Promise<[Channel, Channel]> {
  const came = event(client, 'channel')
  const ours = await server.open()
  ours.write('!')
  const [theirs] = (await came) as [Channel]
  assert.equal(String(await readSome(theirs)), '!')
  for (const end of [ours, theirs]) end.on('error', () => undefined)
  return [ours, theirs]
}

/** The next bytes that a paused channel has. */
async function readSome(channel: Channel): Promise<Buffer> {
  for (;;) {
    const bytes = channel.read()
    if (bytes !== null) return bytes
    await event(channel, 'readable')
  }
}

/** Waits until `progress` has stood still for five round trips. */
async function standstill(session: Session, progress: () => number): Promise<number> {
  for (let same = 0, before = -1; same < 5; before = progress()) {
    await within(session.ping(), 'a pong')
    same = progress() === before ? same + 1 : 0
  }
  return progress()
}

/** Writes without end, heeding backpressure. `sent` is what the channel took. */
function pump(channel: Channel, block: Buffer, limit = Infinity): { sent: number } {
  const state = { sent: 0 }
  const more = () => {
    while (!channel.destroyed && state.sent < limit) {
      state.sent += block.length
      if (!channel.write(block)) {
        channel.once('drain', more)
        return
      }
    }
  }
  more()
  return state
}

function sha256(...pieces: Uint8Array[]): string {
  const hash = createHash('sha256')
  for (const piece of pieces) hash.update(piece)
  return hash.digest('hex')
}

function failure(channel: Channel): Promise<TunnelError> {
  return event(channel, 'error').then(([error]) => error as TunnelError)
}

/** Settles when `channel` has closed, by an error or not. */
function closing(channel: Channel): Promise<void> {
  return new Promise((resolve) => channel.once('close', () => resolve()))
}

test('a channel carries bytes both ways, whole and in order', async (t) => {
  const [ours, theirs] = await channel(await sessions(t))
  const [up, down] = [randomBytes(8 * MIB + 1), randomBytes(5 * MIB + 7)]
  const [gotUp, gotDown] = await Promise.all([
    readAll(theirs),
    readAll(ours),
    pipe(chunks(up), ours),
    pipe(chunks(down), theirs),
  ])
  assert.equal(sha256(gotUp), sha256(up))
  assert.equal(sha256(gotDown), sha256(down))
})

/** Writes all `pieces`, heeding backpressure, and ends. */
async function pipe(pieces: Iterable<Buffer>, to: Channel): Promise<void> {
  for (const piece of pieces) if (!to.write(piece)) await event(to, 'drain')
  to.end()
}

/** Pieces of all sizes from 1 byte to 100,000. */
function* chunks(bytes: Buffer): Generator<Buffer> {
  for (let at = 0, size = 1; at < bytes.length; at += size) {
    size = (size * 31 + 17) % 100_000 || 1
    yield bytes.subarray(at, at + size)
  }
}

test('only the server opens channels: one that the client opens is reset', async (t) => {
  const [socket, far] = await tcpPair(t)
  const server = new Session(far, { side: 'server' })
  server.on('channel', () => assert.fail('a channel came'))
  const peer = new RawPeer(socket)
  await peer.send(frame(UPDATE, SYN, 1, 0))
  await peer.next((f) => f.id === 1 && f.flags === 8, 'a reset')
  assert.equal(server.channelCount, 0)
})

test('a client hears of a channel with its first byte, and not before', async (t) => {
  const { client, server } = await sessions(t)
  const came: Channel[] = []
  client.on('channel', (channel) => came.push(channel.on('error', () => undefined)))
  const quiet = (await server.open()).on('error', () => undefined)
  await server.ping()
  assert.equal(came.length, 0)
  assert.equal(client.channelCount, 1)
  quiet.write('hello')
  await event(client, 'channel')
  assert.equal(came.length, 1)
})

test('the server ends its side, and the client still answers', async (t) => {
  const [ours, theirs] = await channel(await sessions(t))
  ours.end('question')
  assert.equal(String(await readAll(theirs)), 'question')
  assert.equal(theirs.writable, true)
  theirs.end('answer')
  assert.equal(String(await readAll(ours)), 'answer')
})

test('the client ends its side, and the server still sends', async (t) => {
  const [ours, theirs] = await channel(await sessions(t))
  theirs.end('early answer')
  assert.equal(String(await readAll(ours)), 'early answer')
  assert.equal(ours.writable, true)
  ours.end(Buffer.alloc(MIB))
  assert.equal((await readAll(theirs)).length, MIB)
})

for (const side of ['server', 'client']) {
  test(`a channel destroyed by the ${side} is reset at the other side`, async (t) => {
    const ends = await sessions(t)
    const [ours, theirs] = await channel(ends)
    const [one, other] = side === 'server' ? [ours, theirs] : [theirs, ours]
    const failed = failure(other)
    one.destroy()
    assert.equal((await failed).code, 'channel-reset')
    assert.deepEqual([other.readableEnded, other.destroyed], [false, true])
    await ends.server.ping()
    assert.deepEqual([ends.server.channelCount, ends.client.channelCount], [0, 0])
  })

  test(`a channel destroyed by the ${side} in the middle of a transfer never looks ended`, async (t) => {
    const ends = await sessions(t)
    const [ours, theirs] = await channel(ends)
    const [one, other] = side === 'server' ? [ours, theirs] : [theirs, ours]
    pump(one, Buffer.alloc(64 * KIB))
    let got = 0
    other.on('data', (bytes: Buffer) => {
      got += bytes.length
      if (got > 4 * MIB) one.destroy()
    })
    other.on('end', () => assert.fail('it looked ended'))
    assert.equal((await failure(other)).code, 'channel-reset')
    const [next] = await channel(ends)
    assert.ok(next.writable, 'the session goes on')
  })

  test(`a channel whose reader, the ${side}, leaves stops its sender`, async (t) => {
    const ends = await sessions(t)
    const [ours, theirs] = await channel(ends)
    const [reader, sender] = side === 'server' ? [ours, theirs] : [theirs, ours]
    pump(sender, Buffer.alloc(64 * KIB))
    reader.once('data', () => reader.destroy())
    assert.equal((await failure(sender)).code, 'channel-reset')
    await ends.client.ping()
    assert.deepEqual([ends.server.channelCount, ends.client.channelCount], [0, 0])
  })
}

test('a connection that breaks is an error of its channels and of both sessions', async (t) => {
  const ends = await sessions(t)
  const [ours, theirs] = await channel(ends)
  const failures = Promise.all([failure(ours), failure(theirs)])
  const closes = Promise.all([event(ends.server, 'close'), event(ends.client, 'close')])
  ends.clientSocket.resetAndDestroy()
  await failures
  const [[error, byUs]] = (await closes) as [[TunnelError, boolean], unknown]
  assert.deepEqual([error.code, byUs], ['session-lost', false])
})

for (const hasEnded of [true, false]) {
  const also = hasEnded ? 'both had ended' : 'the other had ended, and this side not yet'
  test(`a channel is read to its last byte though the connection has broken, when ${also}`, async (t) => {
    const ends = await sessions(t)
    const [ours, theirs] = await channel(ends)
    theirs.end(Buffer.alloc(200_000))
    if (hasEnded) ours.end()
    await standstill(ends.client, () => ours.readableLength)
    assert.equal(ours.readableLength, 200_000)
    const closed = event(ends.server, 'close')
    ends.clientSocket.resetAndDestroy()
    await closed
    let got = 0
    ours.on('data', (bytes: Buffer) => (got += bytes.length))
    await within(closing(ours), 'the channel to close')
    assert.equal(got, 200_000)
  })
}

test('a channel that was not ended by the other is never read to an end when the connection breaks', async (t) => {
  const ends = await sessions(t)
  const [ours, theirs] = await channel(ends)
  theirs.write(Buffer.alloc(200_000))
  await standstill(ends.client, () => ours.readableLength)
  ends.clientSocket.resetAndDestroy()
  await assert.rejects(readAll(ours))
})

test('a paused reader stops its sender, hurts no other channel, and loses nothing', async (t) => {
  const ends = await sessions(t)
  const [ours, theirs] = await channel(ends)
  const block = randomBytes(64 * KIB)
  const state = pump(ours, block, 16 * MIB)
  const sent = await standstill(ends.server, () => state.sent)
  assert.ok(sent < WINDOW + 256 * KIB, `${sent} bytes were taken`)
  assert.equal(theirs.readableLength, WINDOW - 1, 'all of the window, less what `channel` has sent')

  const [others, back] = await channel(ends)
  others.end(Buffer.alloc(4 * MIB))
  assert.equal((await readAll(back)).length, 4 * MIB)
  assert.equal(state.sent, sent)

  const hash = createHash('sha256')
  let got = 0
  theirs.on('data', (bytes: Buffer) => {
    hash.update(bytes)
    if ((got += bytes.length) === 16 * MIB) ours.end()
  })
  await event(theirs, 'end')
  assert.equal(hash.digest('hex'), sha256(...new Array<Buffer>(256).fill(block)))
})

test('a window grows for a reader who keeps up with a long way, up to maxWindowBytes', async (t) => {
  const ends = await sessions(t, { maxWindowBytes: 2 * MIB }, 20)
  const [ours, theirs] = await channel(ends)
  assert.ok(ends.client.rttMs >= 38, `${ends.client.rttMs} ms measured`)
  const state = pump(ours, Buffer.alloc(64 * KIB))
  let got = 0
  theirs.on('data', (bytes: Buffer) => (got += bytes.length))
  while (got < 12 * MIB) await within(ends.client.ping(), 'a pong')
  theirs.pause()
  await standstill(ends.server, () => state.sent)
  const waiting = theirs.readableLength
  assert.ok(waiting > 1.5 * MIB && waiting <= 2 * MIB, `${waiting} bytes wait`)
})

test('a window does not grow for a reader who is slower than the way', async (t) => {
  const ends = await sessions(t, {}, 20)
  const [ours, theirs] = await channel(ends)
  const state = pump(ours, Buffer.alloc(64 * KIB))
  for (let reads = 0; reads < 20; reads++) {
    await ends.client.ping()
    theirs.read(64 * KIB)
  }
  await standstill(ends.server, () => state.sent)
  assert.ok(theirs.readableLength <= WINDOW, `${theirs.readableLength} bytes wait`)
})

test('the windows of a session grow by maxGrowthBytes in all, and a channel that closes gives back', async (t) => {
  const ends = await sessions(t, { maxGrowthBytes: 512 * KIB }, 10)
  const waiting = async () => {
    const pairs = [await channel(ends), await channel(ends), await channel(ends)]
    const sent = pairs.map(([ours, theirs]) => {
      theirs.resume()
      return pump(ours, Buffer.alloc(64 * KIB))
    })
    const total = () => sent.reduce((sum, state) => sum + state.sent, 0)
    while (total() < 16 * MIB) await within(ends.client.ping(), 'a pong')
    for (const [, theirs] of pairs) theirs.pause()
    await standstill(ends.server, total)
    const bytes = pairs.reduce((sum, [, theirs]) => sum + theirs.readableLength, 0)
    for (const [ours] of pairs) ours.destroy()
    await ends.server.ping()
    return bytes
  }
  for (const round of ['first', 'second']) {
    const bytes = await waiting()
    assert.ok(bytes > 3 * WINDOW && bytes <= 3 * WINDOW + 512 * KIB, `${round}: ${bytes} bytes wait`)
  }
})

test('what paused readers hold is counted until it is read, also when both sides have ended', async (t) => {
  const ends = await sessions(t, { maxChannels: 10 })
  const unread: Channel[] = []
  ends.client.on('channel', (theirs) => unread.push(theirs.on('error', () => undefined)))
  for (let opened = 0; opened < 50; opened++) {
    const ours = await ends.server.open().catch(() => undefined)
    if (ours === undefined) break
    ours.on('error', () => undefined).resume()
    ours.end(Buffer.alloc(200_000))
    await ends.server.ping()
    unread.at(-1)?.end()
    await ends.client.ping()
  }
  const held = unread.reduce((sum, theirs) => sum + theirs.readableLength, 0)
  assert.ok(held <= 10 * WINDOW, `10 channels at most, but ${unread.length} hold ${held} bytes`)
})

test('100,000 writes of one byte to a paused reader are held in little memory', async (t) => {
  const ends = await sessions(t)
  const [ours, theirs] = await channel(ends)
  collectGarbage()
  const before = process.memoryUsage()
  for (let sent = 0; sent < 100_000; sent++) {
    if (!ours.write('x')) await event(ours, 'drain')
  }
  await standstill(ends.server, () => theirs.readableLength)
  const counted = theirs.readableLength
  assert.ok(counted > 100_000 - 2048, `${counted} counted: only what fills no piece of 2 KiB is not`)
  collectGarbage()
  const after = process.memoryUsage()
  const grown = (after.heapUsed + after.external - before.heapUsed - before.external) / MIB
  t.diagnostic(`${grown.toFixed(1)} MiB`)
  assert.ok(grown < 4, `${grown} MiB`)
  ours.end()
  assert.equal((await readAll(theirs)).length, 100_000)
})

test('1,000 channels at once each carry their own bytes, and none is left', async (t) => {
  const ends = await sessions(t)
  ends.client.on('channel', (theirs) => theirs.pipe(theirs))
  const echo = async (index: number) => {
    const ours = await ends.server.open()
    ours.end(`channel ${index} `.repeat(1 + (index % 1000)))
    return String(await readAll(ours))
  }
  const answers = await within(
    Promise.all(Array.from({ length: 1000 }, (_, n) => echo(n))),
    'answers',
    20_000,
  )
  answers.forEach((text, n) => assert.equal(text, `channel ${n} `.repeat(1 + (n % 1000))))
  await ends.client.ping()
  assert.deepEqual([ends.server.channelCount, ends.client.channelCount], [0, 0])
})

test('more than maxChannels are refused, until one has closed', async (t) => {
  const ends = await sessions(t, { maxChannels: 2 })
  const [first] = await channel(ends)
  await channel(ends)
  await assert.rejects(ends.server.open(), { code: 'server-full' })
  first.destroy()
  await ends.server.ping()
  await channel(ends)
})

test('more than maxChannels asked for at the same moment are refused as those that come later', async (t) => {
  const { server } = await sessions(t, { maxChannels: 3 })
  const asked = await Promise.allSettled(Array.from({ length: 7 }, () => server.open()))
  const codes = asked.map((one) => {
    if (one.status === 'rejected') return (one.reason as TunnelError).code
    one.value.on('error', () => undefined)
    return ''
  })
  assert.deepEqual(codes.sort(), ['', '', '', ...Array<string>(4).fill('server-full')])
})

test('a session whose ids are used up opens no more, lets what is open end, and then closes', async (t) => {
  const ends = await sessions(t, { lastId: 6 })
  let spent = 0
  ends.server.on('spent', () => (spent += 1))
  const pairs = [await channel(ends), await channel(ends)]
  assert.equal(spent, 0)
  pairs.push(await channel(ends))
  assert.equal(spent, 1)
  await assert.rejects(ends.server.open(), { code: 'session-closed' })
  await ends.server.ping()
  const closes = Promise.all([event(ends.server, 'close'), event(ends.client, 'close')])
  const whole = Promise.all(pairs.map(([ours]) => readToEnd(ours)))
  for (const [ours, theirs] of pairs) {
    ours.end()
    theirs.end('answer')
  }
  assert.deepEqual(await whole, ['answer', 'answer', 'answer'])
  assert.deepEqual(await closes, [
    [undefined, true],
    [undefined, false],
  ])
})

test('a peer that gives up is let go at once, though it stays connected', async (t) => {
  const [near, far] = await tcpPair(t)
  const server = new Session(far, { side: 'server' })
  const closed = event(server, 'close')
  near.write(frame(GOAWAY, 0, 0, 2))
  const [error] = (await closed) as [TunnelError]
  assert.match(error.message, /code 2/)
})

test('a ping measures the round trip', async (t) => {
  const { server } = await sessions(t, {}, 25)
  const rttMs = await server.ping()
  assert.ok(rttMs >= 48 && rttMs < 1000, `${rttMs} ms`)
  assert.ok(server.rttMs >= 48 && server.rttMs <= rttMs)
})

test('pings overtaken by none are answered in order, 1,000 at once', async (t) => {
  const { server } = await sessions(t)
  const times = await within(Promise.all(Array.from({ length: 1000 }, () => server.ping())), '1,000 pongs')
  assert.ok(times.every((ms) => ms >= 0))
})

test('answers to pings may come in another order, and one that comes twice ends the session', async (t) => {
  const [near, far] = await tcpPair(t)
  const server = new Session(far, { side: 'server' })
  const pings = Promise.all([server.ping(), server.ping()])
  let asked = Buffer.alloc(0)
  while (asked.length < 36) asked = Buffer.concat([asked, ...((await event(near, 'data')) as [Buffer])])
  const values = [0, 12, 24].map((at) => asked.readUInt32BE(at + 8))
  assert.equal(new Set(values).size, 3)
  const answers = values.map((value) => frame(PING, ACK, 0, value))
  near.write(Buffer.concat(answers.reverse()))
  await within(pings, 'the pongs')
  near.write(frame(PING, ACK, 0, values[1]))
  const [error] = (await event(server, 'close')) as [TunnelError]
  assert.equal(error.code, 'protocol-violation')
  assert.match(error.message, /ping that was not sent/)
})

for (const side of ['server', 'client'] as const) {
  test(`an orderly close by the ${side} is no error on either side, but cuts open channels`, async (t) => {
    const ends = await sessions(t)
    const [ours, theirs] = await channel(ends)
    const other = side === 'server' ? ends.client : ends.server
    const closes = Promise.all([event(ends[side], 'close'), event(other, 'close')])
    const failures = Promise.all([failure(ours), failure(theirs)])
    ends[side].close()
    assert.deepEqual(await closes, [
      [undefined, true],
      [undefined, false],
    ])
    for (const { code } of await failures) assert.equal(code, 'session-closed')
    await assert.rejects(ends.server.open(), { code: 'session-closed' })
    assert.deepEqual([ends.server.channelCount, ends.client.channelCount], [0, 0])
  })

  test(`a session destroyed by the ${side} is an error on both sides`, async (t) => {
    const ends = await sessions(t)
    const other = side === 'server' ? ends.client : ends.server
    const closes = Promise.all([event(ends[side], 'close'), event(other, 'close')])
    const reason = new TunnelError('protocol-violation', 'enough')
    ends[side].destroy(reason)
    const [[mine], [its]] = (await closes) as [[TunnelError], [TunnelError]]
    assert.equal(mine, reason)
    assert.equal(its.code, 'session-closed')
    assert.match(its.message, /code 1/)
  })
}

test('answers that ended just before a leaving session closes arrive whole', async (t) => {
  const ends = await sessions(t)
  const { client } = ends
  const pairs = [await channel(ends), await channel(ends)]
  const whole = Promise.all(pairs.map(([ours]) => readToEnd(ours)))
  const closed = event(client, 'close')
  client.leave(1)
  for (const [, theirs] of pairs) theirs.end('answer')
  // The turn of the loop lasts past the grace, so that its timer comes between the two turns that frames wait.
  const until = performance.now() + 5
  while (performance.now() < until);
  assert.deepEqual(await whole, ['answer', 'answer'])
  assert.deepEqual(await closed, [undefined, true])
})

/** All that comes until the end. Rejects when it is cut. */
async function readToEnd(channel: Channel): Promise<string> {
  let text = ''
  for await (const bytes of channel as AsyncIterable<Buffer>) text += String(bytes)
  return text
}

test('a channel asked for before the session closed, and not yet had, does not live on', async (t) => {
  const { server } = await sessions(t)
  const opening = server.open()
  server.close()
  const late = await opening.catch(() => undefined)
  if (late !== undefined) {
    late.on('error', () => undefined)
    if (!late.destroyed) await event(late, 'close', 1000)
  }
  assert.equal(server.channelCount, 0)
})

test('a connection that breaks while a write waits for window ends the write with an error', async (t) => {
  const ends = await sessions(t)
  const [ours] = await channel(ends)
  const state = pump(ours, Buffer.alloc(64 * KIB))
  await standstill(ends.server, () => state.sent)
  const failed = failure(ours)
  ends.clientSocket.resetAndDestroy()
  assert.equal((await failed).code, 'session-lost')
  assert.equal(ends.server.channelCount, 0)
})

test('an end that waits for window reaches the other side after the last byte', async (t) => {
  const ends = await sessions(t)
  const [ours, theirs] = await channel(ends)
  ours.end(Buffer.alloc(3 * MIB))
  await standstill(ends.server, () => theirs.readableLength)
  assert.equal(theirs.readableEnded, false)
  assert.equal((await readAll(theirs)).length, 3 * MIB)
})

/** A session whose peer grants all there is on channel 2 and then reads nothing. */
async function deafPeer(
  t: TestContext,
): Promise<{ server: Session; socket: Socket; peer: RawPeer; first: Channel }> {
  const [near, socket] = await tcpPair(t)
  const server = new Session(socket, { side: 'server' })
  const peer = new RawPeer(near)
  const first = await server.open()
  first.on('error', () => undefined)
  await peer.send(frame(UPDATE, 0, 2, 0xffffffff))
  await peer.roundTrip()
  peer.stopReading()
  return { server, socket, peer, first }
}

test('a peer that does not read its connection makes our memory grow by no more than a turn and a chunk', async (t) => {
  const { server, socket, first } = await deafPeer(t)
  const state = pump(first, Buffer.alloc(64 * KIB), 64 * MIB)
  for (let opened = 0; opened < 100; opened++) {
    const other = await server.open()
    other.on('error', () => undefined)
    other.write(Buffer.alloc(64 * KIB))
  }
  const other = await sessions(t)
  await standstill(other.server, () => state.sent)
  assert.ok(state.sent < 32 * MIB, `${state.sent} bytes were taken`)
  assert.ok(socket.writableLength < 1 * MIB, `${socket.writableLength} bytes wait in the socket`)
})

test('what was written on a channel that has gone is not kept for a peer that does not read', async (t) => {
  const { server, first } = await deafPeer(t)
  pump(first, Buffer.alloc(64 * KIB), 64 * MIB)
  const other = await sessions(t)
  await standstill(other.server, () => (server.gather.congested ? 1 : 0))
  assert.ok(server.gather.congested)
  collectGarbage()
  const before = process.memoryUsage().arrayBuffers
  for (let gone = 0; gone < 500; gone++) {
    const visitor = await server.open()
    visitor.on('error', () => undefined)
    visitor.write(Buffer.alloc(64 * KIB))
    visitor.destroy()
  }
  await standstill(other.server, () => server.channelCount)
  collectGarbage()
  const grown = (process.memoryUsage().arrayBuffers - before) / MIB
  assert.ok(grown < 4, `${grown.toFixed(1)} MiB kept`)
})

for (const [what, asking] of [
  ['pings', () => frame(PING, SYN, 0, 7)],
  ['channels', (at: number) => frame(UPDATE, SYN, 2 * at + 1, 0)],
] as const) {
  test(`a peer that asks for ${what}, and reads no answers, is ended before many wait for it`, async (t) => {
    const { server, socket, peer, first } = await deafPeer(t)
    pump(first, Buffer.alloc(64 * KIB), 64 * MIB)
    const other = await sessions(t)
    await standstill(other.server, () => (socket.writableNeedDrain ? 1 : 0))
    const closed = event(server, 'close')
    for (let at = 0; at < 20 && socket.writable; at++) {
      await peer.send(...Array.from({ length: 100 }, (_, n) => asking(100 * at + n)))
      await other.server.ping()
    }
    const [error] = (await closed) as [TunnelError]
    assert.match(error.message, /does not read the answers/)
  })
}

test('of a peer that broke the rules nothing more is read, and it still hears why', async (t) => {
  const [near, far] = await tcpPair(t)
  const server = new Session(far, { side: 'server' })
  const peer = new RawPeer(near)
  const closed = event(server, 'close')
  await peer.send(frame(GOAWAY + 1, 0, 0, 0))
  await closed
  const before = far.bytesRead
  await peer.next((came) => came.type === GOAWAY && came.length === 1, 'a word')
  await peer.flood(Buffer.alloc(64 * KIB), 1024)
  await within(peer.closed, 'the end')
  assert.ok(far.bytesRead - before < 128 * KIB, `${far.bytesRead - before} bytes were read`)
})

test('a peer whose channels begin and are reset without end is read more slowly, and serves on', async (t) => {
  const [near, far] = await tcpPair(t)
  const client = new Session(far, { side: 'client' })
  client.on('channel', (channel) => channel.on('error', () => undefined).resume())
  const peer = new RawPeer(near)
  const vain = (id: number) => [data(id, 'GET', SYN), frame(UPDATE, RST, id, 0)]
  const flood = (from: number, to: number) =>
    Buffer.concat(Array.from({ length: to - from }, (_, at) => vain(2 * (from + at + 1))).flat())
  const began = performance.now()
  await peer.send(flood(0, 14_000))
  for (let trips = 0; trips < 2; trips++) await peer.roundTrip() // the rest comes after what came with the last of them
  const ms = performance.now() - began
  assert.ok(ms > 1_900, `10,000 at once and 2,000 a second: 14,000 took ${ms} ms`)
  const came = event(client, 'channel')
  await peer.send(data(30_000, 'GET', SYN))
  await came
})

test('a peer that grants next to nothing, again and again, is read more slowly', async (t) => {
  const [near, far] = await tcpPair(t)
  const server = new Session(far, { side: 'server' })
  const peer = new RawPeer(near)
  const channel = await server.open()
  channel.on('error', () => undefined)
  const began = performance.now()
  await peer.send(frame(UPDATE, ACK, channel.id, 0))
  await peer.flood(frame(UPDATE, ACK, channel.id, 1), 13_000)
  for (let trips = 0; trips < 2; trips++) await peer.roundTrip()
  assert.ok(performance.now() - began > 1_400, `after ${performance.now() - began} ms`)
  const one = await server.open()
  one.on('error', () => undefined)
  await peer.next((came) => came.id === one.id)
})

test('a session that closes lets go of a connection whose peer does not read', async (t) => {
  const { server, socket, first } = await deafPeer(t)
  pump(first, Buffer.alloc(64 * KIB), 64 * MIB)
  const other = await sessions(t)
  await standstill(other.server, () => (server.gather.congested ? 1 : 0))
  const closed = event(socket, 'close', 8000)
  server.close()
  await closed
})

test('a greedy channel does not starve another', async (t) => {
  const ends = await sessions(t)
  const [greedy, sink] = await channel(ends)
  sink.resume()
  const state = pump(greedy, Buffer.alloc(MIB))
  const [asks, answers] = await channel(ends)
  answers.pipe(answers)
  const took: number[] = []
  for (let asked = 0; asked < 100; asked++) {
    const began = performance.now()
    asks.write('ping')
    assert.equal(String(await readSome(asks)), 'ping')
    took.push(performance.now() - began)
  }
  const median = took.sort((a, b) => a - b)[50] ?? 0
  t.diagnostic(`median ${median.toFixed(1)} ms beside ${(state.sent / MIB).toFixed(0)} MiB`)
  assert.ok(median < 100, `${median} ms`)
})

test('two greedy channels share the connection', async (t) => {
  const ends = await sessions(t)
  const got = [0, 0]
  for (const index of [0, 1]) {
    const [ours, theirs] = await channel(ends)
    theirs.on('data', (bytes: Buffer) => (got[index] = (got[index] ?? 0) + bytes.length))
    pump(ours, Buffer.alloc(64 * KIB))
  }
  while (Math.max(...got) < 64 * MIB) await within(ends.client.ping(), 'a pong')
  const share = Math.min(...got) / Math.max(...got)
  assert.ok(share > 0.3, `one had ${share.toFixed(2)} of the other`)
})

test('a peer that pings all through a long transfer and reads the answers is not taken for an attacker', async (t) => {
  const ends = await sessions(t)
  for (let opened = 0; opened < 2; opened++) {
    const [ours, theirs] = await channel(ends)
    theirs.resume()
    pump(ours, Buffer.alloc(64 * KIB))
  }
  for (let pings = 0; pings < 1000; pings++) await within(ends.client.ping(), 'a pong')
})

test('after channels of every ending nothing is left', async (t) => {
  const ends = await sessions(t)
  const endings: ((ours: Channel, theirs: Channel) => void)[] = [
    (ours, theirs) => void (ours.end(), theirs.end()),
    (ours) => ours.destroy(),
    (_, theirs) => theirs.destroy(),
    (ours, theirs) => void (ours.end(), theirs.destroy()),
    (ours, theirs) => void (theirs.end(), ours.destroy()),
    (ours, theirs) => void (ours.destroy(), theirs.destroy()),
    (ours, theirs) => void (ours.end(Buffer.alloc(MIB)), theirs.destroy()),
  ]
  for (let round = 0; round < 3; round++) {
    for (const end of endings) {
      const [ours, theirs] = await channel(ends)
      ours.resume()
      theirs.resume()
      const closed = Promise.all([closing(ours), closing(theirs)])
      end(ours, theirs)
      await within(closed, `both ends to close: ${end.toString()}`)
    }
  }
  await ends.client.ping()
  await ends.server.ping()
  assert.deepEqual([ends.server.channelCount, ends.client.channelCount], [0, 0])
})

test('a session holds no handle but its socket: a server closes when both sides have', async (t) => {
  const listener = net.createServer({ allowHalfOpen: true })
  const port = await listening(t, listener)
  const accepted = once(listener, 'connection')
  const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  const [far] = (await accepted) as [Socket]
  const client = new Session(socket, { side: 'client' })
  const server = new Session(far, { side: 'server' })
  await Promise.all([client.ping(), server.ping()])
  const closed = Promise.all([event(socket, 'close'), event(far, 'close')])
  client.close()
  await closed
})
