import assert from 'node:assert/strict'
import { EventEmitter, getEventListeners, once } from 'node:events'
import net, { type Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { connect, serve, type Server } from '../groktunnel.ts'
import type { Connect, ConnectOptions, Tunnel, TunnelEvents } from '../lib/api.ts'
import { asTunnelError, type ErrorCode, TunnelError } from '../lib/errors.ts'
import { onAbort } from '../lib/listen.ts'
import { type ReconnectParts, reconnecting } from '../lib/reconnect.ts'
import { ask, httpApp, listening, until, within } from './helpers.ts'

const lost = new TunnelError('session-lost', 'the connection broke (ECONNRESET)')
const away = new TunnelError('unreachable', 'expected a server, got ECONNREFUSED')
const options: ConnectOptions = { local: 3000 }

/** A session as an input: the test says when it is lost. */
class Session extends EventEmitter<TunnelEvents> implements Tunnel {
  readonly url: string
  readonly subdomain: string
  readonly latencyMs: number
  readonly closed: Promise<void>
  lose!: (error: Error) => void
  close!: () => Promise<void>

  constructor(count: number, { subdomain = `drawn${count}`, signal }: ConnectOptions) {
    super()
    this.subdomain = subdomain
    this.url = `http://${subdomain}.node${count}.test`
    this.latencyMs = count
    this.closed = new Promise((resolve, reject) => {
      this.lose = reject
      this.close = () => {
        resolve()
        return this.closed
      }
    })
    this.closed.catch(() => undefined)
    onAbort(signal, this.close, this.closed)
  }
}

/** What a dial meets: nothing in its way, a refusal, or no answer until it is aborted. */
type Obstacle = Error | 'silence' | undefined

/** A Connect as an input, and what was asked of it. */
function line(meets: (dial: number) => Obstacle = () => undefined) {
  const dials: ConnectOptions[] = []
  const sessions: Session[] = []
  const connect: Connect = async (options) => {
    dials.push(options)
    const obstacle = meets(dials.length)
    if (obstacle === 'silence') return silence(options.signal)
    if (obstacle !== undefined) throw obstacle
    const session = new Session(sessions.length + 1, options)
    sessions.push(session)
    return session
  }
  return { connect, dials, sessions, last: () => sessions.at(-1) as Session }
}

/** Never an answer; as `http.request` does, an abort rejects with an AbortError whose cause is the reason. */
async function silence(signal: AbortSignal | undefined): Promise<never> {
  assert.ok(signal)
  await once(new EventEmitter(), 'never', { signal })
  throw new Error('cannot be')
}

/** A clock that stands still but for the delays asked for, which pass at once; they are kept. */
function hastyClock(random: () => number = () => 1) {
  const delays: number[] = []
  const clock = { ms: 0 }
  const parts: ReconnectParts = {
    random,
    now: () => clock.ms,
    delay: async (ms) => {
      delays.push(ms)
      clock.ms += ms
      await turn()
    },
  }
  return { parts, delays, clock }
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

/** What a tunnel tells, in order. */
function heard(tunnel: Tunnel): (string | number)[] {
  const told: (string | number)[] = []
  tunnel.on('lost', (error) => told.push('lost', error.code))
  tunnel.on('back', (awayMs) => told.push('back', awayMs))
  return told
}

test('a tunnel whose session is lost is lost once, back once, and away as long as it took', async () => {
  const { connect, dials, last } = line((dial) => (dial > 1 && dial < 5 ? away : undefined))
  const { parts } = hastyClock()
  const tunnel = await reconnecting(connect, parts)(options)
  const told = heard(tunnel)
  last().lose(lost)
  await until(() => told.includes('back'), 'it to be back')
  assert.deepEqual(told, ['lost', 'session-lost', 'back', 100 + 200 + 400 + 800])
  assert.equal(dials.length, 5)
  last().lose(lost)
  await until(() => told.length === 8, 'it to be back again')
  assert.deepEqual(told.slice(4), ['lost', 'session-lost', 'back', 1600])
  await tunnel.close()
})

test('a session lost before its tunnel was handed over is told to whoever gets the tunnel', async () => {
  const { connect, sessions } = line()
  const droppedAtOnce: Connect = async (options) => {
    const session = (await connect(options)) as Session
    if (sessions.length === 1) session.lose(lost)
    return session
  }
  const { parts } = hastyClock()
  const through: Connect = async (options) => reconnecting(droppedAtOnce, parts)(options)
  const tunnel = await through(options)
  const told = heard(tunnel)
  await until(() => told.includes('back'), 'it to be back')
  assert.deepEqual(told, ['lost', 'session-lost', 'back', 100])
  await tunnel.close()
})

test('the delays double from 100 ms to 15 s at most, and go on for ever', async () => {
  const { connect, dials, last } = line((dial) => (dial > 1 && dial < 1200 ? away : undefined))
  const { parts, delays } = hastyClock()
  const tunnel = await reconnecting(connect, parts)(options)
  const told = heard(tunnel)
  last().lose(lost)
  await until(() => told.includes('back'), 'it to be back')
  assert.deepEqual(delays.slice(0, 10), [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 15_000, 15_000])
  assert.ok(delays.slice(8).every((ms) => ms === 15_000))
  assert.equal(dials.length, 1200)
  await tunnel.close()
})

test('a delay is drawn from all of its range', async () => {
  const draws = [0, 0.5, 0.25, 1, 0.001]
  const { connect, last } = line((dial) => (dial > 1 && dial < 6 ? away : undefined))
  const { parts, delays } = hastyClock(() => draws.shift() ?? NaN)
  const tunnel = await reconnecting(connect, parts)(options)
  last().lose(lost)
  await until(() => delays.length === 5, 'five delays')
  assert.deepEqual(delays, [0, 50, 37.5, 187.5, 0.375])
  await tunnel.close()
})

test('a server that takes sessions and drops them at once meets no storm', async () => {
  const { connect, sessions, last } = line()
  const { parts, delays, clock } = hastyClock()
  const tunnel = await reconnecting(connect, parts)(options)
  for (let session = 1; session <= 20; session++) {
    clock.ms += 9_999
    last().lose(lost)
    await until(() => sessions.length > session, 'another session')
  }
  assert.deepEqual(delays.slice(0, 9), [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 15_000])
  assert.ok(delays.slice(8).every((ms) => ms === 15_000))
  await tunnel.close()
})

test('after a session of 10 s the first redial is at most 100 ms away', async () => {
  const { connect, dials, sessions, last } = line((dial) => (dial > 1 && dial < 9 ? away : undefined))
  const { parts, delays, clock } = hastyClock()
  const tunnel = await reconnecting(connect, parts)(options)
  last().lose(lost)
  await until(() => sessions.length === 2, 'it to be back')
  assert.equal(delays.at(-1), 12_800)
  clock.ms += 10_000
  last().lose(lost)
  await until(() => sessions.length === 3, 'it to be back again')
  assert.deepEqual(delays.slice(8), [100])
  assert.equal(dials.length, 10)
  await tunnel.close()
})

test('every redial asks for the name of the first session, and the tunnel speaks of the last', async () => {
  const { connect, dials, sessions, last } = line((dial) => (dial === 3 ? away : undefined))
  const { parts } = hastyClock()
  const tunnel = await reconnecting(connect, parts)({ ...options, host: 'lvh.me', port: 1 })
  const speaks = () => [tunnel.url, tunnel.subdomain, tunnel.latencyMs]
  const atBack = once(tunnel, 'back').then(speaks)
  last().lose(lost)
  assert.deepEqual(speaks(), ['http://drawn1.node1.test', 'drawn1', 1])
  assert.deepEqual(await within(atBack, 'it to be back'), ['http://drawn1.node2.test', 'drawn1', 2])
  last().lose(lost)
  await until(() => sessions.length === 3, 'it to be back again')
  assert.deepEqual(
    dials.map(({ subdomain, host, port, local }) => [subdomain, host, port, local]),
    [undefined, 'drawn1', 'drawn1', 'drawn1'].map((name) => [name, 'lvh.me', 1, 3000]),
  )
  await tunnel.close()
})

test('the first connection fails as the inner one does, without a second dial', async () => {
  for (const error of [away, new TypeError('odd'), new TunnelError('name-taken', 'myapp is taken')]) {
    const { connect, dials } = line(() => error)
    const { parts } = hastyClock()
    await assert.rejects(reconnecting(connect, parts)(options), (thrown) => thrown === error)
    assert.equal(dials.length, 1)
  }
})

test('with wait, the first connection still fails with what is no answer of a server or a network', async () => {
  const odd = new TypeError('odd')
  const { connect, dials } = line((dial) => (dial === 1 ? away : odd))
  const opening = reconnecting(connect, hastyClock().parts)({ ...options, wait: true })
  await assert.rejects(opening, (thrown) => thrown === odd)
  assert.equal(dials.length, 2)
})

test('with wait, the first connection is tried like a redial', async () => {
  const { connect, dials } = line((dial) => (dial < 5 ? away : undefined))
  const { parts, delays } = hastyClock()
  const tunnel = await reconnecting(connect, parts)({ ...options, wait: true })
  const told = heard(tunnel)
  assert.equal(tunnel.subdomain, 'drawn1')
  assert.deepEqual(delays, [100, 200, 400, 800])
  assert.equal(dials.length, 5)
  await tunnel.close()
  assert.deepEqual(told, [])
})

const final: ErrorCode[] = ['unauthorized', 'forbidden', 'bad-name', 'replaced', 'usage', 'upgrade-required']

for (const code of final) {
  const error = new TunnelError(code, 'no, and not later either')

  test(`${code} on a redial ends the tunnel`, async () => {
    const { connect, dials, last } = line((dial) => (dial === 2 ? away : dial === 3 ? error : undefined))
    const { parts } = hastyClock()
    const tunnel = await reconnecting(connect, parts)(options)
    const told = heard(tunnel)
    last().lose(lost)
    await assert.rejects(tunnel.closed, (thrown) => thrown === error)
    await assert.rejects(tunnel.close(), (thrown) => thrown === error)
    assert.equal(dials.length, 3)
    assert.deepEqual(told, ['lost', 'session-lost'])
  })

  test(`a session that ends with ${code} ends the tunnel, and it is not called lost`, async () => {
    const { connect, dials, last } = line()
    const { parts } = hastyClock()
    const tunnel = await reconnecting(connect, parts)(options)
    const told = heard(tunnel)
    last().lose(error)
    await assert.rejects(tunnel.closed, (thrown) => thrown === error)
    await turn()
    assert.equal(dials.length, 1)
    assert.deepEqual(told, [])
  })

  test(`${code} on the first connection ends also the waiting`, async () => {
    const { connect, dials } = line((dial) => (dial === 1 ? away : error))
    const { parts } = hastyClock()
    const opening = reconnecting(connect, parts)({ ...options, wait: true })
    await assert.rejects(opening, (thrown) => thrown === error)
    assert.equal(dials.length, 2)
  })
}

test('a bad certificate is final on the first connection only', async () => {
  const expired = new TunnelError('bad-certificate', 'expected a valid certificate, got CERT_HAS_EXPIRED')
  const { parts } = hastyClock()
  const first = line(() => expired)
  await assert.rejects(
    reconnecting(first.connect, parts)({ ...options, wait: true }),
    (thrown) => thrown === expired,
  )
  const { connect, sessions, last } = line((dial) => (dial > 1 && dial < 4 ? expired : undefined))
  const tunnel = await reconnecting(connect, parts)(options)
  last().lose(lost)
  await until(() => sessions.length === 2, 'it to be back')
  await tunnel.close()
})

const passing: ErrorCode[] = [
  'unreachable',
  'not-groktunnel',
  'server-full',
  'too-many-registrations',
  'name-taken',
  'session-lost',
  'session-closed',
  'protocol-violation',
  'unexpected',
]

test('what may pass is redialed: as the end of a session, and as the answer to a dial', async () => {
  const errors = [...passing.map((code) => new TunnelError(code, 'not now')), new TypeError('odd')]
  for (const error of errors) {
    const { connect, sessions, last } = line((dial) => (dial === 2 ? error : undefined))
    const { parts } = hastyClock()
    const tunnel = await reconnecting(connect, parts)(options)
    const told = heard(tunnel)
    last().lose(error)
    await until(() => sessions.length === 2 && told.includes('back'), `it to be back after ${error.message}`)
    assert.deepEqual(told.slice(0, 2), ['lost', asTunnelError(error, 'session-lost').code])
    await tunnel.close()
  }
})

/** Out of range, so that the first delay outlasts the test. */
const aMinute = () => 600

/** Where a tunnel may be when it is closed. */
const places: [where: string, meets: (dial: number) => Obstacle, parts: Partial<ReconnectParts>][] = [
  ['while its session lives', () => undefined, {}],
  ['in a delay', (dial) => (dial > 1 ? away : undefined), { random: aMinute }],
  ['in a dial', (dial) => (dial > 1 ? 'silence' : undefined), { random: () => 0 }],
]

for (const [where, meets, parts] of places) {
  const arrive = async (signal?: AbortSignal) => {
    const { connect, dials, last } = line(meets)
    const tunnel = await reconnecting(connect, parts)({ ...options, signal })
    if (meets(2) !== undefined) last().lose(lost)
    if (meets(2) === 'silence') await until(() => dials.length > 1, 'a redial')
    await turn()
    return { tunnel, dials, told: heard(tunnel) }
  }

  test(`close() ${where} ends it at once, any number of times, and leaves no timer and no dial`, async () => {
    const timers = timerCount()
    const { tunnel, dials, told } = await arrive()
    const dialed = dials.length
    const [first, second] = [tunnel.close(), tunnel.close()]
    await within(Promise.all([first, second, tunnel.closed]), 'the close')
    await tunnel.close()
    await turn()
    assert.equal(timerCount(), timers)
    for (const { signal } of dials) assert.equal(getEventListeners(signal as AbortSignal, 'abort').length, 0)
    assert.equal(dials.length, dialed)
    assert.deepEqual(told, [])
  })

  test(`aborting ${where} closes it, and nobody listens to the signal any more`, async () => {
    const user = new AbortController()
    const { tunnel } = await arrive(user.signal)
    assert.equal(getEventListeners(user.signal, 'abort').length, 1)
    user.abort()
    await within(tunnel.closed, 'the close')
    assert.equal(getEventListeners(user.signal, 'abort').length, 0)
  })

  test(`close() ${where} forgets the user's signal`, async () => {
    const user = new AbortController()
    const { tunnel } = await arrive(user.signal)
    await tunnel.close()
    assert.equal(getEventListeners(user.signal, 'abort').length, 0)
  })
}

/** Timers that keep the process running. */
function timerCount(): number {
  return process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
}

test('redials add no listener to the user’s signal, nor to the one the sessions get', async () => {
  const user = new AbortController()
  const { connect, sessions, last } = line()
  const signals = new Set<AbortSignal>()
  const noting: Connect = ({ signal, ...rest }) => {
    signals.add(signal as AbortSignal)
    return connect(rest)
  }
  const tunnel = await reconnecting(noting, hastyClock().parts)({ ...options, signal: user.signal })
  for (let session = 1; session <= 50; session++) {
    last().lose(lost)
    await until(() => sessions.length > session, 'another session')
  }
  await turn()
  const listeners = [user.signal, ...signals].map((signal) => getEventListeners(signal, 'abort').length)
  assert.deepEqual(listeners, [1, 1])
  await tunnel.close()
  assert.equal(getEventListeners(user.signal, 'abort').length, 0)
})

test('a final error forgets the user’s signal', async () => {
  const user = new AbortController()
  const refused = new TunnelError('forbidden', 'no')
  const { connect, last } = line((dial) => (dial > 1 ? refused : undefined))
  const tunnel = await reconnecting(connect, hastyClock().parts)({ ...options, signal: user.signal })
  last().lose(lost)
  await assert.rejects(tunnel.closed, { code: 'forbidden' })
  assert.equal(getEventListeners(user.signal, 'abort').length, 0)

  const opening = reconnecting(line(() => refused).connect)({ ...options, signal: user.signal })
  await assert.rejects(opening, { code: 'forbidden' })
  assert.equal(getEventListeners(user.signal, 'abort').length, 0)
})

test('an abort before, during or between the first dials rejects with the reason of the abort', async () => {
  const reason = new Error('enough')
  const ways: [wait: boolean, Obstacle, dials: number][] = [
    [false, undefined, 0],
    [false, 'silence', 1],
    [true, 'silence', 1],
    [true, away, 1],
  ]
  for (const [wait, obstacle, count] of ways) {
    const user = new AbortController()
    const { connect, dials } = line(() => obstacle)
    if (count === 0) user.abort(reason)
    const opening = reconnecting(connect, { random: aMinute })({ ...options, wait, signal: user.signal })
    const rejection = assert.rejects(opening, (thrown) => thrown === reason)
    await turn()
    user.abort(reason)
    await within(rejection, 'the rejection')
    assert.equal(dials.length, count)
    assert.equal(getEventListeners(user.signal, 'abort').length, 0)
  }
})

/** Hears no signal, and takes its time to close. */
function deafLine(onSession: (count: number) => void) {
  const { connect, sessions, last } = line()
  let closed = 0
  const deaf: Connect = async (options) => {
    const session = (await connect({ ...options, signal: undefined })) as Session
    const { close } = session
    session.close = async () => {
      await turn()
      closed += 1
      return close()
    }
    onSession(sessions.length)
    return session
  }
  return { connect: deaf, last, closed: () => closed }
}

test('a session that opens as the first connection is aborted is closed before the rejection', async () => {
  const user = new AbortController()
  const { connect, closed } = deafLine(() => user.abort())
  const opening = reconnecting(connect)({ ...options, signal: user.signal })
  await assert.rejects(opening, { name: 'AbortError' })
  assert.equal(closed(), 1)
})

for (const microtasks of [0, 20]) {
  test(`a session that opens as the tunnel is closed (${microtasks} microtasks later) is closed, and not told of`, async () => {
    const user = new AbortController()
    const abort = async () => {
      for (let passed = 0; passed < microtasks; passed++) await Promise.resolve()
      user.abort()
    }
    const { connect, last, closed } = deafLine((count) => void (count === 2 && abort()))
    const tunnel = await reconnecting(connect, hastyClock().parts)({ ...options, signal: user.signal })
    const told = heard(tunnel)
    last().lose(lost)
    await within(tunnel.closed, 'the close')
    await turn()
    assert.equal(closed(), 1)
    assert.deepEqual(told, ['lost', 'session-lost'])
  })
}

test('a session that breaks while it is closed is closed all the same', async () => {
  const { connect, dials } = line()
  const breaking: Connect = async (options) => {
    const session = (await connect({ ...options, signal: undefined })) as Session
    session.close = () => {
      session.lose(lost)
      return session.closed
    }
    return session
  }
  const { parts, delays } = hastyClock()
  const tunnel = await reconnecting(breaking, parts)(options)
  await tunnel.close()
  assert.equal(dials.length, 1)
  assert.deepEqual(delays, [])
})

test('what a listener throws is an uncaught exception, and the tunnel comes back', async (t) => {
  const uncaught: string[] = []
  process.setUncaughtExceptionCaptureCallback(({ message }) => void uncaught.push(message))
  t.after(() => process.setUncaughtExceptionCaptureCallback(null))
  const { connect, sessions, last } = line()
  const tunnel = await reconnecting(connect, hastyClock().parts)(options)
  for (const event of ['lost', 'back'] as const) {
    tunnel.on(event, () => {
      throw new Error(`oops at ${event}`)
    })
  }
  last().lose(lost)
  await until(() => uncaught.length === 2, 'both exceptions')
  last().lose(lost)
  await until(() => uncaught.length === 4 && sessions.length === 3, 'it to be back again')
  assert.deepEqual(uncaught.slice(2), ['oops at lost', 'oops at back'])
  await tunnel.close()
})

test('nobody need listen to `closed`', async () => {
  const unhandled: unknown[] = []
  const note = (reason: unknown) => void unhandled.push(reason)
  process.on('unhandledRejection', note)
  const refused = new TunnelError('forbidden', 'no')
  const { connect, dials, last } = line((dial) => (dial > 1 ? refused : undefined))
  await reconnecting(connect, hastyClock().parts)(options)
  last().lose(lost)
  await until(() => dials.length === 2, 'the redial')
  await turn()
  process.off('unhandledRejection', note)
  assert.deepEqual(unhandled, [])
})

/** A clock for many: it goes from one delay's end to the next, when all that followed the last has been done. */
class SharedClock {
  ms = 0
  readonly #delays: { at: number; resolve: () => void }[] = []
  readonly now = () => this.ms
  readonly delay = (ms: number) =>
    new Promise<void>((resolve) => this.#delays.push({ at: this.ms + ms, resolve }))

  async runUntil(isDone: () => boolean): Promise<void> {
    for (await turn(); !isDone(); await turn()) {
      this.#delays.sort((a, b) => b.at - a.at)
      const next = this.#delays.pop()
      assert.ok(next, 'somebody waits')
      this.ms = next.at
      next.resolve()
    }
  }
}

/** mulberry32: small, and the same for a seed. */
function seeded(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

function mostIn10Ms(times: number[]): number {
  const counts = new Map<number, number>()
  for (const slot of times.map((ms) => Math.floor(ms / 10))) counts.set(slot, (counts.get(slot) ?? 0) + 1)
  return Math.max(...counts.values())
}

test('1,000 clients of a server that is gone for 1 s come back spread, all within 2 s', async (t) => {
  const seed = Number(process.env['RECONNECT_SEED'] ?? Date.now() % 2 ** 31)
  t.diagnostic(`RECONNECT_SEED=${seed}`)
  const [clock, count, backAt] = [new SharedClock(), 1000, 1000]
  const dialedAt: number[] = []
  const { connect, sessions } = line(() => {
    if (clock.ms > 0) dialedAt.push(clock.ms)
    return clock.ms > 0 && clock.ms < backAt ? away : undefined
  })
  const open = reconnecting(connect, { ...clock, random: seeded(seed) })
  const tunnels = await Promise.all(Array.from({ length: count }, () => open(options)))
  const backAfter: number[] = []
  for (const tunnel of tunnels) tunnel.on('back', (awayMs) => backAfter.push(awayMs - backAt))
  for (const session of sessions.slice()) session.lose(lost)
  await clock.runUntil(() => backAfter.length === count)

  const before = mostIn10Ms(dialedAt)
  const after = mostIn10Ms(dialedAt.filter((at) => at >= backAt))
  const last = Math.max(...backAfter)
  t.diagnostic(`the last is back after ${last} ms`)
  t.diagnostic(`dials in 10 ms: ${before} at most, ${after} of the server that is back`)
  assert.ok(last < 2_000, `the last was back after ${last} ms`)
  assert.ok(before < 250, `${before} dials within 10 ms`)
  assert.ok(after < 50, `${after} dials within 10 ms of the server that is back`)
  for (const tunnel of tunnels) await tunnel.close()
})

async function serveAt(t: TestContext, port: number): Promise<Server> {
  const server = await serve({ port })
  t.after(() => server.close())
  return server
}

test('a server is closed and started again: the same URL is back, and visitors are served', async (t) => {
  const app = await httpApp(t, (_, response) => response.end('hello'))
  let server = await serveAt(t, 0)
  const { port } = server
  const tunnel = await connect({ port, local: app.port })
  t.after(() => tunnel.close())
  const { url } = tunnel
  for (let restart = 1; restart <= 2; restart++) {
    const [wasLost, isBack] = [once(tunnel, 'lost'), once(tunnel, 'back')]
    await server.close()
    const [error] = (await within(wasLost, 'the loss to be told')) as [TunnelError]
    assert.equal(error.code, 'session-closed')
    server = await serveAt(t, port)
    const [awayMs] = (await within(isBack, 'it to be back')) as [number]
    assert.ok(awayMs > 0)
    assert.equal(tunnel.url, url)
    assert.equal((await ask({ port, host: new URL(url).host })).body, 'hello')
  }
})

test('with wait, a tunnel opens when its server starts', async (t) => {
  const app = await httpApp(t, (_, response) => response.end('hello'))
  let dials = 0
  const other = net.createServer((socket) => {
    dials += 1
    socket.destroy()
  })
  const port = await listening(other, 0)
  const opening = connect({ port, local: app.port, wait: true })
  await until(() => dials > 1, 'a second dial')
  other.close()
  await serveAt(t, port)
  const tunnel = await within(opening, 'the tunnel')
  t.after(() => tunnel.close())
  assert.equal((await ask({ port, host: new URL(tunnel.url).host })).body, 'hello')
})

test('close() hangs up on a server that takes the connection and never answers', async (t) => {
  const server = await serveAt(t, 0)
  const { port } = server
  const tunnel = await connect({ port, local: 1 })
  await server.close()
  const sockets: Socket[] = []
  const silent = net.createServer((socket) => void sockets.push(socket.resume()))
  await listening(silent, port)
  t.after(() => silent.close())
  await until(() => sockets.length === 1, 'a dial')
  await within(tunnel.close(), 'the close')
  await until(() => sockets.every(({ destroyed }) => destroyed), 'the hanging up')
  assert.equal(sockets.length, 1)
})
