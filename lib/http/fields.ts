/**
 * Field lines of a head or a trailer section, checked and cut (RFC 9110 section 5, RFC 9112 section 5). The
 * section has already been found free of controls, bare CR and bare LF.
 *
 *   obs-fold: a line that begins with a space          400   RFC 9112 section 5.2
 *   no colon                                           400   RFC 9112 section 5
 *   an empty name, a space or high byte in the name    400   RFC 9110 section 5.1, RFC 9112 section 5.1
 *   a tab round the value of Host, Content-Length or Transfer-Encoding   400   RFC 9112 section 11.2
 */
import { refuse } from './refuse.ts'

export interface Field {
  /** as sent */
  name: string
  /** latin1, without the white space round it */
  value: string
}

const HTAB = 0x09
const SP = 0x20
const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/

/** Says whether a text is a token (RFC 9110 section 5.6.2). */
export function isToken(text: string): boolean {
  return token.test(text)
}

/** The fields of a section's text whose first field line begins at `at`. Throws 400. */
export function parseFields(text: string, at: number): Field[] {
  const fields: Field[] = []
  for (let start = at; ;) {
    const end = text.indexOf('\r\n', start)
    if (end === start) return fields
    fields.push(parseField(text, start, end))
    start = end + 2
  }
}

function parseField(text: string, start: number, end: number): Field {
  const colon = text.indexOf(':', start)
  const name = text.slice(start, colon)
  if (colon === -1 || colon > end || !token.test(name)) throw badField(text.slice(start, end))
  const value = trim(text, colon + 1, end)
  const usual = text.charCodeAt(colon + 1) === SP && value.length === end - colon - 2
  if (!usual) checkPadding(name, text.slice(colon, end))
  return { name, value }
}

/** Node reads "chunked" with a tab behind it as another coding: what decides a message has no tabs round it. */
function checkPadding(name: string, padded: string): void {
  if (padded.includes('\t') && /^(?:host|content-length|transfer-encoding)$/i.test(name))
    throw refuse('bad-request', 'no tab round the value', name, 'RFC 9112 section 11.2')
}

/** By hand, because a pattern that trims both ends of 64 KiB of spaces is easily quadratic. */
function trim(text: string, start: number, end: number): string {
  while (start < end && isSpace(text.charCodeAt(start))) start++
  while (start < end && isSpace(text.charCodeAt(end - 1))) end--
  return text.slice(start, end)
}

function isSpace(code: number): boolean {
  return code === SP || code === HTAB
}

function badField(line: string): Error {
  if (isSpace(line.charCodeAt(0)))
    return refuse('bad-request', 'no line folding', line, 'RFC 9112 section 5.2')
  if (!line.includes(':')) return refuse('bad-request', 'name: value', line, 'RFC 9112 section 5')
  return refuse('bad-request', 'a token right before the colon', line, 'RFC 9112 section 5.1')
}

/** All values of the fields with this lower-case name, in order. */
export function valuesOf(fields: readonly Field[], name: string): string[] {
  const values: string[] = []
  for (const field of fields) {
    if (field.name.length === name.length && field.name.toLowerCase() === name) values.push(field.value)
  }
  return values
}

/** The lower-case options of Connection (RFC 9110 section 7.6.1). */
export function connectionOptions(fields: readonly Field[]): string[] {
  const values = valuesOf(fields, 'connection')
  const [only = ''] = values
  if (values.length <= 1 && !only.includes(',')) return only === '' ? [] : [only.toLowerCase()]
  return values.flatMap((value) => value.split(',')).map((option) => option.trim().toLowerCase())
}

/** Whether the connection lives on after the message, as far as its head says (RFC 9112 section 9.3). */
export function persists(version: '1.0' | '1.1', options: readonly string[]): boolean {
  if (options.includes('close')) return false
  return version === '1.1' || options.includes('keep-alive')
}
