/** What a user is told about a mistake, with the nearest word that would be right. The only importer of fastest-levenshtein. */
import { closest, distance } from 'fastest-levenshtein'
import { TunnelError } from '../errors.ts'

/** The error of a bad command line, variable or config file. */
export function usage(message: string): TunnelError {
  return new TunnelError('usage', message)
}

/** A text of the user's, as messages show it: on one line, and quoted where it needs to be. */
export function quoted(text: string): string {
  return /^[\x21-\x7e]{1,100}$/.test(text) ? text : JSON.stringify(text.slice(0, 100))
}

/** A word that nobody knows, such as an `option`, where these are known. */
export function unknown(what: string, word: string, known: readonly string[]): TunnelError {
  return usage(`unknown ${what} ${quoted(word)}; ${nextStep(word, known)}`)
}

/** `did you mean X?`, or where to look. */
export function nextStep(word: string, known: readonly string[]): string {
  const near = nearest(word, known)
  return near === undefined ? 'see groktunnel --help' : `did you mean ${near}?`
}

/** What the word is the beginning of, or differs from by a slip or two. */
function nearest(word: string, known: readonly string[]): string | undefined {
  const letters = word.replace(/^(-+|GROKTUNNEL_)/, '').length
  const longer = letters < 2 ? undefined : known.find((other) => other.startsWith(word))
  if (longer !== undefined || known.length === 0) return longer
  const near = closest(word, known)
  const slips = letters < 3 ? 1 : Math.max(2, Math.ceil(letters / 3))
  return distance(word, near) <= slips ? near : undefined
}
