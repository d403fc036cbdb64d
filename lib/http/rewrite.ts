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
  let kept = text.slice(0, start)
  for (const { name, value } of head.fields) {
    const end = text.indexOf('\r\n', start) + 2
    if (!drop(name.toLowerCase(), value)) kept += text.slice(start, end)
    start = end
  }
  return Buffer.from(`${kept}${add.map(fieldLine).join('')}\r\n`, 'latin1')
}

/** Beyond latin1 a character would lose its high byte, and U+560A become a line feed. */
function fieldLine([name, value]: readonly [string, string]): string {
  const line = `${name}: ${value}`
  if (!/^[\t\x20-\x7e\x80-\xff]*$/.test(line)) throw new TypeError(`not one line of latin1: ${name}`)
  return `${line}\r\n`
}
