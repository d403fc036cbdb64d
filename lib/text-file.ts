/**
 * Files that users write. They may hold secrets: no message tells any part of one, and no error of a lower layer is passed
 * on as a cause, because it might.
 */
import { readFileSync } from 'node:fs'
import { codeOf, TunnelError } from './errors.ts'

/** A whole file as text, without its BOM; `what` names it. Throws `usage` where it cannot be read or is not UTF-8. */
export function readText(file: string, what: string): string {
  let bytes
  try {
    bytes = readFileSync(file)
  } catch (error) {
    throw new TunnelError(
      'usage',
      `expected to read ${what} at ${shown(file)}, got ${codeOf(error)}; check the path and its rights`,
    )
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw new TunnelError('usage', `expected UTF-8 text in ${shown(file)}, got other bytes; save it as UTF-8`)
  }
}

/** A name of a user's choice, as messages show it: on one line, and not endless. */
export function shown(name: string): string {
  return JSON.stringify(name.length > 200 ? `${name.slice(0, 200)}...` : name)
}
