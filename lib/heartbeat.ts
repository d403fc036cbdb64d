/**
 * Dead peers are noticed: every session is pinged, and one whose peer stays silent is ended. Any byte is a sign of
 * life, the peer's own pings too: so a long upload that keeps the answers waiting kills nobody. When our own clock jumps
 * (the machine slept, the process was stopped), all are pinged at once and given their time anew.
 *
 * One timer serves all sessions. A frozen local service is not a dead peer: its client answers pings.
 */
import { LONGEST_MS } from './deadline.ts'
import { TunnelError } from './errors.ts'
import type { Session } from './mux.ts'

export interface HeartbeatOptions {
  /** Between pings; default 3,000. A peer that is silent for half as long again after one is dead. */
  heartbeatMs?: number
}

interface Pulse {
  session: Session
  /** when the last ping went out, and the first that is not answered; undefined when all are */
  pingedAt: number
  waitingSince: number | undefined
  /** when the last sign of life came */
  heardAt: number
  bytesHeard: number
  unanswered: number
  onLatency: ((ms: number) => void) | undefined
}

const TICKS_PER_BEAT = 6

export class Heartbeat {
  readonly #beatMs: number
  readonly #tickMs: number
  readonly #pulses = new Map<Session, Pulse>()
  readonly #clock: () => number
  #timer: NodeJS.Timeout | undefined
  #tickedAt = 0

  /** `clock` gives the time of day in ms: unlike the monotonic clock it goes on while the machine sleeps. */
  constructor({ heartbeatMs = 3_000 }: HeartbeatOptions, clock: () => number = Date.now) {
    this.#clock = clock
    this.#beatMs = heartbeatMs
    this.#tickMs = Math.min(heartbeatMs / TICKS_PER_BEAT, LONGEST_MS)
  }

  /** Watches a session until it closes; `onLatency` is told each round trip. */
  watch(session: Session, onLatency?: (ms: number) => void): void {
    const now = performance.now()
    const { bytesHeard } = session
    const pulse = {
      session,
      pingedAt: now,
      waitingSince: now,
      heardAt: now,
      bytesHeard,
      unanswered: 0,
      onLatency,
    }
    this.#pulses.set(session, pulse)
    session.on('close', () => this.#forget(session))
    this.#ping(pulse, now)
    if (this.#timer !== undefined) return
    this.#tickedAt = this.#clock()
    this.#timer = setInterval(() => this.#tick(), this.#tickMs).unref()
  }

  #forget(session: Session): void {
    this.#pulses.delete(session)
    if (this.#pulses.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #tick(): void {
    const now = performance.now()
    const hasJumped = this.#clock() - this.#tickedAt > this.#beatMs
    this.#tickedAt = this.#clock()
    for (const pulse of this.#pulses.values()) {
      if (hasJumped) this.#renew(pulse, now)
      else this.#check(pulse, now)
    }
  }

  #renew(pulse: Pulse, now: number): void {
    pulse.heardAt = now
    this.#ping(pulse, now)
  }

  #check(pulse: Pulse, now: number): void {
    const { bytesHeard } = pulse.session
    if (bytesHeard !== pulse.bytesHeard) {
      pulse.heardAt = now
      pulse.bytesHeard = bytesHeard
    }
    const { waitingSince, heardAt } = pulse
    const silentMs = waitingSince === undefined ? 0 : now - Math.max(heardAt, waitingSince)
    if (silentMs > 1.5 * this.#beatMs) pulse.session.destroy(silent(silentMs))
    else if (now - pulse.pingedAt >= this.#beatMs) this.#ping(pulse, now)
  }

  #ping(pulse: Pulse, now: number): void {
    pulse.pingedAt = now
    pulse.waitingSince ??= now
    pulse.unanswered += 1
    void pulse.session.ping().then((ms) => {
      pulse.unanswered -= 1
      if (pulse.unanswered === 0) pulse.waitingSince = undefined
      pulse.onLatency?.(ms)
    })
  }
}

function silent(ms: number): TunnelError {
  return new TunnelError('session-lost', `nothing was heard from the peer for ${(ms / 1000).toFixed(1)} s`)
}
