/**
 * A client in the background. `--detach` starts the program again, out of reach of the terminal, waits until its tunnels
 * are up, prints where, and ends; what it would say from then on goes to a file beside its record (lib/detached.ts).
 * Until then whoever asked is told everything, and takes it along when he goes.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { announcePlaces, type AnnounceOptions } from './announce.ts'
import { MARK, newRecord, removeRecord } from './detached.ts'
import type { Message, Place } from './background.ts'
import { printLine, printRaw } from './process.ts'

export { isInBackground, stopDetached } from './detached.ts'

export interface DetachOptions extends AnnounceOptions {
  stateFolder?: string | undefined
}

/** Starts this program again in the background. Returns the exit code: 0 when its tunnels are up. */
export async function detach(options: DetachOptions, signal: AbortSignal): Promise<number> {
  const record = await newRecord(options.stateFolder)
  const child = startAgain(record)
  const stop = () => child.kill('SIGTERM')
  signal.addEventListener('abort', stop)
  if (signal.aborted) stop()
  const end = await firstOf(child)
  if ('places' in end) {
    announcePlaces(end.places, options)
    child.disconnect()
    child.unref()
    return 0
  }
  const last = readFileSync(`${record}.log`, 'utf8')
  removeRecord(record)
  if (last !== '') printRaw(last)
  else if (end.code !== 0) printLine(`groktunnel: the client in the background ended with ${end.code}`)
  return end.code
}

function startAgain(record: string): ChildProcess {
  const log = openSync(`${record}.log`, 'w', 0o600)
  try {
    return spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
      detached: true,
      env: { ...process.env, [MARK]: record },
      stdio: ['ignore', 'ignore', log, 'ipc'],
    })
  } finally {
    closeSync(log)
  }
}

/** Waits until it is up or has ended, and shows what it says. */
async function firstOf(child: ChildProcess): Promise<{ places: Place[] } | { code: number }> {
  const up = new Promise<{ places: Place[] }>((resolve) => {
    child.on('message', (message: Message) => {
      if ('line' in message) printLine(message.line)
      else resolve(message)
    })
  })
  const ended = once(child, 'exit').then(([code]) => ({ code: typeof code === 'number' ? code : 1 }))
  return Promise.race([up, ended])
}
