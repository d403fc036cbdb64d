/**
 * A head with some fields taken out and others put in, everything else byte for byte as it came: what the
 * reader accepted is what is forwarded, never a new text made of what was parsed.
 */
import type { Field } from './fields.ts'

/**
 * The head's bytes without the fields that `drop` picks (by lower-case name) and with `add` at the end.
 * Throws a TypeError when an added field would not be one line.
 */
export function rewriteHead(
  head: { raw: Buffer; fields: readonly Field[] },
  drop: (lowerName: string, value: string) => boolean,
  add: readonly (readonly [name: string, value: string])[],
): Buffer {
  const text = head.raw.toString('latin1')
  let start = text.indexOf('\r\n') + 2
  let lines = text.slice(0, start)
  for (const { name, value } of head.fields) {
    const end = text.indexOf('\r\n', start) + 2
    if (!drop(name.toLowerCase(), value)) lines += text.slice(start, end)
    start = end
  }
  for (const [name, value] of add) {
    if (!oneLine.test(name) || !oneLine.test(value)) throw new TypeError(`not one line of latin1: ${name}`)
    lines += `${name}: ${value}\r\n`
  }
  return Buffer.from(`${lines}\r\n`, 'latin1')
}

/** Beyond latin1 a character would lose its high byte, and U+560A become a line feed. */
const oneLine = /^[\t\x20-\x7e\x80-\xff]*$/
