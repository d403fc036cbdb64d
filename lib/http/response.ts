/**
 * The head of an answer (RFC 9112 section 4). As strict as for requests where two readers could differ: a
 * hostile app behind a pooling proxy must not make its answer end elsewhere than we believe. Lenient in one
 * thing: a status line may lack the space before an empty reason, as some servers write it.
 */
import { connectionOptions, type Field, parseFields, persists } from './fields.ts'
import { type Framing, responseFraming } from './framing.ts'
import { confirmResponse } from './parser.ts'
import { refuse } from './refuse.ts'

export interface StatusLine {
  version: '1.0' | '1.1'
  /** 100 to 999: RFC 9110 section 15 has clients read 600 and up as 5xx */
  status: number
  reason: string
}

export interface ResponseHead extends StatusLine {
  fields: Field[]
  /** none for answers to HEAD, 1xx, 204 and 304; until-close for 101, whose rest is raw */
  framing: Framing
  keepAlive: boolean
  /** the bytes as sent, last empty line included */
  raw: Buffer
}

/** Checks a status line, without its CRLF. Throws 400. */
export function parseStatusLine(line: string): StatusLine {
  const [, minor, status, reason = ''] = /^HTTP\/1\.([01]) ([1-9][0-9]{2})(?: (.*))?$/.exec(line) ?? []
  if (status === undefined)
    throw refuse('bad-request', 'HTTP/1.1, a status and a reason', line, 'RFC 9112 section 4')
  return { version: minor === '1' ? '1.1' : '1.0', status: Number(status), reason }
}

/** The whole head of an answer to a request of `method`. Throws 400, 501. */
export function parseResponse(raw: Buffer, method: string): ResponseHead {
  const text = raw.toString('latin1')
  const lineEnd = text.indexOf('\r\n')
  const { version, status, reason } = parseStatusLine(text.slice(0, lineEnd))
  const fields = parseFields(text, lineEnd + 2)
  confirmResponse(raw, { status, fields })
  const framing = responseFraming({ version, status, fields }, method)
  const keepAlive = framing.kind !== 'until-close' && persists(version, connectionOptions(fields))
  return { version, status, reason, fields, framing, keepAlive, raw }
}
