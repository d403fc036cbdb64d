/** Tokens as they come in, and the SHA-256 that is all we keep of them. No message here holds a token. */
import { createHash } from 'node:crypto'
import { TunnelError } from '../../errors.ts'

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
