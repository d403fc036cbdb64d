/**
 * The words of a refusal: what was expected, what came, and the section that says so. What came is a
 * stranger's bytes, so it is cut short and every byte that is not visible ASCII is escaped.
 */
import { type ErrorCode, TunnelError } from '../errors.ts'

const shownCharacters = 60

/** The error to throw. `rfc` is the rule, as in 'RFC 9112 section 5.1'. */
export function refuse(code: ErrorCode, expected: string, came: string, rfc: string): TunnelError {
  return new TunnelError(code, `expected ${expected}, came ${show(came)} (${rfc})`)
}

/** A text in quotes that is safe in a log line and a terminal. */
export function show(text: string): string {
  const cut = text.length > shownCharacters ? `${text.slice(0, shownCharacters)}...` : text
  return `'${cut.replace(/[^\x20-\x7e]|['\\]/g, escape)}'`
}

function escape(character: string): string {
  return `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`
}
