/**
 * How a client tells of its tunnels: as was asked for, and as suits where it is told. For a program as events; for a user
 * at a terminal by a display; else in lines. The URLs go to stdout in any case. The display is drawn on stderr, but only
 * where stdout is a terminal too: who reads stdout is a script, and lines suit those who watch one.
 */
import { isatty } from 'node:tty'
import type { Tunnel } from '../api.ts'
import { asTunnelError } from '../errors.ts'
import { absence, type DialOptions } from '../local/local.ts'
import type { Place } from '../place.ts'
import { giveTerminal, isInForeground, print, printLine, printRaw, printUrl, terminal } from '../process.ts'
import { describe, originOf, parseTarget } from '../target.ts'
import { version } from '../version.ts'
import { copySequence } from './copy.ts'
import { hasColor, isScreen, showTunnels, type Shown } from './display/display.ts'
import { jsonLine, logEvents, logRequests, logTunnel } from './log.ts'
import { openBrowser } from './open.ts'
import { inked, qrCode } from './qr.ts'

const STDOUT = 1
const CLOSING_MS = 300

export interface Announced extends Shown {
  /** the line before the URL, where there are lines */
  title: string
}

export interface AnnounceOptions {
  /** events on stdout instead of URLs */
  json?: boolean
  /** the URLs, and nothing else */
  quiet?: boolean
  /** default true; it needs a terminal that nobody else writes to */
  display?: boolean
  /** somebody else writes there as well, or nobody reads: then no display, and no line for each request; default false */
  isShared?: boolean
  qr?: boolean
  open?: boolean
  copy?: boolean
}

export interface TellOptions extends AnnounceOptions {
  targets: readonly { local: string; options: DialOptions }[]
  /** A command shares the terminal: no line of ours but the needful. */
  command?: readonly string[] | undefined
  /** For a client in the background to end in. */
  graceMs: number
  /** What was read beside the command line: whoever is in a strange folder should know. */
  configFile?: string | undefined
}

/** Whoever waits for a client in the background. */
interface Background {
  ready(places: Place[], graceMs: number): void
}

/** What a client says, and when. */
export interface Teller {
  /** A warning or a hint. */
  readonly say: (line: string) => void
  /** Why the first connection is still waited for. */
  readonly wait: (error: unknown) => void
  /** These are the tunnels of the targets. */
  readonly up: (tunnels: readonly Tunnel[]) => void
}

/** `behind` is told too, where this is the process in the background. */
export function tellerOf(options: TellOptions, signal: AbortSignal, behind?: Background): Teller {
  const { targets, command, graceMs, quiet = false, configFile } = options
  const say = quiet ? () => undefined : printLine
  if (configFile !== undefined) say(`options of ${configFile} count`)
  const absences = targets.map(({ local, options }) => absence(parseTarget(local), options))
  let isWaiting = false
  const tellClosing = () => say('waiting for what is open to finish; press Ctrl-C again to end at once')
  // Who is soon gone says nothing.
  signal.addEventListener('abort', () => setTimeout(tellClosing, CLOSING_MS).unref())
  return {
    say,
    wait(error) {
      if (!isWaiting) say(`${asTunnelError(error).message}; waiting for it`)
      isWaiting = true
    },
    up(tunnels) {
      const all = tunnels.map((tunnel, at) => announced(tunnel, targets[at]?.local ?? ''))
      behind?.ready(all.map(placeOf), graceMs)
      announce(
        all,
        behind === undefined ? { ...options, isShared: command !== undefined } : { isShared: true },
      )
      for (const absent of absences)
        void absent.then((error) => error && say(`${error.message} The tunnel waits for it.`))
    },
  }
}

function announced(tunnel: Tunnel, local: string): Announced {
  const service = parseTarget(local)
  const words = describe(service)
  if (service.kind !== 'port') return { tunnel, target: words, title: `${words} available at:` }
  return { tunnel, target: originOf(service), title: `${words} http available at:` }
}

function placeOf({ tunnel, title, target }: Announced): Place {
  return { name: tunnel.subdomain, url: tunnel.url, title, target }
}

/** Tells of tunnels that another process has. */
export function announcePlaces(places: readonly Place[], options: AnnounceOptions): void {
  const urls = places.map(({ url }) => url)
  for (const { url, title, target } of places) {
    if (options.json === true) print(`${jsonLine({ event: 'url', url, target })}\n`)
    else {
      if (options.quiet !== true) printLine(title)
      printUrl(url)
    }
  }
  share(urls, options)
}

/** Tells of tunnels from now on. A display has the terminal until the program ends. */
export function announce(tunnels: Announced[], options: AnnounceOptions): void {
  const { json = false, quiet = false, display = true, isShared = false } = options
  const { stream, env } = terminal()
  const canDisplay = isatty(STDOUT) && isScreen(stream, env) && isInForeground()
  const isDisplayed = display && !isShared && !json && !quiet && canDisplay
  const urls = tunnels.map(({ tunnel }) => tunnel.url)
  if (json) for (const { tunnel, target } of tunnels) logEvents(tunnel, target)
  else if (quiet || isDisplayed) for (const url of urls) printUrl(url)
  else tellInLines(tunnels, !isShared)
  share(urls, { ...options, qr: options.qr === true && !isDisplayed })
  if (isDisplayed) show(tunnels, options, urls)
}

/** Hands the URLs on, as was asked for. */
function share(urls: string[], { qr = false, open = false, copy = false }: Partial<AnnounceOptions>): void {
  if (copy) copyAll(urls)
  if (qr) for (const url of urls) showCode(url)
  if (open) for (const url of urls) openBrowser(url, printLine)
}

function tellInLines(tunnels: Announced[], withRequests: boolean): void {
  for (const { tunnel, title } of tunnels) {
    logTunnel(tunnel, title)
    if (withRequests) logRequests(tunnel, tunnels.length > 1 ? tunnel.subdomain : '')
  }
}

function show(tunnels: Announced[], { qr = false }: AnnounceOptions, [url = '']: string[]): void {
  const { stream, env } = terminal()
  const color = hasColor(stream, env)
  const { columns, rows } = stream
  // The state and the URL stay above it.
  const code = qr ? qrCode(url, { columns, rows: rows - 4, ink: color ? 'dark' : 'light' }) : undefined
  giveTerminal(showTunnels(tunnels, { stream, color, code, version }))
  if (qr && code === undefined) printLine(noRoomFor(url))
}

function showCode(url: string): void {
  const { stream, env } = terminal()
  const color = hasColor(stream, env)
  const code = qrCode(url, { columns: stream.columns, rows: stream.rows, ink: color ? 'dark' : 'light' })
  if (code === undefined) printLine(noRoomFor(url))
  else printRaw((color ? inked(code) : code).map((row) => `${row}\n`).join(''))
}

function noRoomFor(url: string): string {
  return `no QR code: the terminal is too small for that of ${url}`
}

function copyAll(urls: string[]): void {
  const { stream, env } = terminal()
  const sequence = copySequence(urls.join('\n'), stream, env)
  if (sequence === '') printLine('nothing was copied: that needs a terminal')
  else printRaw(sequence)
}
