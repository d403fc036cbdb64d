/**
 * The names of a server, written down so that they stay their owners' when it starts anew, also after a crash. The file
 * holds hashes, no secret. It is written beside and renamed, so that there is never half a file; when it cannot be
 * written, the server goes on without.
 */
import { readFile, rename, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { codeOf, TunnelError } from '../errors.ts'
import { makeFolder } from '../state-folder.ts'
import type { Held } from './held.ts'

export interface StateFile {
  /** What was written last; nothing where there is no file, or none that can be read, which is told with the next save. */
  load(): Promise<Held>
  /** Writes what `held` gives at that time, at once or 100 ms after the last time. */
  save(held: () => Held): void
  /** Settles when what was to be saved is on disk. Nothing is saved any more: the file may be another server's by then. */
  saved(): Promise<void>
}

const REST_MS = 100

/** Without a path nothing is kept. `onFault` is told, once, that the file cannot be read or written. */
export function stateFile(path: string | undefined, onFault: (error: TunnelError) => void): StateFile {
  if (path === undefined) return nowhere
  let latest: (() => Held) | undefined
  let writing: Promise<void> | undefined
  let unread: TunnelError | undefined
  let isTold = false
  const rest = new AbortController()

  async function write(path: string): Promise<void> {
    for (let held = latest; held !== undefined; held = latest) {
      latest = undefined
      if (unread !== undefined) onFault(unread) // not before: a server that starts has no listeners yet
      unread = undefined
      try {
        await makeFolder(dirname(path))
        await writeFile(`${path}.new`, JSON.stringify(held()), { mode: 0o600 })
        await rename(`${path}.new`, path)
      } catch (error) {
        if (!isTold) onFault(unwritable(path, error))
        isTold = true
      }
      await setTimeout(REST_MS, undefined, { ref: false, signal: rest.signal }).catch(() => undefined)
    }
    writing = undefined
  }

  return {
    async load() {
      try {
        return parse(await readFile(path, 'utf8'))
      } catch (error) {
        if (!/^(ENOENT|ENOTDIR)$/.test(codeOf(error))) unread = unreadable(path, error)
        return {}
      }
    },
    save(held) {
      if (rest.signal.aborted) return
      latest = held
      writing ??= Promise.resolve().then(() => write(path))
    },
    async saved() {
      rest.abort()
      await writing
    },
  }
}

const nowhere: StateFile = {
  load: () => Promise.resolve({}),
  save: () => undefined,
  saved: () => Promise.resolve(),
}

function unwritable(path: string, cause: unknown): TunnelError {
  const cure = 'names are not kept over a restart; may the folder be written, is the disk full?'
  return new TunnelError('unexpected', `expected to write ${path}, got ${codeOf(cause)}; ${cure}`)
}

function unreadable(path: string, cause: unknown): TunnelError {
  const what = cause instanceof Error && 'code' in cause ? codeOf(cause) : 'something else'
  return new TunnelError(
    'unexpected',
    `expected names in ${path}, got ${what}; none of them is held for its owner`,
  )
}

function parse(text: string): Held {
  const entries = Object.entries(JSON.parse(text) as Record<string, unknown>)
  return Object.fromEntries(entries.filter((entry): entry is [string, Held[string]] => isHeld(entry[1])))
}

function isHeld(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  const { proof, client, replaced } = value as Record<string, unknown>
  const isClient = (id: unknown) => typeof id === 'string'
  return (
    isClient(proof) &&
    (client === undefined || isClient(client)) &&
    Array.isArray(replaced) &&
    replaced.every(isClient)
  )
}
