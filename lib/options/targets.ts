/**
 * What is to be made public: the words that are no options. They are cut into names and local services, which
 * lib/target.ts reads; `start` takes them from the config file.
 */
import { statSync } from 'node:fs'
import { resolve } from 'node:path'
import { readText } from '../text-file.ts'
import type { Config } from './config.ts'
import { type AllGiven, type Layer, merge, settle } from './layers.ts'
import { nextStep, quoted, unknown, usage } from './mistakes.ts'
import { namesOf, type Settings, type TunnelName } from './table.ts'

/** Options of one tunnel; all that count for it are there. */
export type TunnelOptions = Omit<Settings<TunnelName>, 'basicAuthFile'>

export interface TunnelPlan {
  /** As NAME=TARGET or the config file calls it; the name to ask for is in the options. */
  name?: string
  /** The local service, as text. */
  local: string
  options: TunnelOptions
}

export interface Place {
  /** The command line, then the environment. */
  layers: readonly [Layer, Layer]
  config: Config | undefined
  /** The working folder. */
  folder: string
}

const perTunnel = namesOf((row) => row.perTunnel === true) as TunnelName[]

/** The targets in these words, with their options. Throws `usage`. */
export function readTargets(words: readonly string[], place: Place): TunnelPlan[] {
  const drafts =
    words[0] === 'start' ? draftsOf(words.slice(1), place) : words.map((word) => draft(word, place))
  checkNames(drafts, place.layers[0])
  return drafts.map(({ name, local, given }) => {
    return { ...(name !== undefined && { name }), local, options: tunnelOptions(given) }
  })
}

/** The options of a tunnel for which these were given. Throws `usage`. */
export function tunnelOptions(given: AllGiven): TunnelOptions {
  const { basicAuthFile, ...options } = settle(perTunnel, given)
  return basicAuthFile === undefined
    ? options
    : { ...options, basicAuth: readText(basicAuthFile, 'basic-auth-file').trim() }
}

interface Draft {
  name?: string
  local: string
  given: AllGiven
}

/** [NAME=]TARGET. A name counts like a flag. */
function draft(word: string, { layers, config, folder }: Place): Draft {
  const [, name, local = word] = /^([^=:/.[]+)=(.*)$/s.exec(word) ?? []
  if (!isLocal(local)) throw mistaken(word, local, { layers, config, folder })
  const shared = config === undefined ? layers : [...layers, config.layer]
  if (name === undefined) return { local, given: merge(shared) }
  const own: Layer = { texts: new Map([['subdomain', [name]]]), called: () => `${name}=${local}` }
  return { name, local, given: merge([own, ...shared]) }
}

/** Whether it looks like a local service at all, and not like a word. */
function isLocal(text: string): boolean {
  return /^:?\d+$|[/:]|^\.{1,2}$/.test(text)
}

function mistaken(word: string, local: string, { config, folder }: Place): Error {
  const expected = 'expected a local service such as 3000, host:3000, https://host, unix:/path or ./folder'
  const step = config?.tunnels.has(local)
    ? `did you mean groktunnel start ${quoted(local)}?`
    : local !== '' && isFolder(resolve(folder, local))
      ? `did you mean ./${quoted(local)}?`
      : nextStep(local, ['start'])
  return usage(`${expected}, got ${quoted(word)}; ${step}`)
}

function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory()
  } catch {
    return false
  }
}

/** Those of the config file that are named, or all. */
function draftsOf(names: readonly string[], { layers, config }: Place): Draft[] {
  if (config === undefined || config.tunnels.size === 0)
    throw usage(
      `expected tables such as [tunnels.web] in ${config?.file ?? 'groktunnel.toml'}, got ${config ? 'none' : 'no such file'}`,
    )
  const all = [...config.tunnels.keys()]
  return (names.length === 0 ? all : names).map((name) => {
    const tunnel = config.tunnels.get(name)
    if (tunnel === undefined) throw unknown(`tunnel of ${config.file}:`, name, all)
    return { name, local: tunnel.local, given: merge([...layers, tunnel.layer, config.layer]) }
  })
}

/** No two may ask for one name; and none that was given may go unheard. */
function checkNames(drafts: readonly Draft[], flags: Layer): void {
  const names = drafts.flatMap(({ given }) => given.get('subdomain')?.texts.at(-1)?.toLowerCase() ?? [])
  const twice = names.find((name, index) => names.indexOf(name) !== index)
  if (twice !== undefined)
    throw usage(`expected a name for each target, got ${quoted(twice)} for several; write web=3000 api=8080`)
  const isHeard = drafts.some(({ given }) => given.get('subdomain')?.layer === flags)
  if (flags.texts.has('subdomain') && drafts.length > 0 && !isHeard)
    throw usage('expected --subdomain or NAME=TARGET, got both; leave one out')
}
