/**
 * The words of the command line. The only importer of minimist, which joins options with their values; what it would
 * read otherwise than it was meant (-sNAME, `--wait true`, --constructor) is spelled out for it or refused before.
 */
import minimist from 'minimist'
import type { Layer } from './layers.ts'
import { nextStep, quoted, unknown, usage } from './mistakes.ts'
import { type Name, type Row, rows } from './table.ts'

export interface Words {
  flags: Layer
  /** The words that are no options, and no values of any. */
  plain: string[]
  /** What follows `--`. */
  command?: string[]
}

/** Reads the words. Throws `usage`. */
export function readWords(argv: readonly string[]): Words {
  const end = argv.indexOf('--')
  const own = end === -1 ? argv : argv.slice(0, end)
  const names = [...rows.keys()]
  const found = minimist(
    own.map((word, index) => spell(word, own[index + 1])),
    { string: ['_', ...names] },
  )
  const given = names.filter((name) => Object.hasOwn(found, name)) as Name[]
  const texts = new Map(given.map((name) => [name, [found[name]].flat() as string[]]))
  const flags: Layer = { texts, called: (name) => `--${name}` }
  return { flags, plain: found._, ...(end !== -1 && { command: commandOf(argv.slice(end + 1)) }) }
}

function commandOf(words: string[]): string[] {
  if (words[0] !== undefined && words[0] !== '') return words
  throw usage('expected a command after --, got none; such as: groktunnel 3000 -- npm test')
}

/** A word as minimist takes it. No value begins with a dash unless after =, so each word that does is an option. */
function spell(word: string, next: string | undefined): string {
  if (!word.startsWith('-') || word === '-') return word
  const long = lengthen(word)
  const [, no, name = '', value] = /^--(no-(?=.))?([^=]*)(?:=([^]*))?$/.exec(long) ?? []
  const row = rows.get(name)
  if (row === undefined) throw unknownFlag(word)
  if (row.value === undefined && value !== undefined) throw valued(name, row, value)
  if (row.value === undefined) return `--${name}=${no === undefined}`
  if (no !== undefined)
    throw usage(`expected --${name} ${row.value}, got --no-${name}; only switches have a --no-`)
  if (value === undefined) checkValue(name, row, next)
  return long
}

/** -s, -sNAME and -s=NAME are --subdomain, which -subdomain is not. */
function lengthen(word: string): string {
  const [, letter, value] = /^-([^-])=?([^]*)$/.exec(word) ?? []
  if (letter === undefined || rows.has(word.slice(1).replace(/=[^]*/, ''))) return word
  const name = [...rows].find(([, { short }]) => short === letter)?.[0]
  if (name === undefined) return word
  return value === '' && !word.endsWith('=') ? `--${name}` : `--${name}=${value}`
}

function valued(name: string, { isRequest }: Row, value: string): Error {
  const step = isRequest ? `write --${name} ${quoted(value)}` : `--no-${name} switches it off`
  return usage(`expected --${name} without =, got ${quoted(value)}; ${step}`)
}

function checkValue(name: string, { value }: Row, next: string | undefined): void {
  if (next === undefined) throw usage(`expected --${name} ${value}, got no value; see groktunnel --help`)
  if (next.startsWith('-'))
    throw usage(`expected --${name} ${value}, got ${quoted(next)}; a value that begins with - needs =`)
}

function unknownFlag(word: string): Error {
  const flag = word.replace(/=[^]*/, '')
  if (/^--?no-/.test(flag)) {
    const switches = [...rows].flatMap(([name, { value }]) => (value === undefined ? [`--no-${name}`] : []))
    return unknown('option', flag, switches)
  }
  const known = [...rows.keys()].map((name) => `--${name}`)
  return usage(`unknown option ${quoted(flag)}; ${nextStep(flag.replace(/^-+/, '--'), known)}`)
}
