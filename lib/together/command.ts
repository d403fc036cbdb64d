/**
 * The command after `--`: it runs while the tunnels are up, with their URLs in its environment and our own stdin, stdout
 * and stderr. The signals that we get are passed on to it, and its exit code is ours.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { codeOf } from '../errors.ts'
import { shellCode, isFromTerminal, onSignals, printLine } from '../process.ts'
import { startWatcher, type Watcher } from './watcher.ts'

/** The URL of one tunnel, and what the user calls it. */
export interface Place {
  name?: string | undefined
  url: string
}

export interface CommandOptions {
  places: readonly Place[]
  /** Settles when there is no tunnel any more: then the command is told to end. */
  gone: Promise<unknown>
  /** For it to end in, when it is told to; then it is killed. */
  graceMs: number
}

/** Runs it to its end. Returns its exit code: as in a shell 128 and the number for a signal, 127 or 126 if it cannot run. */
export async function runCommand(command: readonly string[], options: CommandOptions): Promise<number> {
  const watcher = startWatcher(options.graceMs)
  // A terminal sends its signals to all who run there.
  const stopPassing = onSignals((name) => isFromTerminal(name) || watcher.pass(name))
  const stopEnding = endWith(options, watcher)
  try {
    const child = start(command, options.places)
    const ended = once(child, 'exit')
    if (child.pid !== undefined) watcher.watch(child)
    const [code, signal] = (await ended) as [number | null, NodeJS.Signals | null]
    return code ?? shellCode(signal ?? 'SIGKILL')
  } catch (error) {
    return cannotRun(command, codeOf(error))
  } finally {
    stopPassing()
    stopEnding()
    watcher.stop()
  }
}

function start([program = '', ...args]: readonly string[], places: readonly Place[]): ChildProcess {
  return spawn(program, args, { stdio: 'inherit', env: { ...process.env, ...variables(places) } })
}

/** GROKTUNNEL_URL is that of the first; where tunnels have names, GROKTUNNEL_URL_NAME is that of each. */
function variables(places: readonly Place[]): Record<string, string> {
  const named = places.flatMap(({ name, url }) =>
    name === undefined ? [] : [[`GROKTUNNEL_URL_${name.replaceAll('-', '_').toUpperCase()}`, url] as const],
  )
  return { GROKTUNNEL_URL: places[0]?.url ?? '', ...Object.fromEntries(named) }
}

/** Ends the command when the tunnels are gone. */
function endWith({ gone, graceMs }: CommandOptions, { pass }: Watcher): () => void {
  let timer: NodeJS.Timeout | undefined
  let hasEnded = false
  const end = () => {
    if (hasEnded) return
    pass('SIGTERM')
    timer = setTimeout(() => pass('SIGKILL'), graceMs)
  }
  gone.then(end, end)
  return () => {
    hasEnded = true
    clearTimeout(timer)
  }
}

function cannotRun([program]: readonly string[], code: string): number {
  const isThere = code !== 'ENOENT'
  printLine(
    `groktunnel: expected a command that can run after --, got ${JSON.stringify(program)} (${code}); ` +
      (isThere ? 'may it be executed?' : 'is it installed?'),
  )
  return isThere ? 126 : 127
}
