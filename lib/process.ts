/**
 * The process round the program: signals, exit, and what is printed. Public URLs go to stdout, everything else to
 * stderr, one line an event. Used as a library, nothing of this runs.
 */
import { realpathSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { setFlagsFromString } from 'node:v8'
import type { TunnelError } from './errors.ts'

/** Whether the module at `url` is what node was started with (npx and npm start it by a symbolic link). */
export function isProgram(url: string): boolean {
  const started = process.argv[1]
  try {
    return started !== undefined && realpathSync(started) === fileURLToPath(url)
  } catch {
    return false
  }
}

/** A signal that SIGINT and SIGTERM abort. A second one ends the process at once. */
export function startProcess(): AbortSignal {
  const stop = new AbortController()
  const onSignal = () => (stop.signal.aborted ? process.exit(1) : stop.abort())
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal)
  process.on('uncaughtException', onUnexpected)
  // A reader that goes away (`groktunnel 3000 | head -1`) ends nothing: the tunnel is what counts.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined)
  return stop.signal
}

/**
 * In a crowd memory counts more than time. V8 lets its young generation grow to twice 16 MiB when much survives, and
 * keeps it; held where it is, 10,000 waiting visitors cost 25 MiB less, and collecting takes somewhat longer.
 */
export function saveMemory(isCrowd: boolean): void {
  setFlagsFromString(`--semi-space-growth-factor=${isCrowd ? 1 : 2}`)
}

/** Calls back on SIGHUP; what that throws is told, and nothing ends. */
export function onReload(reload: () => void): void {
  process.on('SIGHUP', () => {
    try {
      reload()
      printLine('tokens and certificates were read again')
    } catch (error) {
      printLine(
        `not read again, the old ones stay: ${String(error instanceof Error ? error.message : error)}`,
      )
    }
  })
}

/** An exception that nobody caught ends nothing but what it happened in: it is told, and the tunnels stay up. */
function onUnexpected(error: unknown): void {
  printLine(`unexpected: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`)
}

/** Prints what was asked for (--help, --version) and gives the exit code. */
export function print(text: string): 0 {
  process.stdout.write(text)
  return 0
}

/** Prints why the program ends and gives the exit code. */
export function printError({ message, exitCode }: TunnelError): number {
  printLine(`groktunnel: ${message}`)
  return exitCode
}

export function printUrl(url: string): void {
  process.stdout.write(`${printable(url)}\n`)
}

export function printLine(text: string): void {
  process.stderr.write(`${printable(text)}\n`)
}

/** Control characters written as escapes: nobody far away types on this terminal. */
function printable(text: string): string {
  return text.replace(
    /[\x00-\x1f\x7f-\x9f]/g,
    (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`,
  )
}
