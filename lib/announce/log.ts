/**
 * What the program says of servers and tunnels where no display shows them: one line an event, on stderr; for programs, one
 * JSON object a line, on stdout.
 */
import { isLoopback } from '../address.ts'
import type { RequestRecord, Server, Tunnel } from '../api.ts'
import { asTunnelError, type TunnelError } from '../errors.ts'
import { print, printLine, printUrl } from '../process.ts'
import { Rate } from '../rate.ts'
import { printable, saidBytes, saidMs, saidTime } from '../text.ts'

/** What --json tells of, each with the time: a client of its tunnels by their URLs, a server of sessions by their hosts. */
export type LogEvent =
  | { event: 'url'; url: string; target: string }
  | { event: 'lost'; url: string; code: string; message: string }
  | { event: 'back'; url: string; awayMs: number }
  | ({ event: 'request'; url: string; status: number | null } & Omit<RequestRecord, 'at' | 'status'>)
  | { event: 'closed'; url: string }
  | { event: 'ready'; url: string }
  | { event: 'start'; host: string }
  | { event: 'end'; host: string; code?: string; message?: string; latencyMs?: number }
  | { event: 'fault'; code: string; message: string }
  | { event: 'error'; code: string; message: string; exitCode: number }

export interface ServerLogOptions {
  host: string
  bind: string
  /** events on stdout instead of lines */
  json?: boolean
  /** faults, and nothing else */
  quiet?: boolean
  /** What was read beside the command line. */
  configFile?: string | undefined
}

/** Tells of a server's sessions and faults from now on. */
export function logServer(server: Server, options: ServerLogOptions): void {
  if (options.json === true) return logServerEvents(server)
  if (options.quiet !== true) logSessions(server, options)
  server.on('fault', (error) => printLine(`fault: ${error.message}${causeOf(error)}`))
}

function logSessions(server: Server, { host, bind, configFile }: ServerLogOptions): void {
  if (configFile !== undefined) printLine(`options of ${configFile} count`)
  printLine(`groktunnel server [${host}] ready at ${server.url}`)
  if (server.isOpen && !isLoopback(bind)) {
    printLine('no token is asked for: whoever reaches this port can open a tunnel; see --tokens')
  }
  const latencyOf = latencies(server)
  server.on('start', (publicHost) => printLine(`${publicHost}: start session`))
  server.on('end', (publicHost, error) => {
    const ms = latencyOf(publicHost)
    const facts = [...(error ? [error.message] : []), ...(ms === undefined ? [] : [away(ms)])]
    printLine(`${publicHost}: end session${facts.length === 0 ? '' : ` (${facts.join('; ')})`}`)
  })
}

function logServerEvents(server: Server): void {
  const latencyOf = latencies(server)
  tell({ event: 'ready', url: server.url })
  server.on('start', (host) => tell({ event: 'start', host }))
  server.on('end', (host, error) => {
    const latencyMs = latencyOf(host)
    tell({
      event: 'end',
      host,
      ...(error && { code: error.code, message: error.message }),
      ...(latencyMs !== undefined && { latencyMs }),
    })
  })
  server.on('fault', ({ code, message }) => tell({ event: 'fault', code, message }))
}

/** Returns what tells how far a client was when last asked, and forgets it. */
function latencies(server: Server): (publicHost: string) => number | undefined {
  const known = new Map<string, number>()
  server.on('latency', (publicHost, ms) => known.set(publicHost, ms))
  return (publicHost) => {
    const ms = known.get(publicHost)
    known.delete(publicHost)
    return ms
  }
}

/** Tells of a tunnel that ended while others go on. */
export function logEnd({ url }: Tunnel, error: TunnelError): void {
  printLine(`${url} has ended: ${error.message}`)
}

/** Tells of tunnels that were ended in the background. */
export function logStop(urls: readonly string[]): void {
  printLine(urls.length === 0 ? 'nothing is detached' : `ended ${urls.join(' ')}`)
}

/** Prints where the tunnel is, and tells when it is lost and when it is back. */
export function logTunnel(tunnel: Tunnel, title: string): void {
  printLine(title)
  printUrl(tunnel.url)
  tunnel.on('lost', (error) => printLine(`${tunnel.url} is lost (${error.message}); redialling`))
  tunnel.on('back', (awayMs) => printLine(`${tunnel.url} is back after ${(awayMs / 1000).toFixed(1)} s`))
}

/** Prints a line for each request of a tunnel, unless they come too fast; `name` tells those of several tunnels apart. */
export function logRequests(tunnel: Tunnel, name = ''): void {
  const lines = new Rate(BURST_LINES, LINES_PER_SECOND)
  let hasTold = false
  const onRequest = (record: RequestRecord) => {
    if (lines.take()) return printLine(requestLine(record, name))
    tunnel.off('request', onRequest)
    setTimeout(() => tunnel.on('request', onRequest), PAUSE_MS).unref()
    if (!hasTold) printLine(`more than ${LINES_PER_SECOND} requests a second: not all are shown`)
    hasTold = true
  }
  tunnel.on('request', onRequest)
}

/** More nobody reads, and a log that is kept grows by it; following requests that come faster costs, too. */
const LINES_PER_SECOND = 100
const BURST_LINES = 100
const PAUSE_MS = 10_000

/** A request in one line, such as `14:05:59 GET /a?b=c 200 12 ms 1.5 kB`. */
export function requestLine(record: RequestRecord, name = ''): string {
  const { at, method, path, status = 'no answer', durationMs, answerBytes } = record
  const facts = [saidTime(at), name, method, path, status, saidMs(durationMs), saidBytes(answerBytes)]
  return printable(facts.filter((fact) => fact !== '').join(' '))
}

/** Prints, as JSON on stdout, where a tunnel is and whatever becomes of it, until it is closed. */
export function logEvents(tunnel: Tunnel, target: string): void {
  const { url } = tunnel
  tell({ event: 'url', url, target })
  tunnel.on('lost', ({ code, message }) => tell({ event: 'lost', url, code, message }))
  tunnel.on('back', (awayMs) => tell({ event: 'back', url, awayMs }))
  tunnel.on('request', ({ at, ...record }) =>
    tell({ event: 'request', url, ...record, status: record.status ?? null }, at),
  )
  const onClose = () => tell({ event: 'closed', url })
  tunnel.closed.then(onClose, onClose)
}

/** Prints, as JSON on stdout, why the program ends or what it cannot do. */
export function logError(error: unknown): void {
  const { code, message, exitCode }: TunnelError = asTunnelError(error)
  tell({ event: 'error', code, message, exitCode })
}

function tell(event: LogEvent, at?: Date): void {
  print(`${jsonLine(event, at)}\n`)
}

/** An event as one line of JSON, in which no character can move a cursor. */
export function jsonLine(event: LogEvent, at: Date = new Date()): string {
  const { event: name, ...facts } = event
  const escaped = (character: string) =>
    character.replace(/[^]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
  return JSON.stringify({ event: name, at, ...facts }).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, escaped)
}

/** How far a peer is, in words. */
function away(latencyMs: number): string {
  return `${latencyMs.toFixed(latencyMs < 10 ? 1 : 0)} ms away`
}

function causeOf({ cause }: Error): string {
  const where = cause instanceof Error ? cause.stack?.split('\n')[1]?.trim() : undefined
  return where === undefined ? '' : ` (${where})`
}
