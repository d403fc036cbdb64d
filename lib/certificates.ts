/**
 * Certificates in files, and what is said when that of a server cannot be believed. The verification itself is
 * Node's; nothing here turns it off.
 */
import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { codeOf, TunnelError } from './errors.ts'

/** The text of a PEM file that begins with a certificate. Throws `usage`, naming `option` and the file. */
export function readCertificates(option: string, path: string): string {
  const pem = readText(option, path)
  try {
    new X509Certificate(pem)
    return pem
  } catch (cause) {
    const message = `expected a PEM certificate in ${path} (${option}), got something else; give one such as fullchain.pem`
    throw new TunnelError('usage', message, { cause })
  }
}

/** The text of the file that `option` names. Throws `usage` when it cannot be read. */
export function readText(option: string, path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (cause) {
    const message = `expected to read ${path} (${option}), got ${codeOf(cause)}; check the path and its rights`
    throw new TunnelError('usage', message, { cause })
  }
}

/** What a failed connection to `where` says of its certificate; undefined where something else failed. */
export function certificateError(error: unknown, where: string): TunnelError | undefined {
  const came = complaint(error)
  if (came !== undefined) {
    const message = `expected a certificate for ${where} that can be believed, got ${came}`
    return new TunnelError('bad-certificate', message, { cause: error })
  }
  // OpenSSL's word for an answer that is no TLS record.
  if (!(error instanceof Error && error.message.includes('wrong version number'))) return undefined
  const message = `expected TLS from ${where}, got plain text; leave out https:// or --tls where it speaks plain http`
  return new TunnelError('not-groktunnel', message, { cause: error })
}

/** Node names the causes after OpenSSL's X509_V_ERR_ constants. */
function complaint(error: unknown): string | undefined {
  const code = codeOf(error)
  if (code === 'CERT_HAS_EXPIRED') return 'one that has expired; renew it at the server'
  if (code === 'CERT_NOT_YET_VALID') return 'one that is not valid yet; check the clocks'
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') return `one for ${namesIn(error)}; check -h`
  if (/SELF_SIGNED_CERT|UNABLE_TO_(GET_ISSUER|VERIFY_LEAF)/.test(code))
    return 'one that no known authority signed; use --ca FILE for a private one'
  return /^(CERT_|INVALID_|PATH_LENGTH)/.test(code) ? `one that is refused (${code})` : undefined
}

function namesIn(error: unknown): string {
  const { cert } = error as { cert?: { subjectaltname?: string } }
  return cert?.subjectaltname?.replace(/[^\x20-\x7e]/g, '?').slice(0, 100) ?? 'no name at all'
}
