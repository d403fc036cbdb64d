/**
 * A tunnel that comes back: makes of a Connect whose tunnel is one session a Connect whose tunnel outlives its sessions.
 *
 * The back-off is exponential with full jitter, so that the many clients of a restarted server come spread over time. It
 * grows with the time that was waited, not with the number of tries: so nobody waits longer than the server was away.
 * It starts anew only after a session that lasted: a server which accepts and drops at once meets no storm.
 *
 * It does not notice that a peer is dead (the session does), and it prints nothing: who listens is told.
 */
import { EventEmitter } from 'node:events'
import { setTimeout } from 'node:timers/promises'
import type { Connect, ConnectOptions, Tunnel, TunnelEvents } from './api.ts'
import { asTunnelError, type ErrorCode, TunnelError } from './errors.ts'
import { onAbort } from './listen.ts'

const BASE_MS = 100
const CAP_MS = 15_000
/** A session that lived so long was a good one: its end says nothing about the next. */
const LASTING_MS = 10_000

export interface ReconnectParts {
  /** From 0 to 1, as `Math.random`. */
  random: () => number
  /** A clock in ms that only goes forward. */
  now: () => number
  /** Settles after `ms`, or when `signal` aborts. */
  delay: (ms: number, signal: AbortSignal) => Promise<unknown>
}

const platform: ReconnectParts = {
  random: Math.random,
  now: () => performance.now(),
  delay: (ms, signal) => setTimeout(ms, undefined, { signal }),
}

/**
 * A Connect whose tunnel redials with the same name when its session is lost, until it is closed or meets an error
 * that time does not heal. The first connection fails as `connect` fails, unless `options.wait`.
 */
export function reconnecting(connect: Connect, parts: Partial<ReconnectParts> = {}): Connect {
  return async (options) => {
    options.signal?.throwIfAborted()
    const redial = new Redial(connect, options, { ...platform, ...parts })
    const opening = redial.first().then((session) => new LastingTunnel(session, redial, options.signal))
    onAbort(options.signal, () => redial.stop.abort(options.signal?.reason), opening)
    return opening
  }
}

/** What time does not heal. */
const final: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'unauthorized',
  'forbidden',
  'bad-name',
  'replaced',
  'usage',
  'upgrade-required',
])

/** On the first connection also what is likely a wrong option; later it once was right, and may be so again. */
function isFinal(error: unknown, isFirst: boolean): boolean {
  if (!(error instanceof TunnelError)) return isFirst
  return final.has(error.code) || (isFirst && error.code === 'bad-certificate')
}

/** Opens one session after the other, with delays between. Aborting `stop` ends a delay, a dial and the session. */
class Redial {
  readonly stop = new AbortController()
  readonly parts: ReconnectParts
  readonly #connect: Connect
  #options: ConnectOptions
  /** in delays since the last good session */
  #waitedMs = 0

  constructor(connect: Connect, options: ConnectOptions, parts: ReconnectParts) {
    this.#connect = connect
    this.#options = { ...options, signal: this.stop.signal }
    this.parts = parts
  }

  /** The first session; its name is that of all. */
  async first(): Promise<Tunnel> {
    const session = await this.#dial(true)
    this.#options = { ...this.#options, subdomain: session.subdomain }
    return session
  }

  /** The next session; the one before lived for `livedMs`. */
  async next(livedMs: number): Promise<Tunnel> {
    if (livedMs >= LASTING_MS) this.#waitedMs = 0
    await this.#pause()
    return this.#dial(false)
  }

  async #dial(isFirst: boolean): Promise<Tunnel> {
    for (;;) {
      try {
        return await this.#open()
      } catch (error) {
        this.stop.signal.throwIfAborted()
        if (isFinal(error, isFirst) || (isFirst && !this.#options.wait)) throw error
        if (isFirst && this.#waitedMs === 0) this.#options.onWait?.(error)
      }
      await this.#pause()
    }
  }

  async #open(): Promise<Tunnel> {
    const session = await this.#connect(this.#options)
    const { signal } = this.stop
    onAbort(signal, () => void session.close().catch(ignore), session.closed)
    if (signal.aborted) await session.closed.catch(ignore)
    signal.throwIfAborted()
    return session
  }

  async #pause(): Promise<void> {
    const { random, delay } = this.parts
    const { signal } = this.stop
    const ms = random() * Math.min(CAP_MS, BASE_MS + this.#waitedMs)
    this.#waitedMs += ms
    await delay(ms, signal).finally(() => signal.throwIfAborted())
  }
}

class LastingTunnel extends EventEmitter<TunnelEvents> implements Tunnel {
  readonly closed: Promise<void>
  readonly #redial: Redial
  #session: Tunnel

  constructor(session: Tunnel, redial: Redial, signal: AbortSignal | undefined) {
    super()
    this.#session = session
    this.#redial = redial
    this.closed = this.#stay().catch((error: unknown) => {
      if (!this.#isStopped) throw error
    })
    this.closed.catch(ignore) // nobody need listen
    onAbort(signal, () => this.close(), this.closed)
  }

  get url(): string {
    return this.#session.url
  }

  get subdomain(): string {
    return this.#session.subdomain
  }

  get latencyMs(): number {
    return this.#session.latencyMs
  }

  /** Bound, so that it may be handed on. */
  readonly close = (): Promise<void> => {
    this.#redial.stop.abort()
    return this.closed
  }

  get #isStopped(): boolean {
    return this.#redial.stop.signal.aborted
  }

  async #stay(): Promise<void> {
    const { now } = this.#redial.parts
    for (;;) {
      const startedAt = now()
      const error = await endOf(this.#session)
      if (error === undefined || this.#isStopped) return
      if (isFinal(error, false)) throw error
      await this.#comeBack(error, now() - startedAt)
    }
  }

  async #comeBack(error: TunnelError, livedMs: number): Promise<void> {
    const { now } = this.#redial.parts
    const lostAt = now()
    this.#tell(() => this.emit('lost', error))
    this.#session = await this.#redial.next(livedMs)
    const awayMs = now() - lostAt
    this.#tell(() => this.emit('back', awayMs))
  }

  /** What a listener throws must not end the redialing; and who has just been given the tunnel must hear the first. */
  #tell(emit: () => void): void {
    process.nextTick(() => {
      if (!this.#isStopped) emit()
    })
  }
}

/** Why a session was lost; undefined when it was closed. */
async function endOf(session: Tunnel): Promise<TunnelError | undefined> {
  try {
    await session.closed
    return undefined
  } catch (error) {
    return asTunnelError(error, 'session-lost')
  }
}

const ignore = () => undefined
