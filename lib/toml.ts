/** TOML (https://toml.io/en/v1.0.0) as we read it. The only importer of smol-toml. */
import { parse, type TomlError } from 'smol-toml'
import { TunnelError } from './errors.ts'

export type Table = Record<string, unknown>

/** The tables in a text. Throws `usage`, told `where` it stands; the message shows nothing of the text. */
export function parseToml(text: string, where: string): Table {
  try {
    // Names as they come are slices, and would keep the whole text in memory, with the secrets in it.
    return structuredClone(parse(text))
  } catch (error) {
    // Its message goes on with the lines around, and with them the secrets.
    const { line, column, message } = error as TomlError
    const mistake = /^Invalid TOML document: ([a-z :,-]+)\n/.exec(message)?.[1] ?? 'a mistake'
    throw new TunnelError(
      'usage',
      `expected TOML in ${where}, got at line ${line}, column ${column}: ${mistake}; see https://toml.io`,
    )
  }
}

/** Whether a value is a table. */
export function isTable(value: unknown): value is Table {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)
}

/** What a value is, without telling what it says: it might be a secret in the wrong place. */
export function kindOf(value: unknown): string {
  if (Array.isArray(value)) return 'a list'
  if (value instanceof Date) return 'a date'
  return typeof value === 'object' ? 'a table' : `a ${typeof value}`
}
