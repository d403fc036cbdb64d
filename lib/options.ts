/**
 * What the program is asked for: by the command line, the environment and the config file, whose options are one table
 * (lib/options/table.ts). Here they come together; nothing is started, and what is local is read by lib/target.ts.
 */
import { completionScript } from './options/completion.ts'
import { type Config, readConfig } from './options/config.ts'
import { readEnvironment, type State, stateOf } from './options/environment.ts'
import { type Help, helpText } from './options/help.ts'
import { type AllGiven, merge, settle } from './options/layers.ts'
import { usage } from './options/mistakes.ts'
import {
  type Name,
  namesOf,
  rows,
  type RequestName,
  type Settings,
  type Side,
  type TunnelName,
} from './options/table.ts'
import { readTargets, tunnelOptions, type TunnelOptions, type TunnelPlan } from './options/targets.ts'
import { port } from './options/values.ts'
import { readWords, type Words } from './options/words.ts'
import { version } from './version.ts'

export type { TunnelOptions, TunnelPlan } from './options/targets.ts'

/** What to do at once, instead of being server or client. */
export interface Request {
  /** Show the help of that name. */
  help?: Help
  version?: boolean
  /** Print the completion script of that shell. */
  completion?: NonNullable<Settings['completion']>
  /** End the detached clients of these names; all where there is none. */
  stop?: string[]
}

type Setting = Exclude<Name, RequestName | TunnelName>

export type Options = Omit<Settings<Setting>, 'host'> &
  TunnelOptions &
  State &
  Request & {
    host: string
    /** What to make public: a client has some, a server none. */
    targets: TunnelPlan[]
    /** To run while the tunnels are up: what follows `--`. */
    command?: string[]
    token?: string
    /** Proves who owns a name (GROKTUNNEL_KEY). */
    ownerKey?: string
  }

/** A client may be told to use no proxy. */
export type ClientOptions = Omit<Options, 'proxy'> & { proxy?: string | false | undefined }

export interface Surroundings {
  env?: NodeJS.ProcessEnv
  /** The working folder. */
  folder?: string
}

const requests = namesOf((row) => row.isRequest === true) as RequestName[]
const settings = namesOf((row) => row.isRequest !== true && row.perTunnel !== true) as Setting[]

/** Reads the command line and all that counts beside it. Throws `usage`. */
export function parseOptions(argv: readonly string[], surroundings: Surroundings = {}): Options {
  const { env = process.env } = surroundings
  const words = readWords(argv)
  const request = requestIn(words)
  // A broken config file must not keep anyone from --help.
  if (request !== undefined) return { ...optionsFrom(merge([words.flags])), ...stateOf(env), ...request }
  const { folder = workingFolder() } = surroundings
  const layers = [words.flags, readEnvironment(env)] as const
  const config = readConfig(settle(['config'], merge(layers)).configFile, folder)
  const targets = readTargets(words.plain, { layers, config, folder })
  const all = merge(config === undefined ? layers : [...layers, config.layer])
  const side = settle(['demo'], all).demo ? undefined : targets.length > 0 ? 'client' : 'server'
  if (side !== undefined) checkSide(words, side)
  const options = optionsFrom(ofSide(all, side))
  if (side === 'client' && options.port === 0)
    throw usage('expected --port to be the server’s, got 0; see its ready line')
  if (options.detach && words.command !== undefined)
    throw usage(
      `expected ${all.get('detach')?.where} or a command after --, got both: the command ends with the client; leave one out`,
    )
  const state = stateOf(env, side === 'server' ? options : undefined)
  return { ...options, ...state, ...partsOf(words, config), targets }
}

function workingFolder(): string {
  try {
    return process.cwd()
  } catch {
    throw usage('expected a working folder, got one that was removed; go to another')
  }
}

function partsOf({ command }: Words, config: Config | undefined): Pick<Options, 'command' | 'configFile'> {
  return { ...(command && { command }), ...(config && { configFile: config.file }) }
}

/** What a flag says is meant; options of the other side may well stand in the environment or in a file for both. */
function checkSide({ flags, command }: Words, side: Side): void {
  const strange = [...flags.texts.keys()].find((name) => ![undefined, side].includes(rows.get(name)?.side))
  if (strange !== undefined && side === 'client')
    throw usage(
      `--${strange} is an option of the server, which is started without ${TARGET}; see groktunnel --help server`,
    )
  if (strange !== undefined)
    throw usage(`--${strange} is an option of the client, which needs ${TARGET}; such as: groktunnel 3000`)
  if (command !== undefined && side === 'server')
    throw usage(
      `a command after -- is for the client, which needs ${TARGET}; such as: groktunnel 3000 -- npm test`,
    )
}

const TARGET = 'a local service'

function ofSide(all: AllGiven, side: Side | undefined): AllGiven {
  const isOurs = (of: Side | undefined) => of === undefined || side === undefined || of === side
  return new Map([...all].filter(([name]) => isOurs(rows.get(name)?.side)))
}

function requestIn({ flags, plain }: Words): Request | undefined {
  const { help, version, stop, completion } = settle(requests, merge([flags]))
  if (help) return { help: plain.includes('all') ? 'all' : plain.includes('server') ? 'server' : 'client' }
  if (version) return { version }
  if (completion !== undefined) return { completion }
  return stop ? { stop: plain } : undefined
}

/** The text that was asked for, which is all there is to do; else undefined. */
export function requestedText(options: Options): string | undefined {
  if (options.help !== undefined) return helpText(options.help)
  if (options.version) return `${version}\n`
  return options.completion && completionScript(options.completion)
}

/** What they come to, with the defaults. */
function optionsFrom(all: AllGiven): Options {
  const { host: server, ...rest } = settle(settings, all)
  const options = { ...rest, ...tunnelOptions(all), ...serverFrom(server, all, rest) }
  if (options.proxyProtocolIn && options.trustProxy === undefined)
    throw usage('expected --trust-proxy with --proxy-protocol-in, to know who may send it')
  const token = all.get('token')?.texts[0]
  const ownerKey = all.get('owner-key')?.texts[0]
  return {
    ...options,
    ...(token !== undefined && { token }),
    ...(ownerKey !== undefined && { ownerKey }),
    targets: [],
  }
}

/** The host may be a URL, which then says port and scheme as well, unless these were given where it was, or above. */
function serverFrom(
  { host, port: ownPort, tls: ownTls }: Settings['host'],
  all: AllGiven,
  given: { port: number; tls: boolean; publicUrl?: string },
) {
  const rankOf = (name: Name) => all.get(name)?.rank ?? Infinity
  const counts = (name: Name) => rankOf('host') < rankOf(name)
  const where = all.get('host')?.where ?? ''
  return {
    host: all.has('host') ? host : (hostIn(given.publicUrl) ?? host),
    port: ownPort !== undefined && counts('port') ? port(ownPort, where) : given.port,
    tls: ownTls !== undefined && counts('tls') ? ownTls : given.tls,
  }
}

/** A public URL names the host too; what is bad about one is said where it is used. */
function hostIn(publicUrl = ''): string | undefined {
  return URL.canParse(publicUrl) ? new URL(publicUrl).hostname : undefined
}
