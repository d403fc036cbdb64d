/**
 * The config file, in TOML. Keys at its top are options by their flags; a table for each tunnel says what is local, and
 * options for it alone. Paths are meant from the folder that the file is in.
 *
 *     host = "https://tunnel.example.com"
 *     [tunnels.web]
 *     local = 3000                  # or "localhost:3000", "unix:app.sock", "./dist", …
 *     host-header = "rewrite"
 */
import { existsSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { readText, shown } from '../text-file.ts'
import { isTable, kindOf, parseToml, type Table } from '../toml.ts'
import type { Layer } from './layers.ts'
import { unknown, usage } from './mistakes.ts'
import { type Name, namesOf, type Row, rows } from './table.ts'

export interface TunnelConfig {
  local: string
  /** Its own options. */
  layer: Layer
}

export interface Config {
  /** As messages show it. */
  file: string
  layer: Layer
  tunnels: ReadonlyMap<string, TunnelConfig>
}

const USUAL = 'groktunnel.toml'
const settings = namesOf((row) => row.isRequest !== true)

/** Reads `file`, or the groktunnel.toml of the folder if it has one. Throws `usage`. */
export function readConfig(file: string | undefined, folder: string): Config | undefined {
  const path = resolve(folder, file ?? USUAL)
  if (file === undefined && !existsSync(path)) return undefined
  return configOf(
    parseToml(readText(path, 'the config file'), shown(file ?? USUAL)),
    file ?? USUAL,
    dirname(path),
  )
}

function configOf({ tunnels = {}, ...options }: Table, file: string, folder: string): Config {
  if (!isTable(tunnels))
    throw usage(`expected tables such as [tunnels.web] in ${file}, got ${kindOf(tunnels)}`)
  const known = [...settings.filter((name) => name !== 'config'), 'tunnels']
  const place = { where: file, folder, known }
  const entries = Object.entries(tunnels).map(
    ([name, value]) => [name, tunnelOf(name, value, place)] as const,
  )
  return { file, layer: layerOf(options, place), tunnels: new Map(entries) }
}

interface Place {
  where: string
  folder: string
  known: readonly string[]
}

function tunnelOf(name: string, value: unknown, { where: file, folder }: Place): TunnelConfig {
  const where = `[tunnels.${name}] of ${file}`
  if (!isTable(value)) throw usage(`expected a table ${where}, got ${kindOf(value)}`)
  const { local, ...options } = value
  const known = [...namesOf((row) => row.perTunnel === true), 'local']
  const layer = layerOf(options, { where, folder, known })
  if (typeof local !== 'number' && typeof local !== 'string')
    throw usage(
      `expected local = 3000, or such, in ${where}, got ${local === undefined ? 'none' : kindOf(local)}`,
    )
  if (!layer.texts.has('subdomain')) layer.texts.set('subdomain', [name])
  return { local: fromFolder(String(local), folder), layer }
}

/** Folders and sockets may be given by a path from where the file is. */
function fromFolder(local: string, folder: string): string {
  const [, scheme = '', path] = /^(unix:)?(\.\.?(?:\/.*)?|[^:/]+\/.*|(?<=unix:)[^/].*)$/is.exec(local) ?? []
  if (path === undefined) return local
  return `${scheme}${resolve(folder, path)}`
}

function layerOf(options: Table, { where, folder, known }: Place): Layer {
  const texts = Object.entries(options).map(([key, value]) => {
    const row = rows.get(key)
    if (row === undefined || !known.includes(key)) throw misplaced(key, { where, folder, known })
    return [key as Name, textsOf(value, row, { key, where, folder })] as const
  })
  return { texts: new Map(texts), called: (name) => `${name} in ${where}` }
}

function misplaced(key: string, { where, known }: Place): Error {
  const isFlag = rows.get(key)?.isRequest === true || key === 'config'
  if (isFlag) return usage(`expected --${key} on the command line, got ${key} in ${where}; take it out`)
  if (rows.has(key)) return usage(`expected ${key} at the top of the file, got it in ${where}`)
  return unknown(`key in ${where}:`, key, [...known, ...settings])
}

function textsOf(
  value: unknown,
  row: Row,
  { key, where, folder }: { key: string; where: string; folder: string },
) {
  const values: unknown[] = row.separator !== undefined && Array.isArray(value) ? value : [value]
  return values.map((value) => {
    const fits = row.value === undefined ? ['boolean'] : ['string', 'number']
    if (!fits.includes(typeof value))
      throw usage(`expected ${key} in ${where} to be ${expected(row)}, got ${kindOf(value)}`)
    const text = String(value)
    return row.value === 'FILE' && text !== '' ? resolve(folder, text) : text
  })
}

function expected({ value, separator }: Row): string {
  if (value === undefined) return 'true or false'
  return separator === undefined ? `one ${value}` : `strings`
}
