/**
 * Where a message's body ends (RFC 9112 section 6). Whatever two recipients could frame differently is
 * refused, because the next request begins where the body is believed to end.
 *
 *   Content-Length with Transfer-Encoding            400   RFC 9112 section 6.1, 6.3
 *   Content-Length twice, even equal, or a list      400   RFC 9112 section 6.3
 *   Content-Length not of 1 to 15 digits             400   RFC 9110 section 8.6
 *   Transfer-Encoding in HTTP/1.0                    400   RFC 9112 section 6.1
 *   Transfer-Encoding but exactly one "chunked"      501   RFC 9112 section 6.1
 *   either in 1xx and 204, but Content-Length: 0     400   RFC 9110 section 8.6, RFC 9112 section 6.1
 */
import { type Field, valuesOf } from './fields.ts'
import { refuse } from './refuse.ts'

export type Framing =
  { kind: 'none' } | { kind: 'length'; bytes: number } | { kind: 'chunked' } | { kind: 'until-close' }

type Version = '1.0' | '1.1'

/** The framing of a request; without a word of it there is no body. Throws 400, 501. */
export function requestFraming(version: Version, fields: readonly Field[]): Framing {
  return declaredFraming(version, fields) ?? { kind: 'none' }
}

/** The framing of an answer to `method`; a 101 is raw bytes for ever. Throws 400, 501. */
export function responseFraming(
  head: { version: Version; status: number; fields: readonly Field[] },
  method: string,
): Framing {
  const { version, status, fields } = head
  const declared = declaredFraming(version, fields)
  if (status < 200 || status === 204) checkBodiless(declared)
  if (status === 101) return { kind: 'until-close' }
  if (method === 'HEAD' || status < 200 || status === 204 || status === 304) return { kind: 'none' }
  return declared ?? { kind: 'until-close' }
}

function declaredFraming(version: Version, fields: readonly Field[]): Framing | undefined {
  const lengths = valuesOf(fields, 'content-length')
  const codings = valuesOf(fields, 'transfer-encoding')
  if (codings.length > 0) return codedFraming(version, codings, lengths)
  if (lengths.length === 0) return undefined
  return { kind: 'length', bytes: parseLength(lengths) }
}

function codedFraming(version: Version, codings: readonly string[], lengths: readonly string[]): Framing {
  const came = codings.join(', ')
  if (lengths.length > 0)
    throw refuse('bad-request', 'no Transfer-Encoding with Content-Length', came, 'RFC 9112 section 6.1')
  if (version === '1.0')
    throw refuse('bad-request', 'no Transfer-Encoding in HTTP/1.0', came, 'RFC 9112 section 6.1')
  if (came.toLowerCase() !== 'chunked')
    throw refuse('not-implemented', 'Transfer-Encoding: chunked', came, 'RFC 9112 section 6.1')
  return { kind: 'chunked' }
}

/** At most 15 digits stay below 2^53, so the sum of body bytes is exact. */
function parseLength(lengths: readonly string[]): number {
  const came = lengths.join(', ')
  if (!/^[0-9]{1,15}$/.test(came))
    throw refuse('bad-request', 'one Content-Length of 1 to 15 digits', came, 'RFC 9112 section 6.3')
  return Number(came)
}

/** A pooling proxy that believed these fields would take the next answer for this one's body. */
function checkBodiless(declared: Framing | undefined): void {
  if (declared === undefined || (declared.kind === 'length' && declared.bytes === 0)) return
  throw refuse('bad-request', 'no body in a 1xx or 204', declared.kind, 'RFC 9112 section 6.3')
}
