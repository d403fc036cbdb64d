/**
 * A client in the background. `--detach` starts the program again, out of reach of the terminal, waits until its tunnels
 * are up, prints where, and ends; what it would say from then on goes to a file beside its record (lib/detach/detached.ts).
 * Until then whoever asked is told everything, and takes it along when he goes.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, readFileSync } from 'node:fs'
import { onAbort } from '../listen.ts'
import type { Place } from '../place.ts'
import { shellCode, print, printLine, printRaw } from '../process.ts'
import { KNOWN, type Message } from './background.ts'
import { MARK, newRecord, openLog, removeRecord } from './detached.ts'

export { background } from './background.ts'
export { isInBackground, stopDetached } from './detached.ts'

export interface DetachOptions {
  stateFolder?: string | undefined
}

type Announce = (places: readonly Place[]) => void

/**
 * Starts this program again in the background; `announce` is called when its tunnels are up. Returns the exit code: 0 then,
 * as a shell's when a signal came first.
 */
export async function detach(
  { stateFolder }: DetachOptions,
  signal: AbortSignal,
  announce: Announce,
): Promise<number> {
  const record = await newRecord(stateFolder)
  const child = startAgain(record)
  const ended = once(child, 'close')
  onAbort(signal, () => child.kill('SIGTERM'), ended)
  try {
    const places = await Promise.race([placesOf(child), ended.then(() => undefined)])
    if (places !== undefined && !signal.aborted) return await leave(child, () => announce(places))
    await ended
    return endOf(child, record, signal)
  } catch (error) {
    removeRecord(record)
    throw error
  }
}

function startAgain(record: string): ChildProcess {
  const log = openLog(record)
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

/** Settles when its tunnels are up; shows what it says until then. */
function placesOf(child: ChildProcess): Promise<Place[]> {
  return new Promise((resolve) => {
    child.on('message', (message: Message) => {
      if ('line' in message) printLine(message.line)
      else if ('text' in message) print(message.text)
      else resolve(message.places)
    })
  })
}

/** Only when all is told is it left alone. */
async function leave(child: ChildProcess, tell: () => void): Promise<0> {
  tell()
  await new Promise((resolve) => child.send(KNOWN, resolve))
  return 0
}

/** It has ended before its tunnels were up. */
function endOf({ exitCode, signalCode }: ChildProcess, record: string, signal: AbortSignal): number {
  const last = readFileSync(`${record}.log`, 'utf8')
  removeRecord(record)
  if (last !== '') printRaw(last)
  if (signal.aborted) return shellCode(signal.reason as NodeJS.Signals)
  if (last === '' && !exitCode) printLine(`groktunnel: the client in the background ended with ${signalCode}`)
  return exitCode || 1
}
