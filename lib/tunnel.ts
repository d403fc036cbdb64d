/** The tunnel of one session, as the library shows it. It ends with its session; lib/reconnect.ts makes it last. */
import { EventEmitter } from 'node:events'
import type { Tunnel, TunnelEvents } from './api.ts'
import { TunnelError } from './errors.ts'
import { onAbort } from './listen.ts'
import type { Session } from './mux.ts'

export interface TunnelFacts {
  url: string
  subdomain: string
  /** For what is open to finish when closing; default 10,000. */
  graceMs?: number | undefined
  signal?: AbortSignal | undefined
}

/** Owns `session`. */
export class SessionTunnel extends EventEmitter<TunnelEvents> implements Tunnel {
  readonly url: string
  readonly subdomain: string
  readonly closed: Promise<void>
  readonly #session: Session
  readonly #graceMs: number

  constructor(session: Session, { url, subdomain, graceMs = 10_000, signal }: TunnelFacts) {
    super()
    this.url = url
    this.subdomain = subdomain
    this.#session = session
    this.#graceMs = graceMs
    this.closed = new Promise<void>((resolve, reject) => {
      session.on('close', (error, byUs) => (byUs ? resolve() : reject(error ?? serverLeft)))
    })
    this.closed.catch(() => undefined) // nobody need listen
    onAbort(signal, () => this.close(), this.closed)
  }

  get latencyMs(): number {
    return this.#session.latencyMs
  }

  readonly close = (): Promise<void> => {
    this.#session.leave(this.#graceMs)
    return this.closed
  }
}

const serverLeft = new TunnelError('session-closed', 'the server closed the session')
