/**
 * The one table of options. Flags, environment variables, keys of the config file, --help, the README's table, completion
 * and the type of what comes out are all made from it; whoever adds an option adds a row.
 */
import { count, label, oneOf, type Parse, port, server, time } from './values.ts'

export type Side = 'client' | 'server'

export interface Row {
  short?: string
  /** Whose option it is; both sides' where it says nothing. */
  side?: Side
  /** What its value is called; an option without one is a switch. FILE is a path. */
  value?: string
  /** Reads its value, which else stays text. */
  parse?: Parse<unknown>
  /** As text. A switch that is on can be switched off: --no-NAME. */
  default?: string
  help: string
  /** Its name in Options, where that is not the flag's own in camelCase. */
  key?: string
  /** Its environment variable, where that is not GROKTUNNEL_ and its name. */
  variable?: string
  /** May be given again and again; and what separates several in one text. */
  separator?: ',' | '\n'
  /** May differ from tunnel to tunnel. */
  perTunnel?: true
  /** Asks for something now, and so is no setting: neither a variable nor a key of the config file. */
  isRequest?: true
  /** What its value can be, for completion. */
  choices?: readonly string[]
  /** --help only names it; --help all tells all of it. */
  rare?: true
}

export const table = {
  host: {
    short: 'h',
    value: 'HOST',
    parse: server,
    default: 'localhost',
    help: 'the server’s host, or its URL',
  },
  port: {
    short: 'p',
    value: 'PORT',
    parse: port,
    default: '9999',
    help: 'its port',
  },
  subdomain: {
    short: 's',
    side: 'client',
    value: 'NAME',
    parse: label,
    perTunnel: true,
    help: 'the name to ask for',
  },
  'host-header': {
    side: 'client',
    value: 'MODE',
    perTunnel: true,
    choices: ['rewrite'],
    help: 'rewrite, or the Host that TARGET is to see',
  },
  header: {
    side: 'client',
    value: 'HEADER',
    separator: '\n',
    perTunnel: true,
    help: 'add ‘Name: value’ to requests (repeat)',
  },
  'remove-header': {
    side: 'client',
    value: 'NAME',
    separator: ',',
    perTunnel: true,
    rare: true,
    help: 'take it from requests (repeat)',
  },
  'response-header': {
    side: 'client',
    value: 'HEADER',
    separator: '\n',
    perTunnel: true,
    rare: true,
    help: 'add it to answers (repeat)',
  },
  'basic-auth': {
    side: 'client',
    value: 'USER:PASS',
    perTunnel: true,
    help: 'ask visitors for a user and password',
  },
  'basic-auth-file': {
    side: 'client',
    value: 'FILE',
    perTunnel: true,
    rare: true,
    help: 'USER:PASS is in this file',
  },
  'allow-ip': {
    side: 'client',
    value: 'CIDR',
    separator: ',',
    perTunnel: true,
    help: 'let in only these addresses (repeat)',
  },
  'deny-ip': {
    side: 'client',
    value: 'CIDR',
    separator: ',',
    perTunnel: true,
    rare: true,
    help: 'keep these out (repeat)',
  },
  cors: { side: 'client', perTunnel: true, help: 'allow calls of any origin' },
  insecure: { side: 'client', perTunnel: true, help: 'trust any https TARGET' },
  qr: { side: 'client', help: 'show the URL as QR code' },
  open: { side: 'client', help: 'open it in a browser' },
  copy: { side: 'client', help: 'copy it to the clipboard' },
  wait: { side: 'client', help: 'wait for the server' },
  detach: { side: 'client', help: 'return once it is public' },
  stop: { side: 'client', isRequest: true, help: 'end detached ones (NAME)' },
  display: { side: 'client', default: 'true', help: 'lines, no status display' },
  demo: { side: 'client', help: 'try it without a server' },
  ca: { side: 'client', value: 'FILE', rare: true, help: 'trust the authorities in this PEM file instead' },
  tls: { side: 'client', rare: true, help: 'speak TLS to the server' },
  proxy: { side: 'client', value: 'URL', rare: true, help: 'go through this HTTP proxy (HTTPS_PROXY)' },
  bind: {
    short: 'b',
    side: 'server',
    value: 'ADDRESS',
    default: '127.0.0.1',
    help: 'where to listen',
  },
  cert: { side: 'server', value: 'FILE', help: 'speak TLS: PEM certificate and chain' },
  key: { side: 'server', value: 'FILE', variable: 'GROKTUNNEL_TLS_KEY', help: 'its private key' },
  'public-url': { side: 'server', value: 'URL', help: 'what visitors see, behind a proxy' },
  'trust-proxy': {
    side: 'server',
    value: 'CIDR',
    separator: ',',
    help: 'proxies to believe on visitors (repeat)',
  },
  'proxy-protocol-in': { side: 'server', help: 'they send PROXY protocol v1 or v2' },
  tokens: {
    side: 'server',
    value: 'FILE',
    key: 'tokensFile',
    help: 'tokens, their names and limits, in TOML',
  },
  hold: {
    side: 'server',
    value: 'TIME',
    parse: time('0'),
    default: '60s',
    key: 'holdMs',
    help: 'a lost name stays its owner’s',
  },
  'max-connections': {
    side: 'server',
    value: 'N',
    parse: count,
    help: 'public connections at once (20000)',
  },
  'max-connections-per-address': {
    side: 'server',
    value: 'N',
    parse: count,
    help: 'of one address (2000; loopback: all)',
  },
  'max-connections-per-tunnel': {
    side: 'server',
    value: 'N',
    parse: count,
    default: '5000',
    help: 'of one tunnel',
  },
  'max-tunnels': { side: 'server', value: 'N', parse: count, help: 'tunnels at once (10000)' },
  'max-tunnels-per-address': {
    side: 'server',
    value: 'N',
    parse: count,
    help: 'of one address (100; loopback: all)',
  },
  'registrations-per-minute': {
    side: 'server',
    value: 'N',
    parse: count,
    help: 'of one address (300; loopback: all)',
  },
  'token-file': { value: 'FILE', rare: true, help: 'the token, if not in GROKTUNNEL_TOKEN' },
  grace: {
    value: 'TIME',
    parse: time('0'),
    default: '10s',
    key: 'graceMs',
    rare: true,
    help: 'to finish in when told to stop',
  },
  heartbeat: {
    value: 'TIME',
    parse: time('100ms'),
    default: '3s',
    key: 'heartbeatMs',
    rare: true,
    help: 'between pings to the other side',
  },
  config: {
    value: 'FILE',
    rare: true,
    key: 'configFile',
    help: 'options and tunnels in TOML (groktunnel.toml)',
  },
  json: { help: 'events as JSON, on stdout' },
  quiet: { help: 'say nothing but errors' },
  help: { isRequest: true, help: 'this; --help server, all' },
  version: { isRequest: true, help: 'show the version' },
  completion: {
    value: 'SHELL',
    parse: oneOf('bash', 'zsh', 'fish'),
    choices: ['bash', 'zsh', 'fish'],
    isRequest: true,
    rare: true,
    help: 'print a script for bash, zsh or fish',
  },
} as const satisfies Record<string, Row>

