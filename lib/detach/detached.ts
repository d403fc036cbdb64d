/**
 * The records of clients in the background: `detached/ID.json` in the state folder says which process has which tunnels,
 * `ID.log` is what it says. A record ends with its process; one that a killed process left is removed by the next look.
 */
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, openSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { codeOf, TunnelError } from '../errors.ts'
import { makeFolder } from '../state-folder.ts'

export interface Detached {
  /** The path of its files, without their endings. */
  record: string
  pid: number
  /** When the process began, as the system tells it: another may have the pid by now. */
  startedAt: string
  places: { name: string; url: string }[]
  /** What it may need to end. */
  graceMs: number
}

/** The variable that names its record to a process in the background. */
export const MARK = 'GROKTUNNEL_DETACHED'

const LOOK_MS = 20

/** Whether this process is the one in the background. */
export function isInBackground(): boolean {
  return process.env[MARK] !== undefined && process.send !== undefined
}

/** A path for the files of one more, in a folder that only the user can read. Rejects with `usage` where there is none. */
export async function newRecord(stateFolder: string | undefined): Promise<string> {
  if (stateFolder === undefined)
    throw new TunnelError(
      'usage',
      'expected a home folder to keep a record in for --stop, got none; set HOME',
    )
  const folder = folderOf(stateFolder)
  await makeFolder(folder).catch((error: unknown) => {
    throw cannotKeep(folder, error)
  })
  return join(folder, randomBytes(8).toString('hex'))
}

/** The descriptor of the file for what it says. Throws `usage`. */
export function openLog(record: string): number {
  try {
    return openSync(`${record}.log`, 'wx', 0o600)
  } catch (error) {
    throw cannotKeep(dirname(record), error)
  }
}

/** Records this process. Throws `usage` where it cannot. */
export function recordReady(record: string, { places, graceMs }: Pick<Detached, 'places' | 'graceMs'>): void {
  const { pid } = process
  const names = places.map(({ name, url }) => ({ name, url }))
  const startedAt = startOf(pid)
  if (startedAt === undefined) throw new TunnelError('usage', unknown)
  const facts: Omit<Detached, 'record'> = { pid, startedAt, places: names, graceMs }
  try {
    writeFileSync(`${record}.new`, JSON.stringify(facts), { mode: 0o600 })
    renameSync(`${record}.new`, `${record}.json`)
  } catch (error) {
    throw cannotKeep(dirname(record), error)
  }
}

const unknown =
  'expected /proc or ps to tell when this process began, which --stop needs, got neither; run it without --detach'

function cannotKeep(folder: string, error: unknown): TunnelError {
  const message = `expected to keep a record for --stop in ${folder}, got ${codeOf(error)}; make that a folder you can write to`
  return new TunnelError('usage', message)
}

export function removeRecord(record: string): void {
  for (const ending of ['json', 'new', 'log']) rmSync(`${record}.${ending}`, { force: true })
}

/**
 * Ends those that have one of `names`, or all where there are none, and waits until they have ended; `onEnd` is told of
 * each. Rejects with `usage` when nothing has such a name. Returns the exit code.
 */
export async function stopDetached(
  names: readonly string[],
  { stateFolder, quiet = false }: { stateFolder?: string | undefined; quiet?: boolean },
  onEnd: (urls: string[]) => void,
): Promise<number> {
  const all = stateFolder === undefined ? [] : living(folderOf(stateFolder))
  const known = all.flatMap(({ places }) => places.map(({ name }) => name))
  const strange = names.find((name) => !known.includes(name))
  if (strange !== undefined)
    throw new TunnelError(
      'usage',
      `expected the name of a detached tunnel, got ${JSON.stringify(strange)}; ` +
        (known.length === 0 ? 'nothing is detached' : `there is ${known.join(', ')}`),
    )
  const isMeant = ({ places }: Detached) =>
    names.length === 0 || places.some(({ name }) => names.includes(name))
  const ending = all.filter(isMeant).map(async (detached) => {
    await end(detached)
    if (!quiet) onEnd(detached.places.map(({ url }) => url))
  })
  if (ending.length === 0 && !quiet) onEnd([])
  await Promise.all(ending)
  return 0
}

function folderOf(stateFolder: string): string {
  return join(stateFolder, 'detached')
}

function living(folder: string): Detached[] {
  if (!existsSync(folder)) return []
  const records = readdirSync(folder).filter((file) => file.endsWith('.json'))
  return records.flatMap((file) => {
    const detached = read(join(folder, file.slice(0, -'.json'.length)))
    if (detached !== undefined && isLiving(detached)) return [detached]
    removeRecord(join(folder, file.slice(0, -'.json'.length)))
    return []
  })
}

/** Undefined where it is no record of ours, such as a file that a machine wrote half before it went down. */
function read(record: string): Detached | undefined {
  try {
    const facts = JSON.parse(readFileSync(`${record}.json`, 'utf8')) as Omit<Detached, 'record'>
    const isRecord =
      Number.isInteger(facts.pid) && Array.isArray(facts.places) && Number.isFinite(facts.graceMs)
    return isRecord ? { ...facts, record } : undefined
  } catch {
    return undefined
  }
}

/** It is told to end, also where it was stopped; and killed when it does not. */
async function end(detached: Detached): Promise<void> {
  signal(detached, 'SIGTERM')
  signal(detached, 'SIGCONT')
  for (let leftMs = detached.graceMs + 2_000; isLiving(detached); leftMs -= LOOK_MS) {
    if (leftMs <= 0) signal(detached, 'SIGKILL')
    await setTimeout(LOOK_MS)
  }
  removeRecord(detached.record)
}

function signal({ pid }: Detached, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {
    // it has just ended
  }
}

function isLiving({ pid, startedAt }: Detached): boolean {
  const start = startOf(pid)
  return start !== undefined && start === startedAt
}

/** When a process began; undefined when it has ended, also where nobody has asked yet how (a zombie). */
function startOf(pid: number): string | undefined {
  if (!existsSync('/proc/self/stat')) return startByPs(pid)
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()
    const [state, ...facts] = readFileSync(`/proc/${pid}/stat`, 'latin1')
      .replace(/^.*\) /s, '')
      .split(' ')
    return state === 'Z' || state === 'X' ? undefined : `${boot} ${facts[18]}`
  } catch {
    return undefined
  }
}

function startByPs(pid: number): string | undefined {
  try {
    const options = { encoding: 'latin1', env: { LC_ALL: 'C' }, stdio: 'pipe' } as const
    const [state = '', ...start] = execFileSync(
      '/bin/ps',
      ['-o', 'stat=,lstart=', '-p', String(pid)],
      options,
    )
      .trim()
      .split(/\s+/)
    return state.startsWith('Z') ? undefined : start.join(' ')
  } catch {
    return undefined
  }
}
