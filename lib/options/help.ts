/** What --help prints, made from the table: for each side a screen of 80 by 24, which names the rare options only; and all. */
import { type Name, namesOf, rowOf, type Side } from './table.ts'

export type Help = Side | 'all'

/** The text of a help. */
export function helpText(help: Help): string {
  return help === 'all' ? everything() : screen(help)
}

const usageOf = {
  client: `Usage: groktunnel [options] TARGET... [-- COMMAND]  make TARGET public (client)
       groktunnel [options] start [NAME...]        those of groktunnel.toml
       groktunnel [options]                        serve *.HOST (--help server)
TARGET: 3000, HOST:3000, https://HOST, unix:/PATH or ./FOLDER, maybe NAME=TARGET
`,
  server: `Usage: groktunnel [options]        serve *.HOST (the client: see --help)
`,
}

const EXIT_CODES = `Exit codes: 0 clean end, 1 unexpected, 2 usage, 3 server unreachable,
4 refused by the server, 5 name taken.
`

const SOURCES = `Each is also GROKTUNNEL_NAME in the environment and a key of groktunnel.toml.
`

const FILES = `A flag counts more than the environment (--host-header: GROKTUNNEL_HOST_HEADER),
that more than the config file, that more than the default. GROKTUNNEL_TOKEN is
the token, GROKTUNNEL_KEY proves who owns a name, GROKTUNNEL_TLS_KEY is --key.
In groktunnel.toml, or the file that --config names:

  host = "https://tunnel.example.com"
  [tunnels.web]                        # groktunnel start web, or start for all
  local = 3000
  host-header = "rewrite"

Completion: source <(groktunnel --completion bash)
`

function screen(side: Side): string {
  const own = namesOf((row) => (row.side ?? side) === side)
  const rare = own.filter((name) => rowOf(name).rare)
  const usual = own.filter((name) => !rare.includes(name))
  const halves = usual.filter((name) => rowOf(name).value === undefined && half(name).length <= HALF)
  const wholes = usual.filter((name) => !halves.includes(name))
  const lines = [...linesOf(wholes), ...inPairs(halves.map(half))]
  const also = wrapped(`And --help all: ${rare.map((name) => `--${name}`).join(' ')}`)
  return `${usageOf[side]}${lines.join('\n')}\n${also}\n${SOURCES}${EXIT_CODES}`
}

const HALF = 40

/** Two a line, down the left half and then the right one. */
function inPairs(halves: readonly string[]): string[] {
  const rows = Math.ceil(halves.length / 2)
  return halves.slice(0, rows).map((left, row) => `${left.padEnd(HALF)}${halves[rows + row] ?? ''}`.trimEnd())
}

/** A switch, which has no short form and fits into half a line. */
function half(name: Name): string {
  return ` ${flagsOf(name).trim().padEnd(12)}  ${meaningOf(name)}`
}

function linesOf(names: readonly Name[]): string[] {
  const width = Math.max(...names.map((name) => flagsOf(name).length))
  return names.map((name) => ` ${flagsOf(name).padEnd(width)}  ${meaningOf(name)}`)
}

/** `-h, --host HOST`; a switch that is on as what switches it off. */
export function flagsOf(name: Name): string {
  const { short, value, default: fallback } = rowOf(name)
  const negation = value === undefined && fallback === 'true' ? 'no-' : ''
  const flag = `--${negation}${name}${value === undefined ? '' : ` ${value}`}`
  return `${short === undefined ? '   ' : `-${short},`} ${flag}`
}

/** What it means, and its default. */
export function meaningOf(name: Name): string {
  const { help, value, default: fallback } = rowOf(name)
  return value === undefined || fallback === undefined ? help : `${help} (${fallback})`
}

function wrapped(text: string): string {
  return text.replace(/(.{1,80})(?: |$)/g, '$1\n').trimEnd()
}

function everything(): string {
  const sections: [string, Side | undefined][] = [
    ['Both sides', undefined],
    ['Client', 'client'],
    ['Server', 'server'],
  ]
  const parts = sections.map(([title, side]) => {
    const names = namesOf((row) => row.side === side)
    return `${title}:\n${linesOf(names).join('\n')}\n`
  })
  return [usageOf.client, ...parts, FILES, EXIT_CODES].join('\n')
}
