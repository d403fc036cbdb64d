/**
 * The process round the program: signals, exit, and what is printed. Public URLs go to stdout, everything else to
 * stderr, one line an event. Used as a library, nothing of this runs.
 */
import { readFileSync, realpathSync } from 'node:fs'
import { constants } from 'node:os'
import { fileURLToPath } from 'node:url'
import { setFlagsFromString } from 'node:v8'
import type { TunnelError } from './errors.ts'
import { printable } from './text.ts'

/** Whether the module at `url` is what node was started with (npx and npm start it by a symbolic link). */
export function isProgram(url: string): boolean {
  const started = process.argv[1]
  try {
    return started !== undefined && realpathSync(started) === fileURLToPath(url)
  } catch {
    return false
  }
}

/** A signal that SIGINT and SIGTERM abort, with their name as reason. A second one ends the process at once. */
export function startProcess(): AbortSignal {
  const stop = new AbortController()
  const onSignal = (name: NodeJS.Signals) => {
    if (pass !== undefined) pass(name)
    else if (stop.signal.aborted) process.exit(1)
    else stop.abort(name)
  }
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal)
  process.on('uncaughtException', onUnexpected)
  // A reader that goes away (`groktunnel 3000 | head -1`) ends nothing: the tunnel is what counts.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined)
  setImmediate(compileAtOnce)
  return stop.signal
}

/**
 * From when the program waits for the first time. What runs then runs often, and V8 would interpret it until that shows:
 * measured, a third of what the connections of the second second cost. It compiles as it always does, but at the first
 * call; what parses the command line is not compiled so, and the memory is that of before.
 */
function compileAtOnce(): void {
  setFlagsFromString('--always-sparkplug')
}

let pass: ((name: NodeJS.Signals) => unknown) | undefined

const passedToo = ['SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const

/** From now on `to` is told of signals, and nothing else comes of them, until what this returns is called. */
export function onSignals(to: (name: NodeJS.Signals) => unknown): () => void {
  pass = to
  for (const name of passedToo) process.on(name, to)
  return () => {
    pass = undefined
    for (const name of passedToo) process.off(name, to)
  }
}

/** Whether a signal was likely typed: a terminal sends it to all who run there, each of whom has got it by now. */
export function isFromTerminal(name: NodeJS.Signals): boolean {
  return (name === 'SIGINT' || name === 'SIGQUIT') && process.stdin.isTTY && isInForeground()
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

/** What nobody reads is left out from here on: memory is for tunnels. */
const UNREAD_BYTES = 1024 * 1024

/** Prints what was asked for (--help, events as JSON) and gives the exit code. */
export function print(text: string): 0 {
  if (display?.print !== undefined) display.print(text)
  else if (process.stdout.writableLength < UNREAD_BYTES) process.stdout.write(text)
  return 0
}

/** What a shell gives for a program that a signal ended. */
export function shellCode(name: NodeJS.Signals): number {
  return 128 + constants.signals[name]
}

/** Prints why the program ends and gives the exit code. */
export function printError({ message, exitCode }: TunnelError): number {
  if (display?.print === undefined) takeTerminal() // a screen; who hands on what we say hears this too
  printLine(`groktunnel: ${message}`)
  return exitCode
}

export function printUrl(url: string): void {
  process.stdout.write(`${printable(url)}\n`)
}

export function printLine(text: string): void {
  if (display !== undefined) display.line(text)
  else if (process.stderr.writableLength < UNREAD_BYTES) process.stderr.write(`${printable(text)}\n`)
}

/** Writes to the terminal as it is: sequences and codes of our own making. */
export function printRaw(text: string): void {
  process.stderr.write(text)
}

/** Where people look, and what they say of it. */
export function terminal(): { stream: NodeJS.WriteStream & { fd: number }; env: NodeJS.ProcessEnv } {
  return { stream: process.stderr, env: process.env }
}

/** What has the terminal for itself. */
interface TerminalOwner {
  line(text: string): void
  /** what is for stdout; default stdout */
  print?(text: string): void
  suspend(): void
  resume(): void
  close(): void
}

let display: TerminalOwner | undefined

/** Leaves the terminal to `owner`: lines go to it, and it gives the terminal back when the process stops or ends. */
export function giveTerminal(owner: TerminalOwner): void {
  display = owner
  process.on('exit', takeTerminal).on('SIGTSTP', onStop).on('SIGCONT', onContinue).on('SIGWINCH', onContinue)
  process.on('SIGQUIT', onDeadly).on('SIGHUP', onDeadly)
}

/** Ends what has the terminal, if anything has. */
export function takeTerminal(): void {
  process.off('exit', takeTerminal).off('SIGTSTP', onStop)
  process.off('SIGCONT', onContinue).off('SIGWINCH', onContinue)
  process.off('SIGQUIT', onDeadly).off('SIGHUP', onDeadly)
  display?.close()
  display = undefined
}

/** It ends as it would have, but gives the terminal back first. */
function onDeadly(name: NodeJS.Signals): void {
  takeTerminal()
  process.kill(process.pid, name)
}

/** Whether the terminal is ours to draw on: a process in the background must not. Only Linux tells. */
export function isInForeground(): boolean {
  try {
    const [, , group, , , foreground] = readFileSync('/proc/self/stat', 'latin1')
      .replace(/^.*\) /, '')
      .split(' ')
    return group === foreground
  } catch {
    return true
  }
}

/** Ctrl-Z: the terminal is given back, then we stop as if we had not heard; here it goes on after `fg` or `bg`. */
function onStop(): void {
  display?.suspend()
  process.off('SIGTSTP', onStop)
  process.kill(process.pid, 'SIGTSTP')
  setImmediate(() => {
    if (display === undefined) return
    process.on('SIGTSTP', onStop)
    onContinue()
  })
}

/** It goes on, or has another size. */
function onContinue(): void {
  if (isInForeground()) display?.resume()
}
