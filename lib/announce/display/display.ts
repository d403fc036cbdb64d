/**
 * The state of the tunnels on a terminal, as long as they live, above the latest requests. It draws when something has
 * changed, at most ten times a second, and hears of everything by the events of the tunnels.
 *
 * It touches neither signals nor stdout: who shows it calls `suspend` before the process stops, `resume` when it goes on
 * or the terminal has another size, and `close` before it ends.
 */
import type { RequestRecord, Tunnel, TunnelEvents } from '../../api.ts'
import { asTunnelError } from '../../errors.ts'
import { printable, saidMs, saidTime } from '../../text.ts'
import { type Entry, layout, type Row, type TunnelView } from './layout.ts'
import { Durations } from './percentiles.ts'
import { Screen, type TerminalStream } from './screen.ts'

export interface DisplayOptions {
  stream: TerminalStream
  version: string
  /** default false */
  color?: boolean
  /** Rows of a QR code (lib/announce/qr.ts), shown until the first request comes. */
  code?: string[] | undefined
  /** A clock in ms that only goes forward, and the time of day. */
  now?: () => number
  date?: () => Date
}

export interface Shown {
  tunnel: Tunnel
  /** where its requests go, such as `http://localhost:3000` */
  target: string
}

export interface Display {
  /** Shows a line of the program among the requests. */
  line(text: string): void
  /** Gives the terminal back until `resume`. */
  suspend(): void
  /** Draws everything again. */
  resume(): void
  /**
   * Gives the terminal back for good; the last lines of the program, the URLs and a summary stay on it. It may be the
   * last act of a process.
   */
  close(): void
}

/** How many requests are kept: more than a terminal has rows. */
const LOG_ENTRIES = 200
const FRAME_MS = 100
/** Latency and means change without an event. */
const TICK_MS = 1000

/** Shows tunnels on a terminal until it is closed. */
export function showTunnels(tunnels: Shown[], options: DisplayOptions): Display {
  return new TerminalDisplay(tunnels, options)
}

/** Whether a stream is a terminal that can show more than lines. */
export function isScreen({ isTTY }: { isTTY?: boolean }, env: NodeJS.ProcessEnv): boolean {
  return isTTY === true && env['TERM'] !== 'dumb'
}

/** Whether to write colours: what the user says (no-color.org, force-color.org), else whether it is a terminal. */
export function hasColor(stream: { isTTY?: boolean }, env: NodeJS.ProcessEnv): boolean {
  const { NO_COLOR = '', FORCE_COLOR = '' } = env
  if (NO_COLOR !== '' || FORCE_COLOR === '0' || FORCE_COLOR === 'false') return false
  return FORCE_COLOR !== '' || isScreen(stream, env)
}

class TerminalDisplay implements Display {
  readonly #screen: Screen
  readonly #version: string
  readonly #now: () => number
  readonly #date: () => Date
  readonly #durations: Durations
  readonly #tunnels: (TunnelView & { stopHearing: () => void })[]
  readonly #startedAt: number
  readonly #ticks: NodeJS.Timeout
  #code: Row[]
  #log: Entry[] = []
  #requests = 0
  #drawnAt = -Infinity
  #drawing: NodeJS.Timeout | undefined

  constructor(tunnels: Shown[], options: DisplayOptions) {
    const { stream, version, color = false, code = [] } = options
    const { now = () => performance.now(), date = () => new Date() } = options
    this.#screen = new Screen(stream, color)
    this.#version = version
    this.#now = now
    this.#date = date
    this.#durations = new Durations(now)
    this.#startedAt = now()
    this.#code = code.map((text) => [{ text, color: 'ink' }])
    this.#tunnels = tunnels.map((shown) => this.#hear(shown))
    this.#ticks = setInterval(this.#draw, TICK_MS).unref()
    this.resume()
  }

  line(text: string): void {
    this.#enter({ at: this.#date(), line: text })
  }

  suspend(): void {
    this.#screen.leave()
  }

  resume(): void {
    this.#screen.enter()
    this.#change()
  }

  close(): void {
    clearInterval(this.#ticks)
    clearTimeout(this.#drawing)
    for (const { stopHearing } of this.#tunnels) stopHearing()
    this.#screen.leave([...this.#lines(), ...this.#summary()].map((line) => `${line}\n`).join(''))
    this.#screen.close()
  }

  #hear({ tunnel, target }: Shown): TunnelView & { stopHearing: () => void } {
    const at = {
      url: printable(tunnel.url),
      target: printable(target),
      name: tunnel.subdomain,
      get latencyMs() {
        return tunnel.latencyMs
      },
    }
    const view: TunnelView = Object.assign(at, { state: 'online' as const, detail: '', open: 0, total: 0 })
    const change = (changes: Partial<TunnelView>) => {
      Object.assign(view, changes)
      this.#change()
    }
    const hearing: Hearing = {
      request: (record) => this.#onRequest(record, tunnel.subdomain),
      connections: (open, total) => change({ open, total }),
      lost: (error) => change({ state: 'lost', detail: this.#sinceNow(error) }),
      back: () => change({ state: 'online', detail: '' }),
    }
    const stopHearing = listen(tunnel, hearing)
    const onEnd = (error: unknown) =>
      change({ state: 'ended', detail: printable(asTunnelError(error).message) })
    tunnel.closed.catch(onEnd)
    return Object.assign(view, { stopHearing })
  }

  #sinceNow(error: Error): string {
    return `since ${saidTime(this.#date())} (${printable(error.message)})`
  }

  #onRequest(record: RequestRecord, name: string): void {
    this.#requests += 1
    this.#durations.add(record.durationMs)
    this.#code = []
    this.#enter({ record, name })
  }

  #enter(entry: Entry): void {
    this.#log.push(entry)
    if (this.#log.length > LOG_ENTRIES) this.#log.shift()
    this.#change()
  }

  /** Draws soon. */
  #change(): void {
    this.#drawing ??= setTimeout(this.#draw, Math.max(0, this.#drawnAt + FRAME_MS - this.#now())).unref()
  }

  readonly #draw = (): void => {
    clearTimeout(this.#drawing)
    this.#drawing = undefined
    this.#drawnAt = this.#now()
    const view = {
      version: this.#version,
      tunnels: this.#tunnels,
      times: this.#durations.times(),
      log: this.#log,
      code: this.#code,
    }
    this.#screen.draw(layout(view, this.#screen.size))
  }

  #lines(): string[] {
    return this.#log.flatMap((entry) =>
      'line' in entry ? [`${saidTime(entry.at)} ${printable(entry.line)}`] : [],
    )
  }

  #summary(): string[] {
    const { p50, p90 } = this.#durations.times()
    const total = this.#tunnels.reduce((sum, tunnel) => sum + tunnel.total, 0)
    const times = p50 === undefined || p90 === undefined ? '' : `; p50 ${saidMs(p50)}, p90 ${saidMs(p90)}`
    const lived = saidMs(this.#now() - this.#startedAt)
    return [
      ...this.#tunnels.map(({ url, target }) => `${url} -> ${target}`),
      `${counted(total, 'connection')}, ${counted(this.#requests, 'request')} in ${lived}${times}`,
    ]
  }
}

type Hearing = { [Event in keyof TunnelEvents]: (...args: TunnelEvents[Event]) => void }

/** Returns what stops it. */
function listen(tunnel: Tunnel, { request, connections, lost, back }: Hearing): () => void {
  tunnel.on('request', request).on('connections', connections).on('lost', lost).on('back', back)
  return () => {
    tunnel.off('request', request).off('connections', connections).off('lost', lost).off('back', back)
  }
}

function counted(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`
}
