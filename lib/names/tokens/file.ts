/**
 * The file of many tokens, in TOML: a table for each holder. Whatever is not exactly as expected is refused, since a
 * misspelt limit or pattern would silently be none.
 *
 *     [alice]
 *     token = "..."                  # or sha256 = "64 hex digits": printf %s TOKEN | sha256sum
 *     names = ["alice", "alice-*"]   # names that only alice may register
 *     max-tunnels = 5
 *     max-connections = 100          # for each tunnel
 */
import { TunnelError } from '../../errors.ts'
import { readText, shown } from '../../text-file.ts'
import { isTable, kindOf, parseToml, type Table } from '../../toml.ts'
import { parsePattern, type Pattern } from './pattern.ts'
import { checkToken, hashOf } from './secret.ts'

export interface Entry {
  name: string
  /** Where it stands, for messages. */
  where: string
  hash: Buffer
  patterns: readonly Pattern[]
  maxTunnels?: number | undefined
  maxConnections?: number | undefined
}

const KEYS = ['token', 'sha256', 'names', 'max-tunnels', 'max-connections']

/** The holders in a file. Throws `usage`: what was expected, what came, in which file and entry. */
export function readEntries(file: string): Entry[] {
  const tables = Object.entries(parseToml(readText(file, 'tokens'), shown(file)))
  if (tables.length === 0) throw usage('a table such as [alice]', shown(file), 'an empty file')
  return tables.map(([name, value]) => entryOf(name, value, file))
}

function entryOf(name: string, value: unknown, file: string): Entry {
  const where = `[${shown(name).slice(1, -1)}] of ${shown(file)}`
  if (!isTable(value)) throw usage(`a table such as [alice] for ${shown(name)}`, shown(file), kindOf(value))
  if (!/^\P{C}{1,64}$/u.test(name)) throw usage('an entry name of 1 to 64 characters', shown(file), where)
  const unknown = Object.keys(value).find((key) => !KEYS.includes(key))
  if (unknown !== undefined) throw usage(`only ${KEYS.join(', ')}`, where, shown(unknown))
  return {
    name,
    where,
    hash: hashIn(value, where),
    patterns: patternsIn(value, where),
    maxTunnels: countIn(value, 'max-tunnels', where),
    maxConnections: countIn(value, 'max-connections', where),
  }
}

function hashIn({ token, sha256 }: Table, where: string): Buffer {
  if ((token === undefined) === (sha256 === undefined))
    throw usage('either token or sha256', where, token === undefined ? 'none' : 'both')
  if (typeof token === 'string') return hashOf(checkToken(token, where))
  if (token !== undefined) throw usage('token to be a string', where, kindOf(token))
  if (typeof sha256 === 'string' && /^[0-9a-f]{64}$/i.test(sha256)) return Buffer.from(sha256, 'hex')
  throw usage('sha256 to be 64 hex digits', where, kindOf(sha256))
}

function patternsIn({ names = [] }: Table, where: string): Pattern[] {
  if (!Array.isArray(names)) throw usage('names to be a list', where, kindOf(names))
  return names.map((name: unknown) => {
    if (typeof name !== 'string') throw usage('names to be strings', where, kindOf(name))
    const pattern = parsePattern(name)
    if (pattern !== undefined) return pattern
    throw usage('names of letters, digits, inner hyphens and *', where, shown(name))
  })
}

function countIn(table: Table, key: string, where: string): number | undefined {
  const count = table[key]
  if (count === undefined) return undefined
  if (typeof count === 'number' && Number.isSafeInteger(count) && count >= 1) return count
  const got = typeof count === 'number' ? String(count) : kindOf(count)
  throw usage(`${key} to be a whole number from 1 on`, where, got)
}

function usage(expected: string, where: string, got: string): TunnelError {
  return new TunnelError('usage', `expected ${expected} in ${where}, got ${got}`)
}
