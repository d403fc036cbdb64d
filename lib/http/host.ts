/**
 * A host and port as the Host field and absolute-form carry them (RFC 9110 section 7.2, RFC 3986 section 3.2).
 * Narrower than the grammar: a name of letters, digits, and "-._~", or an IPv6 literal. What the grammar also
 * allows (percent-encoding, commas and other sub-delims) is read by some as another host, and no tunnel has it.
 */
import { isIPv6 } from 'node:net'
import { refuse } from './refuse.ts'

// one name or one bracketed literal, then an optional port that may be empty: linear, no part overlaps the next
const shape = /^(?:([a-z0-9._~-]{1,255})|\[([0-9a-f:.]{2,45})\])(?::([0-9]{0,5}))?$/

/** The authority in lower case. Throws 400 when it is not one host with at most one port. */
export function parseAuthority(authority: string): string {
  const lower = authority.toLowerCase()
  const [, name, literal, port] = shape.exec(lower) ?? []
  const named = name !== undefined && !name.startsWith('.') && !name.includes('..')
  const valid = (named || (literal !== undefined && isIPv6(literal))) && Number(port ?? 0) <= 65535
  if (!valid) throw refuse('bad-request', 'one host name and port', authority, 'RFC 9110 section 7.2')
  return lower
}

/** Whether two authorities are one, the scheme's own port being the same as none (RFC 9110 section 4.2.3). */
export function sameAuthority(scheme: string, one: string, other: string): boolean {
  const own = scheme === 'https' ? /:(?:443)?$/ : /:(?:80)?$/
  return one.replace(own, '') === other.replace(own, '')
}
