/** The rows, their goals, and the table that is printed. */
import { farKey, ROUND_TRIPS_MS, WAYS } from './latency.ts'
import type { Values } from './measures.ts'
import type { StartTimes } from './starting.ts'
import { type Name, names } from './subjects.ts'
import type { Way } from './transfer.ts'

interface Row {
  key: string
  title: string
  digits: number
  /** for what groktunnel takes or reaches, in times of what hops do */
  goal?: Goal
}

interface Goal {
  sign: '≤' | '≥'
  value: number
}

const rows: Row[] = [
  { key: 'small16.rate', title: 'small requests/s, 16 connections', digits: 0 },
  { key: 'small16.p50', title: '  p50 ms', digits: 2 },
  { key: 'small16.p99', title: '  p99 ms', digits: 2 },
  { key: 'small1.rate', title: 'small requests/s, 1 connection', digits: 0 },
  { key: 'small1.p50', title: '  p50 ms', digits: 2 },
  { key: 'small1.p99', title: '  p99 ms', digits: 2 },
  { key: 'new.rate', title: 'new connections/s', digits: 0 },
  { key: 'down1.rate', title: 'MB/s down, 1 connection', digits: 0 },
  { key: 'down4.rate', title: 'MB/s down, 4 connections', digits: 0 },
  { key: 'up1.rate', title: 'MB/s up, 1 connection', digits: 0 },
  { key: 'up4.rate', title: 'MB/s up, 4 connections', digits: 0 },
  { key: 'small.cpu', title: 'CPU µs/small request', digits: 1, goal: atMost(1.3) },
  { key: 'small.cpuAround', title: '  load and app beside it', digits: 1 },
  { key: 'new.cpu', title: 'CPU µs/new connection', digits: 0, goal: atMost(1) },
  { key: 'new.firstCpu', title: '  the first 2 s of them', digits: 0 },
  { key: 'down.cpu', title: 'CPU s/GB down', digits: 2, goal: atMost(1) },
  { key: 'up.cpu', title: 'CPU s/GB up', digits: 2, goal: atMost(1) },
  { key: 'rss.rest', title: 'RSS MiB at rest', digits: 0 },
  { key: 'rss.peak', title: 'RSS MiB under load, at most', digits: 0 },
  { key: 'rss.idle', title: 'RSS MiB with 1,000 idle connections', digits: 0, goal: atMost(1.3) },
  { key: 'rss.perIdle', title: '  KiB each, above rest', digits: 1 },
  ...ROUND_TRIPS_MS.flatMap((roundTripMs) => WAYS.flatMap((way) => farRows(roundTripMs, way))),
]

const START_GOAL_MS = atMost(40)

/** What one round found, by subject. */
export type Round = Record<Name, Values>

export interface Summary {
  key: string
  title: string
  /** medians of the rounds */
  values: Partial<Record<Name, number>>
  /** groktunnel / hops of each round */
  ratio: { median: number; least: number; most: number }
  goal?: Goal
}

export function summarize(rounds: readonly Round[]): Summary[] {
  return rows.map(({ key, title, goal }) => {
    const found = (name: Name) => rounds.map((round) => round[name][key] ?? NaN).filter(Number.isFinite)
    const values = names.map((name) => [name, found(name)] as const).filter(([, all]) => all.length > 0)
    const ratios = rounds.map(({ hops, groktunnel }) => (groktunnel[key] ?? NaN) / (hops[key] ?? NaN))
    return {
      key,
      title: title.trim(),
      values: Object.fromEntries(values.map(([name, all]) => [name, median(all)])),
      ratio: { median: median(ratios), least: Math.min(...ratios), most: Math.max(...ratios) },
      ...(goal === undefined ? {} : { goal }),
    }
  })
}

export function table(summaries: readonly Summary[]): string {
  const heading = line('', [...names, '× hops'], 'min–max', 'goal')
  return [heading, ...summaries.map((summary, index) => summaryLine(summary, rows[index]))].join('\n')
}

export function startLines({ bareNode, version, firstAnswer }: StartTimes): string {
  const extra = median(version) - median(bareNode)
  return [
    `start, median ms of ${version.length}: bare node ${median(bareNode).toFixed(0)}, ` +
      `groktunnel --version ${median(version).toFixed(0)} ` +
      `(+${extra.toFixed(1)}; goal ${verdict(extra, START_GOAL_MS)})`,
    `client's start to the first answer through the tunnel: ${median(firstAnswer).toFixed(0)} ms`,
  ].join('\n')
}

export function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b)
  const middle = sorted.length / 2
  return ((sorted[Math.ceil(middle) - 1] ?? NaN) + (sorted[Math.floor(middle)] ?? NaN)) / 2
}

function summaryLine({ values, ratio, goal }: Summary, row: Row | undefined): string {
  const cells = names.map((name) => values[name]?.toFixed(row?.digits) ?? '')
  const range = `${ratio.least.toFixed(2)}–${ratio.most.toFixed(2)}`
  const goalCell = goal === undefined ? '' : verdict(ratio.median, goal)
  return line(row?.title ?? '', [...cells, ratio.median.toFixed(2)], range, goalCell)
}

/** The rate over a line of 1 Gbit/s. The goal is for the window once it has grown, which is in the first half. */
function farRows(roundTripMs: number, way: Way): Row[] {
  const key = farKey(roundTripMs, way)
  return [
    { key, title: `MB/s ${way}, 1 Gbit/s, ${roundTripMs} ms away`, digits: 0 },
    { key: `${key}.lastHalf`, title: '  the last half', digits: 0, goal: atLeast(0.8) },
  ]
}

function atMost(value: number): Goal {
  return { sign: '≤', value }
}

function atLeast(value: number): Goal {
  return { sign: '≥', value }
}

function verdict(reached: number, { sign, value }: Goal): string {
  const isReached = sign === '≤' ? reached <= value : reached >= value
  return `${sign} ${value} ${isReached ? 'reached' : 'missed'}`
}

function line(title: string, cells: readonly string[], range: string, goal: string): string {
  const columns = [title.padEnd(36), ...cells.map((cell) => cell.padStart(10)), range.padStart(11)]
  return `${columns.join(' ')}  ${goal}`.trimEnd()
}
