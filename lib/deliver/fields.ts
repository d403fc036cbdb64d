/**
 * The fields of a head as node:http gives and takes them. A message is never made of node's `headers`, which joins some
 * repeated fields and drops others, but of its raw fields: each line stays a line, with its name as sent.
 */
import { connectionOptions, type Field } from '../http/fields.ts'

/** The fields in node's raw list of names and values. */
export function fieldsOf(raw: readonly string[]): Field[] {
  const fields: Field[] = []
  for (let at = 0; at < raw.length; at += 2) fields.push({ name: raw[at] ?? '', value: raw[at + 1] ?? '' })
  return fields
}

/** What node takes for headers: the fields of one name, however it is written, are one list, each item a line. */
export function headersOf(fields: readonly Field[]): Record<string, string | string[]> {
  const names = Object.create(null) as Record<string, string>
  const headers = Object.create(null) as Record<string, string | string[]>
  for (const { name, value } of fields) {
    const first = (names[name.toLowerCase()] ??= name)
    const before = headers[first]
    headers[first] = before === undefined ? value : [before, value].flat()
  }
  return headers
}

/** The lines of a head that we write ourselves. */
export function linesOf(fields: readonly Field[]): string {
  return fields.map(({ name, value }) => `${name}: ${value}\r\n`).join('')
}

/** The value of the first field with this lower-case name. */
export function valueOf(fields: readonly Field[], name: string): string | undefined {
  return fields.find((field) => field.name.toLowerCase() === name)?.value
}

/** The fields without those of these lower-case names. */
export function without(fields: readonly Field[], names: ReadonlySet<string>): Field[] {
  return fields.filter(({ name }) => !names.has(name.toLowerCase()))
}

/** TE stays, because trailers are passed on; so does Transfer-Encoding, by which the body is framed anew. */
const hopByHop = new Set(['connection', 'keep-alive', 'proxy-connection', 'upgrade'])

/** Without what was meant for one connection only (RFC 9110 section 7.6.1). */
export function endToEnd(fields: readonly Field[]): Field[] {
  const named = connectionOptions(fields).filter((option) => option !== 'te')
  return without(fields, new Set([...hopByHop, ...named]))
}
