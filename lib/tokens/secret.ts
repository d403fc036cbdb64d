/**
 * Tokens as they come in, and the SHA-256 that is all we keep of them. No message here holds a token, or any part of a
 * file that could be one; and no error of a lower layer is passed on as a cause, because it might.
 */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { codeOf, TunnelError } from '../errors.ts'

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

/** The token, if it is one that a header can carry and nobody guesses at once. Throws `usage`, told `where` it is. */
export function checkToken(token: string, where: string): string {
  if (/^[\x21-\x7e]{6,512}$/.test(token)) return token
  const got = token.length < 6 || token.length > 512 ? `${token.length} characters` : 'others'
  throw new TunnelError(
    'usage',
    `expected a token of 6 to 512 printable ASCII characters without spaces in ${where}, got ${got}; ` +
      'make one with: openssl rand -hex 24',
  )
}

export function hashOf(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}

/** A name of a user's choice, as messages show it: on one line, and not endless. */
export function shown(name: string): string {
  return JSON.stringify(name.length > 200 ? `${name.slice(0, 200)}...` : name)
}
