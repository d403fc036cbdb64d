/** Names of tunnels: one label of a host name (RFC 1123 section 2.1) that passes for no other, drawn or asked for. */
import { randomBytes } from 'node:crypto'
import { TunnelError } from './lib/errors.ts'
import { reservedName } from './lib/reserved.ts'

const LETTERS = 'abcdefghijklmnopqrstuvwxyz0123456789'
const LENGTH = 10

/** Ten random characters of a-z and 0-9: 51 bits, so that no name is guessed. */
export function newSubdomain(random: (bytes: number) => Uint8Array = randomBytes): string {
  let name = ''
  while (name.length < LENGTH) {
    // Bytes past the last multiple of 36 would make some letters likelier than others.
    for (const byte of random(LENGTH)) {
      if (byte < 252 && name.length < LENGTH) name += LETTERS.charAt(byte % LETTERS.length)
    }
  }
  return reservedName(name) === undefined ? name : newSubdomain(random)
}

/** The name in lower case. Throws `bad-name` unless it is 1 to 63 of a-z, 0-9 and inner hyphens, and not reserved. */
export function checkSubdomain(name: string): string {
  // Checked before it is lowered: U+212A (K) would become an innocent k.
  if (!/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/i.test(name))
    throw bad('of 1 to 63 letters a-z, digits and inner hyphens', name)
  // RFC 5891 section 4.2.3.1: international names stand there as xn--, and can look like any other.
  if (name.startsWith('--', 2)) throw bad('without hyphens in both third and fourth place', name)
  const lower = name.toLowerCase()
  const reserved = reservedName(lower)
  if (reserved === undefined) return lower
  throw bad(`that neither is nor looks like the reserved "${reserved}"`, name)
}

function bad(expected: string, name: string): TunnelError {
  const shown = JSON.stringify(name.slice(0, 70))
  return new TunnelError('bad-name', `expected a name ${expected}, got ${shown}; choose another, or none`)
}
