/**
 * The command after `--`: it runs while the tunnels are up, with their URLs in its environment and our own stdin, stdout
 * and stderr. The signals that we get are passed on to it, and its exit code is ours.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { constants } from 'node:os'
import { codeOf } from './errors.ts'
import { passSignals, printLine } from './process.ts'

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
  const [program = '', ...args] = command
  const child = spawn(program, args, {
    stdio: 'inherit',
    env: { ...process.env, ...variables(options.places) },
  })
  const stopPassing = passSignals((signal) => child.kill(signal))
  const stopWatching = watch(child)
  const stopKilling = endWith(child, options)
  try {
    const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null]
    return code ?? 128 + (signal === null ? 0 : constants.signals[signal])
  } catch (error) {
    return cannotRun(program, codeOf(error))
  } finally {
    stopPassing()
    stopWatching()
    stopKilling()
  }
}

/** GROKTUNNEL_URL is that of the first; where tunnels have names, GROKTUNNEL_URL_NAME is that of each. */
function variables(places: readonly Place[]): Record<string, string> {
  const named = places.flatMap(({ name, url }) =>
    name === undefined ? [] : [[`GROKTUNNEL_URL_${name.replaceAll('-', '_').toUpperCase()}`, url] as const],
  )
  return { GROKTUNNEL_URL: places[0]?.url ?? '', ...Object.fromEntries(named) }
}

/**
 * Should this process be killed outright, nobody would end the command. So a shell waits beside it until our end of a
 * pipe closes, and ends the command unless a line came first. It has a session of its own: no Ctrl-C ends it before us.
 */
function watch({ pid }: ChildProcess): () => void {
  if (pid === undefined || process.platform === 'win32') return () => undefined
  const watcher = spawn('/bin/sh', ['-c', 'read _ || kill -TERM "$1"', 'sh', String(pid)], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  })
  watcher.on('error', () => undefined) // no shell: then none watches
  watcher.stdin.on('error', () => undefined)
  return () => watcher.stdin.end('it has ended\n')
}

/** Ends the command when the tunnels are gone. */
function endWith(child: ChildProcess, { gone, graceMs }: CommandOptions): () => void {
  let timer: NodeJS.Timeout | undefined
  let hasEnded = false
  const end = () => {
    if (hasEnded) return
    child.kill('SIGTERM')
    timer = setTimeout(() => child.kill('SIGKILL'), graceMs)
  }
  gone.then(end, end)
  return () => {
    hasEnded = true
    clearTimeout(timer)
  }
}

function cannotRun(program: string, code: string): number {
  const isThere = code !== 'ENOENT'
  printLine(
    `groktunnel: expected a command that can run after --, got ${JSON.stringify(program)} (${code}); ` +
      (isThere ? 'may you execute it?' : 'is it installed?'),
  )
  return isThere ? 126 : 127
}
