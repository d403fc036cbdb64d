/**
 * The key that proves that a client is the owner of its names. It is kept in a file that only the user can read, and
 * made at first use: written in full under another name, then linked, so that clients that start at the same time agree
 * on one key and none reads half of it. Where that cannot be, a random key serves for this run, and a warning says why:
 * no tunnel fails for want of a file.
 */
import { createHmac, randomBytes } from 'node:crypto'
import { link, open, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { codeOf, TunnelError } from './errors.ts'
import { makeFolder } from './state-folder.ts'

export interface KeyOptions {
  /** The key itself (GROKTUNNEL_KEY); then no file is looked at. */
  key?: string | undefined
  /** Where the file is kept, as `stateFolderOf` tells; undefined where there is no home. */
  stateFolder?: string | undefined
  /** The server's host: each gets a key of its own from the one in the file, so that none can use it at another. */
  server: string
}

export interface Key {
  readonly key: string
  /** Why the key is for this run only, and what to do about it. */
  readonly warning?: string
}

const FORM = /^[\x21-\x7e]{6,256}$/
const READ_BYTES = 1024

/** The user's key. Rejects with `usage` when the one given is bad, and for nothing else. */
export async function loadKey({ key, stateFolder, server }: KeyOptions): Promise<Key> {
  if (key !== undefined) return { key: checkKey(key) }
  if (stateFolder === undefined) return passing('a home folder to keep the key in, got none', 'set HOME')
  try {
    return await keyIn(stateFolder, server)
  } catch (error) {
    const why = `to keep a key in ${stateFolder}, got ${codeOf(error)}`
    return passing(why, 'make that a folder you can write to')
  }
}

function checkKey(key: string): string {
  if (FORM.test(key)) return key
  const got = key.length < 6 || key.length > 256 ? `${key.length} characters` : 'others'
  throw new TunnelError(
    'usage',
    `expected GROKTUNNEL_KEY to be 6 to 256 printable ASCII characters without spaces, got ${got}; ` +
      'make one with: openssl rand -hex 24',
  )
}

async function keyIn(folder: string, server: string): Promise<Key> {
  const file = join(folder, 'key')
  const { text, mode } = await read(file).catch(() => make(folder, file).then(() => read(file)))
  // Like ssh: what others could read proves nothing. Windows has other rights, and always shows 666.
  if ((mode & 0o077) !== 0 && process.platform !== 'win32')
    return passing(
      `${file} to be readable by nobody else, got mode ${mode.toString(8)}`,
      'chmod 600 it, or remove it',
    )
  if (!FORM.test(text))
    return passing(`a key in ${file}, got ${text === '' ? 'nothing' : 'other text'}`, 'remove it')
  return { key: createHmac('sha256', text).update(server).digest('base64url') }
}

async function read(file: string): Promise<{ text: string; mode: number }> {
  const handle = await open(file)
  try {
    const { mode } = await handle.stat()
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(READ_BYTES), 0, READ_BYTES, 0)
    return { text: buffer.toString('latin1', 0, bytesRead).trim(), mode: mode & 0o777 }
  } finally {
    await handle.close()
  }
}

/** Leaves a key in the file, ours or that of whoever was first. */
async function make(folder: string, file: string): Promise<void> {
  await makeFolder(folder)
  const draft = `${file}.${randomBytes(8).toString('hex')}`
  try {
    await writeFile(draft, `${newKey()}\n`, { flag: 'wx', mode: 0o600, flush: true })
    await link(draft, file)
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error
  } finally {
    await rm(draft, { force: true }).catch(() => undefined)
  }
}

/** Another key each time. */
export function newKey(): string {
  return randomBytes(32).toString('base64url')
}

/** A key that nobody will know again, so that its names are lost with this run. */
function passing(why: string, step: string): Key {
  return {
    key: newKey(),
    warning: `expected ${why}; names are not kept beyond this run: ${step}, or set GROKTUNNEL_KEY`,
  }
}
