/**
 * The command line. One table: what is parsed, what --help prints and what the README says come from it. The only
 * importer of minimist.
 */
import minimist from 'minimist'
import { TunnelError } from './errors.ts'

interface Option {
  name: string
  short?: string
  /** what its value is called; an option without one is a switch */
  value?: string
  default?: string
  help: string
}

export const optionTable: readonly Option[] = [
  { name: 'host', short: 'h', value: 'HOST', default: 'localhost', help: 'the server’s own host name' },
  { name: 'port', short: 'p', value: 'PORT', default: '9999', help: 'the server’s port' },
  {
    name: 'bind',
    short: 'b',
    value: 'ADDRESS',
    default: '127.0.0.1',
    help: 'the address to listen on (server)',
  },
  { name: 'trust-proxy', value: 'CIDR', help: 'believe these proxies (a,b,…) on who the visitor is' },
  { name: 'proxy-protocol-in', help: 'trusted proxies send PROXY protocol v1 or v2' },
  { name: 'max-connections', value: 'N', default: '20000', help: 'public connections at once' },
  { name: 'max-connections-per-address', value: 'N', help: 'of them, from one address' },
  { name: 'demo', help: 'server, sample site and client in one process' },
  { name: 'help', help: 'show this' },
  { name: 'version', help: 'show the version' },
]

export interface Options {
  host: string
  port: number
  bind: string
  trustProxy: string[]
  proxyProtocolIn: boolean
  maxConnections: number
  maxConnectionsPerAddress?: number
  demo: boolean
  help: boolean
  version: boolean
  /** The local port: present in client mode. */
  local?: number
}

/** The options of a command line, program name left out. Throws `usage`: what was expected, what came. */
export function parseOptions(argv: readonly string[]): Options {
  const args = minimist([...argv], {
    string: ['_', ...optionTable.filter(({ value }) => value !== undefined).map(({ name }) => name)],
    boolean: optionTable.filter(({ value }) => value === undefined).map(({ name }) => name),
    alias: Object.fromEntries(
      optionTable.flatMap(({ name, short }) => (short === undefined ? [] : [[short, name]])),
    ),
    unknown: checkKnown,
  })
  const text = (name: string) =>
    textOf(
      args[name],
      optionTable.find((option) => option.name === name),
    )
  const isOn = (name: string) => args[name] === true
  const [local, ...rest] = args._
  const perAddress = text('max-connections-per-address')
  if (isOn('proxy-protocol-in') && args['trust-proxy'] === undefined) {
    throw usage('expected --trust-proxy with --proxy-protocol-in, to know who may send it')
  }
  if (rest.length > 0) throw usage(`expected one local port, got ${args._.length}: ${args._.join(' ')}`)
  return {
    host: parseHost(text('host')),
    port: parsePort(text('port'), '-p', 0),
    bind: text('bind'),
    trustProxy: listOf(args['trust-proxy']),
    proxyProtocolIn: isOn('proxy-protocol-in'),
    maxConnections: parseCount(text('max-connections'), '--max-connections'),
    ...(perAddress === ''
      ? {}
      : { maxConnectionsPerAddress: parseCount(perAddress, '--max-connections-per-address') }),
    demo: isOn('demo'),
    help: isOn('help'),
    version: isOn('version'),
    ...(local === undefined ? {} : { local: parsePort(local, 'the local port', 1) }),
  }
}

function checkKnown(argument: string): boolean {
  if (argument.startsWith('-') && argument !== '-') throw usage(`unknown option ${JSON.stringify(argument)}`)
  return true
}

function textOf(given: unknown, option: Option | undefined): string {
  const shown = `--${option?.name}`
  if (given === undefined) return option?.default ?? ''
  if (Array.isArray(given)) throw usage(`expected ${shown} once, got it ${given.length} times`)
  if (typeof given !== 'string' || given === '')
    throw usage(`expected ${shown} ${option?.value}, got no value`)
  return given
}

function parsePort(text: string, what: string, least: number): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : NaN
  if (port >= least && port <= 65535) return port
  throw usage(`expected ${what} to be a number from ${least} to 65535, got ${JSON.stringify(text)}`)
}

function parseCount(text: string, what: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text)
  throw usage(`expected ${what} to be a number from 1 on, got ${JSON.stringify(text)}`)
}

/** A list given with commas, or by repeating the option. */
function listOf(given: unknown): string[] {
  const texts = (Array.isArray(given) ? given : [given]).filter((text) => typeof text === 'string')
  return texts
    .flatMap((text) => text.split(','))
    .map((text) => text.trim())
    .filter((text) => text !== '')
}

function parseHost(text: string): string {
  const host = text.toLowerCase().replace(/\.$/, '')
  if (host.length <= 253 && /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/.test(host) && !host.includes('..')) return host
  throw usage(`expected -h to be a host name such as lvh.me, got ${JSON.stringify(text)}`)
}

function usage(message: string): TunnelError {
  return new TunnelError('usage', `${message}; see groktunnel --help`)
}

/** What --help prints: one screen of 80 columns. */
export function helpText(): string {
  return `Usage: groktunnel [options] PORT    make local PORT public (client)
       groktunnel [options]         serve *.HOST (server)
       groktunnel --demo [PORT]     see it work on this machine

Options:
${optionTable.map(helpLine).join('\n')}

The client prints the public URL on stdout, and nothing else; all other lines
go to stderr.

Exit codes: 0 clean end (SIGINT, SIGTERM), 1 unexpected, 2 usage, 3 server
unreachable, 4 refused by the server, 5 name taken.
`
}

function helpLine({ name, short, value, default: fallback, help }: Option): string {
  const flag = `${short === undefined ? '   ' : `-${short},`} --${name}${value === undefined ? '' : ` ${value}`}`
  return `  ${flag.padEnd(22)} ${help}${fallback === undefined ? '' : ` (${fallback})`}`
}
