/**
 * Where options are given, and what counts: the command line, then the environment, then the config file, then the
 * default. A list is taken from one of them as a whole.
 */
import { usage } from './mistakes.ts'
import { keyOf, type Name, type Row, rowOf, type Settings } from './table.ts'
import { onOrOff } from './values.ts'

/** The secrets of the environment; the key is that of the owner of names. They have no flags, where others could read them. */
export type Secret = 'token' | 'owner-key'

/** What was given in one place, as texts. */
export interface Layer {
  texts: Map<Name | Secret, string[]>
  /** An option as it is called there, for messages. */
  called: (name: Name | Secret) => string
  /** These are variables: of what else is repeated they may have several, a line each. */
  isVariables?: true
}

/** What counts of an option. */
export interface Given {
  texts: string[]
  layer: Layer
  /** How it is called there. */
  where: string
  /** The place: 0 is the first of the layers. */
  rank: number
}

export type AllGiven = Map<Name | Secret, Given>

/** Two ways to say one thing: where a higher layer says it the one way, a lower one may not say it the other way. */
const rivals: readonly (readonly [Name | Secret, Name])[] = [
  ['token', 'token-file'],
  ['basic-auth', 'basic-auth-file'],
]

/** Lays the layers over each other, the first on top. Throws `usage` where one says a thing in two ways. */
export function merge(layers: readonly Layer[]): AllGiven {
  const all: AllGiven = new Map()
  for (const [rank, layer] of layers.entries()) {
    for (const [name, texts] of layer.texts) {
      if (all.has(name) || rivalsOf(name).some((other) => isAbove(all.get(other), rank))) continue
      all.set(name, { texts, layer, rank, where: layer.called(name) })
    }
  }
  for (const [one, other] of rivals) {
    const [first, second] = [all.get(one)?.where, all.get(other)?.where]
    if (first !== undefined && second !== undefined)
      throw usage(`expected ${first} or ${second}, got both; leave one out`)
  }
  return all
}

function rivalsOf(name: Name | Secret): (Name | Secret)[] {
  return rivals.flatMap(([one, other]) => (name === one ? [other] : name === other ? [one] : []))
}

function isAbove(given: Given | undefined, rank: number): boolean {
  return given !== undefined && given.rank < rank
}

/** The values of these options. Throws `usage`. */
export function settle<N extends Name>(names: readonly N[], all: AllGiven): Settings<N> {
  const values = names.map((name) => [keyOf(name), valueOf(name, all.get(name))] as const)
  // What was not given is absent, so that it hides no default when spread.
  return Object.fromEntries(values.filter(([, value]) => value !== undefined)) as Settings<N>
}

function valueOf(name: Name, given: Given | undefined): unknown {
  const row: Row = rowOf(name)
  if (given === undefined) return row.value === undefined ? row.default === 'true' : defaultOf(name, row)
  const { texts, where } = given
  if (row.value === undefined) return onOrOff(texts.at(-1) ?? '', where)
  if (texts.includes('')) throw usage(`expected ${row.value} for ${where}, got no value`)
  if (row.separator !== undefined) return listOf(row, row.separator, given)
  if (texts.length > 1) throw usage(`expected ${where} once, got it ${texts.length} times`)
  return parsed(row, texts[0] ?? '', where)
}

function defaultOf(name: Name, row: Row): unknown {
  return row.default === undefined ? undefined : parsed(row, row.default, name)
}

function parsed(row: Row, text: string, where: string): unknown {
  return row.parse === undefined ? text : row.parse(text, where)
}

function listOf(row: Row, separator: string, { texts, where, layer }: Given): unknown[] {
  const isWhole = separator === '\n' && layer.isVariables !== true
  const pieces = isWhole ? texts : texts.flatMap((text) => text.split(separator))
  const parts = pieces.map((part) => part.trim())
  const items = parts.filter((part) => part !== '')
  // An allow-list of nothing but commas comes from a variable that was not set, and would let everyone in.
  if (items.length === 0 && texts.length > 0) throw usage(`expected ${row.value} for ${where}, got no value`)
  return items.map((item) => parsed(row, item, where))
}
