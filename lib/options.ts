/**
 * The command line. One table: what is parsed, what --help prints and what the README says come from it. The only
 * importer of minimist.
 */
import minimist from 'minimist'
import { TunnelError } from './errors.ts'

export type Side = 'client' | 'server'

interface Option {
  name: string
  short?: string
  /** whose option it is; both sides' where it says nothing */
  side?: Side
  /** what its value is called; an option without one is a switch */
  value?: string
  default?: string
  help: string
}

export const optionTable: readonly Option[] = [
  {
    name: 'host',
    short: 'h',
    value: 'HOST',
    default: 'localhost',
    help: 'the server; https://… for TLS',
  },
  { name: 'port', short: 'p', value: 'PORT', default: '9999', help: 'its port; 443 for https://HOST' },
  { name: 'heartbeat', value: 'S', default: '3', help: 'seconds between pings to the other side' },
  { name: 'grace', value: 'S', default: '10', help: 'seconds to finish in when told to stop' },
  { name: 'token-file', value: 'FILE', help: 'the token, if not in GROKTUNNEL_TOKEN' },
  { name: 'subdomain', short: 's', side: 'client', value: 'NAME', help: 'the name to ask for' },
  { name: 'wait', side: 'client', help: 'keep trying when the first connection fails' },
  { name: 'tls', side: 'client', help: 'speak TLS to the server' },
  { name: 'ca', side: 'client', value: 'FILE', help: 'trust the authorities in this PEM file instead' },
  { name: 'proxy', side: 'client', value: 'URL', help: 'go through this HTTP proxy (HTTPS_PROXY)' },
  { name: 'demo', side: 'client', help: 'server, sample site and client in one process' },
  { name: 'help', side: 'client', help: 'show this; --help server for the server’s options' },
  { name: 'version', side: 'client', help: 'show the version' },
  {
    name: 'bind',
    short: 'b',
    side: 'server',
    value: 'ADDRESS',
    default: '127.0.0.1',
    help: 'where to listen',
  },
  { name: 'cert', side: 'server', value: 'FILE', help: 'speak TLS: PEM certificate and chain' },
  { name: 'key', side: 'server', value: 'FILE', help: 'its private key' },
  { name: 'public-url', side: 'server', value: 'URL', help: 'what visitors see, behind a proxy' },
  { name: 'trust-proxy', side: 'server', value: 'CIDR', help: 'proxies to believe on visitors (a,b,…)' },
  { name: 'proxy-protocol-in', side: 'server', help: 'they send PROXY protocol v1 or v2' },
  { name: 'tokens', side: 'server', value: 'FILE', help: 'tokens, their names and limits, in TOML' },
  { name: 'hold', side: 'server', value: 'S', default: '60', help: 'seconds a lost name stays its owner’s' },
  { name: 'max-connections', side: 'server', value: 'N', help: 'public connections at once (20000)' },
  {
    name: 'max-connections-per-address',
    side: 'server',
    value: 'N',
    help: 'of one address (2000; loopback: all)',
  },
  { name: 'max-connections-per-tunnel', side: 'server', value: 'N', default: '5000', help: 'of one tunnel' },
  { name: 'max-tunnels', side: 'server', value: 'N', help: 'tunnels at once (10000)' },
  {
    name: 'max-tunnels-per-address',
    side: 'server',
    value: 'N',
    help: 'of one address (100; loopback: all)',
  },
  {
    name: 'registrations-per-minute',
    side: 'server',
    value: 'N',
    help: 'of one address (300; loopback: all)',
  },
]

export interface Options {
  host: string
  port: number
  tls: boolean
  heartbeatMs: number
  graceMs: number
  tokenFile?: string
  subdomain?: string
  wait: boolean
  ca?: string
  proxy?: string
  bind: string
  cert?: string
  key?: string
  publicUrl?: string
  trustProxy: string[]
  proxyProtocolIn: boolean
  tokensFile?: string
  holdMs: number
  maxConnections?: number
  maxConnectionsPerAddress?: number
  maxConnectionsPerTunnel: number
  maxTunnels?: number
  maxTunnelsPerAddress?: number
  registrationsPerMinute?: number
  demo: boolean
  /** show the options of this side */
  help?: Side
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
  const [first, ...rest] = args._
  const help = args['help'] !== true ? undefined : first === 'server' ? 'server' : 'client'
  const local = help === undefined ? first : undefined
  if (rest.length > 0) throw usage(`expected one local port, got ${args._.length}: ${args._.join(' ')}`)
  const given = (name: string) => textOf(args[name], name)
  const isOn = (name: string) => args[name] === true
  if (isOn('proxy-protocol-in') && given('trust-proxy') === undefined) {
    throw usage('expected --trust-proxy with --proxy-protocol-in, to know who may send it')
  }
  const options = {
    ...parseWhere(given('host') ?? hostIn(given('public-url')), given('port'), isOn('tls')),
    ...countsAndTimes(given),
    tokenFile: given('token-file'),
    subdomain: given('subdomain'),
    wait: isOn('wait'),
    ca: given('ca'),
    proxy: given('proxy'),
    bind: given('bind') ?? defaultOf('bind'),
    cert: given('cert'),
    key: given('key'),
    publicUrl: given('public-url'),
    trustProxy: listOf(args['trust-proxy']),
    proxyProtocolIn: isOn('proxy-protocol-in'),
    tokensFile: given('tokens'),
    demo: isOn('demo'),
    help,
    version: isOn('version'),
    local: local === undefined ? undefined : parsePort(local, 'the local port', 1),
  }
  // What was not given is absent, so that it hides no default when spread.
  return Object.fromEntries(
    Object.entries(options).filter(([, value]) => value !== undefined),
  ) as unknown as Options
}