type Rows = typeof table

/** An option by its flag, without the dashes. */
export type Name = keyof Rows

type Camel<S extends string> = S extends `${infer A}-${infer B}` ? `${A}${Capitalize<Camel<B>>}` : S
type KeyOf<N extends Name> = Rows[N] extends { key: infer K extends string } ? K : Camel<N>
type One<R> = R extends { parse: Parse<infer T> } ? T : R extends { value: string } ? string : boolean
type ValueOf<R> = R extends { separator: string } ? One<R>[] : One<R>
type Certain = {
  [N in Name]: Rows[N] extends { value: string } ? (Rows[N] extends { default: string } ? N : never) : N
}[Name]

/** What these options become: a switch or an option with a default is always there. */
export type Settings<N extends Name = Name> = { [M in N & Certain as KeyOf<M>]: ValueOf<Rows[M]> } & {
  [M in Exclude<N, Certain> as KeyOf<M>]?: ValueOf<Rows[M]>
}

/** The names of options that may differ from tunnel to tunnel. */
export type TunnelName = { [N in Name]: Rows[N] extends { perTunnel: true } ? N : never }[Name]

/** The names of options that ask for something now. */
export type RequestName = { [N in Name]: Rows[N] extends { isRequest: true } ? N : never }[Name]

/** All rows, by their names. */
export const rows: ReadonlyMap<string, Row> = new Map(Object.entries(table))

/** The row of an option that is there. */
export function rowOf(name: Name): Row {
  return table[name]
}

/** The names of the rows for which it holds, in the order of the table. */
export function namesOf(holds: (row: Row) => boolean): Name[] {
  return (Object.keys(table) as Name[]).filter((name) => holds(table[name]))
}

/** Its name in Options. */
export function keyOf(name: Name): string {
  return rowOf(name).key ?? name.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase())
}

/** Its environment variable. */
export function variableOf(name: Name): string {
  return rowOf(name).variable ?? `GROKTUNNEL_${name.replaceAll('-', '_').toUpperCase()}`
}
