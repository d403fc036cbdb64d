/** Names of tunnels: one label of a host name (RFC 1123 section 2.1), drawn at random or asked for. */
import { randomBytes } from 'node:crypto'
import { TunnelError } from './lib/errors.ts'

const LETTERS = 'abcdefghijklmnopqrstuvwxyz0123456789'
const LENGTH = 10

/** Ten random characters of a-z and 0-9: 51 bits, so that no name is guessed. */
export function newSubdomain(): string {
  let name = ''
  while (name.length < LENGTH) {
    // Bytes past the last multiple of 36 would make some letters likelier than others.
    for (const byte of randomBytes(LENGTH)) {
      if (byte < 252 && name.length < LENGTH) name += LETTERS.charAt(byte % LETTERS.length)
    }
  }
  return name
}

/** The name in lower case. Throws `bad-name` unless it is 1 to 63 of a-z, 0-9 and inner hyphens. */
export function checkSubdomain(name: string): string {
  const lower = name.toLowerCase()
  if (/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(lower)) return lower
  const shown = JSON.stringify(name.slice(0, 70))
  throw new TunnelError(
    'bad-name',
    `expected a name of 1 to 63 letters, digits and inner hyphens, got ${shown}`,
  )
}
