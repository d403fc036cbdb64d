/**
 * Text for a terminal: what it may hold, how wide it is, and how times and sizes are said. What came from far away is made
 * printable first, so that nobody there moves the cursor, or turns a line round.
 */

/** Control characters, invisible ones and lone surrogates, written as escapes. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`
  })
}

/** Two columns wide: east Asian scripts, and what is shown as an emoji (Unicode annex 11). */
const wide =
  /^(?:\p{Emoji_Presentation}|[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6\u{16fe0}-\u{18aff}\u{1b000}-\u{1b2ff}\u{1f200}-\u{1f2ff}\u{20000}-\u{3fffd}])/u
const narrow = /^[\x20-\x7e]*$/

function widthOfCharacter(character: string): number {
  if (/^\p{M}/u.test(character)) return 0
  return wide.test(character) ? 2 : 1
}

/** The columns that a printable text takes. */
export function widthOf(text: string): number {
  if (narrow.test(text)) return text.length
  let width = 0
  for (const character of text) width += widthOfCharacter(character)
  return width
}

/** As much of a text as so many columns have room for. */
function startOf(text: string, columns: number): string {
  let [start, width] = ['', 0]
  for (const character of text) {
    width += widthOfCharacter(character)
    if (width > columns) break
    start += character
  }
  return start
}

/** A text of at most so many columns; where something is left out an ellipsis says so. */
export function cutTo(text: string, columns: number): string {
  if (widthOf(text) <= columns) return text
  return columns > 0 ? `${startOf(text, columns - 1)}…` : ''
}

/** A text in rows of at most so many columns, broken between words if it can be; the last of `most` has all the rest. */
export function wrapTo(text: string, columns: number, most: number): string[] {
  const rows: string[] = []
  let rest = text
  while (rows.length < most - 1 && widthOf(rest) > columns) {
    const { length } = startOf(rest, columns)
    const space = rest.lastIndexOf(' ', length)
    const end = space > 0 ? space : Math.max(1, length)
    rows.push(rest.slice(0, end))
    rest = rest.slice(end).trimStart()
  }
  return [...rows, rest]
}

/** A text of just so many columns, filled up with spaces at its end. */
export function padTo(text: string, columns: number): string {
  const cut = cutTo(text, columns)
  return cut + ' '.repeat(Math.max(0, columns - widthOf(cut)))
}

/** Such as `0.4 ms`, `12 ms`, `1.5 s` and `3 min`. */
export function saidMs(ms: number): string {
  if (ms < 9.95) return `${ms.toFixed(1)} ms`
  if (ms < 999.5) return `${ms.toFixed(0)} ms`
  if (ms < 99_950) return `${(ms / 1000).toFixed(1)} s`
  if (ms < 5_970_000) return `${(ms / 60_000).toFixed(0)} min`
  return `${(ms / 3_600_000).toFixed(0)} h`
}

/** Such as `512 B`, `1.5 kB` and `12 MB`. */
export function saidBytes(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`
  const units = ['kB', 'MB', 'GB', 'TB']
  const power = Math.min(units.length, Math.floor(Math.log10(bytes + bytes / 2000) / 3))
  const amount = bytes / 1000 ** power
  return `${amount.toFixed(amount < 9.95 ? 1 : 0)} ${units[power - 1]}`
}

/** The time of day here, such as `14:05:59`. */
export function saidTime(at: Date): string {
  return [at.getHours(), at.getMinutes(), at.getSeconds()].map((n) => String(n).padStart(2, '0')).join(':')
}