function countsAndTimes(given: (name: string) => string | undefined) {
  const count = (name: string) => parseCount(given(name) ?? optionOf(name)?.default, name)
  const ms = (name: string) => parseSeconds(given(name) ?? defaultOf(name), name) * 1000
  return {
    heartbeatMs: ms('heartbeat'),
    graceMs: ms('grace'),
    holdMs: ms('hold'),
    maxConnections: count('max-connections'),
    maxConnectionsPerAddress: count('max-connections-per-address'),
    maxConnectionsPerTunnel: count('max-connections-per-tunnel'),
    maxTunnels: count('max-tunnels'),
    maxTunnelsPerAddress: count('max-tunnels-per-address'),
    registrationsPerMinute: count('registrations-per-minute'),
  }
}

/** `-h` may be a URL, which then says scheme and port as well. */
function parseWhere(host: string = defaultOf('host'), port: string | undefined, tls: boolean) {
  const scheme = /^(https?):\/\//i.exec(host)?.[1]?.toLowerCase()
  const isTls = tls || scheme === 'https'
  const [name = '', own] = host
    .replace(/^https?:\/\//i, '')
    .replace(/\/$/, '')
    .split(/:(?=\d+$)/)
  const usual = scheme === undefined ? defaultOf('port') : isTls ? '443' : '80'
  return { host: parseHost(name), port: parsePort(port ?? own ?? usual, '-p', 0), tls: isTls }
}

/** Behind a proxy the public URL says whose names are served. */
function hostIn(publicUrl = ''): string | undefined {
  return URL.canParse(publicUrl) ? new URL(publicUrl).hostname : undefined
}

function optionOf(name: string): Option | undefined {
  return optionTable.find((option) => option.name === name)
}

function defaultOf(name: string): string {
  return optionOf(name)?.default ?? ''
}

function checkKnown(argument: string): boolean {
  if (argument.startsWith('-') && argument !== '-') throw usage(`unknown option ${JSON.stringify(argument)}`)
  return true
}

function textOf(given: unknown, name: string): string | undefined {
  if (given === undefined) return undefined
  // A list may be given by repeating it.
  if (Array.isArray(given) && name !== 'trust-proxy')
    throw usage(`expected --${name} once, got it ${given.length} times`)
  const text = Array.isArray(given) ? given.join() : given
  if (typeof text !== 'string' || text === '')
    throw usage(`expected --${name} ${optionOf(name)?.value}, got no value`)
  return text
}

function parsePort(text: string, what: string, least: number): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : NaN
  if (port >= least && port <= 65535) return port
  throw usage(`expected ${what} to be a number from ${least} to 65535, got ${JSON.stringify(text)}`)
}

function parseCount(text: string | undefined, name: string): number | undefined {
  if (text === undefined) return undefined
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text)
  throw usage(`expected --${name} to be a number from 1 on, got ${JSON.stringify(text)}`)
}

function parseSeconds(text: string, name: string): number {
  const seconds = /^\d{1,6}(\.\d{1,3})?$/.test(text) ? Number(text) : NaN
  const least = name === 'heartbeat' ? 0.1 : 0
  if (seconds >= least) return seconds
  throw usage(`expected --${name} to be a number of seconds from ${least} on, got ${JSON.stringify(text)}`)
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

/** What --help prints: one screen of 80 by 24. */
export function helpText(side: Side): string {
  const options = optionTable.filter((option) => option.side === undefined || option.side === side)
  const width = side === 'server' ? 35 : 22
  return `${usageOf[side]}

${options.map((option) => helpLine(option, width)).join('\n')}

${notesOf[side]}Exit codes: 0 clean end, 1 unexpected, 2 usage, 3 server unreachable,
4 refused by the server, 5 name taken.
`
}

const usageOf = {
  client: `Usage: groktunnel [options] PORT     make local PORT public (client)
       groktunnel [options]          serve *.HOST (server; see --help server)
       groktunnel --demo [PORT]      see it work on this machine`,
  server: 'Usage: groktunnel [options]          serve *.HOST',
}

const notesOf = {
  client: `The public URL goes to stdout, all else to stderr. GROKTUNNEL_KEY proves who
owns a name; without it a key is kept in the user’s state folder.
`,
  server: '',
}

function helpLine({ name, short, value, default: fallback, help }: Option, width: number): string {
  const flag = `${short === undefined ? '   ' : `-${short},`} --${name}${value === undefined ? '' : ` ${value}`}`
  return ` ${flag.padEnd(width)} ${help}${fallback === undefined ? '' : ` (${fallback})`}`
}
