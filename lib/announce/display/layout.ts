/**
 * What the display shows, as rows: the state of the tunnels, and below it the latest requests. Where the terminal is small
 * the titles go first, then the figures, then the columns of the log; where it is tiny a state, the URLs and some of the
 * log are left. It only composes: nothing here writes or waits.
 */
import type { RequestRecord } from '../../api.ts'
import { cutTo, padTo, printable, saidBytes, saidMs, saidTime, widthOf, wrapTo } from '../../text.ts'
import type { Times } from './percentiles.ts'

export type Color = 'dim' | 'bold' | 'green' | 'yellow' | 'red' | 'cyan' | 'ink'

/** A part of a row; its text is printable. */
export interface Part {
  text: string
  color?: Color | undefined
}

export type Row = Part[]

export interface Size {
  columns: number
  rows: number
}

export interface TunnelView {
  url: string
  target: string
  /** such as `myapp`, to tell the requests of several apart */
  name: string
  /** 0 before the first round trip */
  latencyMs: number
  state: 'online' | 'lost' | 'ended'
  /** since when it is lost, or why it ended */
  detail: string
  /** public connections, now and in all */
  open: number
  total: number
}

/** A request in the log, and the name of its tunnel. */
export interface RequestEntry {
  record: RequestRecord
  name: string
}

/** A request, or a line of the program, in the log. */
export type Entry = RequestEntry | { at: Date; line: string }

export interface View {
  version: string
  tunnels: TunnelView[]
  times: Times
  /** the oldest first */
  log: Entry[]
  /** shown until the first request comes */
  code: Row[]
}

/** Log rows that should stay visible, or the state above them is said in fewer words. */
const LEAST_LOG = 4
/** at most, for one line of the program */
const LINE_ROWS = 4
const LABEL_COLUMNS = 18
const FIGURE_COLUMNS = 9

/** The rows of a screen, each within `size.columns`, at most `size.rows` of them. */
export function layout(view: View, { columns, rows }: Size): Row[] {
  const head = headOf(view, columns, rows)
  const body = bodyOf(view, columns, Math.max(0, rows - head.length))
  return [...head, ...body].slice(0, rows).map((row) => fit(row, columns))
}

/** The most detailed that leaves room for the code, or, where none does, for some of the log. */
function headOf(view: View, columns: number, rows: number): Row[] {
  const heads = [fullHead(view, columns), denseHead(view), tinyHead(view, Infinity)]
  const leaving = (below: number) => heads.find((head) => head.length + below <= rows)
  const { length } = view.code
  return (length > 0 ? leaving(length) : undefined) ?? leaving(LEAST_LOG) ?? tinyHead(view, rows - LEAST_LOG)
}

/** The code, as long as it is there and has room, and the end of the log. */
function bodyOf({ code, log, ...view }: View, columns: number, rows: number): Row[] {
  const top = code.length <= rows ? code : []
  const left = rows - top.length
  if (left === 0) return top
  const isSeveral = view.tunnels.length > 1
  return [
    ...top,
    ...log
      .slice(-left)
      .flatMap((entry) => entryRows(entry, columns, isSeveral))
      .slice(-left),
  ]
}

function fullHead(view: View, columns: number): Row[] {
  const quit = '(Ctrl+C to quit)'
  const name = 'groktunnel'
  const gap = Math.max(1, columns - name.length - quit.length)
  const head: Row[] = [
    [bold(name), { text: ' '.repeat(gap) }, dim(quit)],
    [],
    labelled('Session status', statePart(view)),
    labelled('Version', { text: view.version }),
    labelled('Latency', { text: latency(view) }),
    ...view.tunnels.map(forwarding).map((row, at) => labelled(at === 0 ? 'Forwarding' : '', ...row)),
    [],
    ...figures(view, columns),
    [],
    [bold('Requests')],
    [dim('--------')],
  ]
  return head.map((row) => row.filter(({ text }) => text !== ''))
}

function denseHead(view: View): Row[] {
  return [
    [statePart(view), dim(`  ${latency(view)}`)],
    ...view.tunnels.map(forwarding),
    [dim(figuresLine(view))],
    [],
  ]
}

/** In about so many rows, of which one URL has one in any case. */
function tinyHead(view: View, rows: number): Row[] {
  const urls = view.tunnels.map(({ url }): Row => [{ text: url, color: 'cyan' }])
  const most = Math.max(1, rows - 1)
  if (urls.length <= most) return [[statePart(view)], ...urls]
  const shown = Math.max(1, most - 1)
  return [[statePart(view)], ...urls.slice(0, shown), [dim(`and ${urls.length - shown} more`)]]
}

function labelled(label: string, ...parts: Row): Row {
  return [{ text: label.padEnd(LABEL_COLUMNS) }, ...parts]
}

/** Of several tunnels each tells of itself what is not well. */
function forwarding({ url, target, state, detail }: TunnelView, _at: number, all: TunnelView[]): Row {
  const where: Part = { text: url, color: 'cyan' }
  if (state === 'online' || all.length === 1) return [where, { text: ` -> ${target}` }]
  return [where, { text: ` ${stateOf(state, detail)}`, color: colorOf(state) }]
}

function colorOf(state: TunnelView['state']): Color {
  return state === 'online' ? 'green' : state === 'lost' ? 'yellow' : 'red'
}

/** Of one tunnel its state, of several how many are well. */
function statePart({ tunnels }: View): Part {
  const worst = ['ended', 'lost', 'online'].find((state) => tunnels.some((tunnel) => tunnel.state === state))
  const color = colorOf((worst ?? 'online') as TunnelView['state'])
  const [first, ...others] = tunnels
  if (first === undefined) return { text: '' }
  if (others.length === 0) return { text: stateOf(first.state, first.detail), color }
  const online = tunnels.filter(({ state }) => state === 'online').length
  return { text: online === tunnels.length ? 'online' : `${online} of ${tunnels.length} online`, color }
}

function stateOf(state: TunnelView['state'], detail: string): string {
  return state === 'online' ? 'online' : state === 'lost' ? `reconnecting ${detail}` : `ended: ${detail}`
}

function latency({ tunnels }: View): string {
  const known = tunnels.filter(({ latencyMs, state }) => latencyMs > 0 && state === 'online')
  return known.map(({ latencyMs }) => saidMs(latencyMs)).join(', ') || '-'
}

/** The titles and values of all figures: connections in all and open, then times as ngrok names them. */
function figuresOf({ tunnels, times }: View): [title: string, value: string][] {
  const sum = (key: 'total' | 'open') => String(tunnels.reduce((sum, tunnel) => sum + tunnel[key], 0))
  const said = (ms: number | undefined) => (ms === undefined ? '-' : saidMs(ms))
  const { rt1, rt5, p50, p90 } = times
  return [
    ['ttl', sum('total')],
    ['opn', sum('open')],
    ['rt1', said(rt1)],
    ['rt5', said(rt5)],
    ['p50', said(p50)],
    ['p90', said(p90)],
  ]
}

function figures(view: View, columns: number): Row[] {
  const all = figuresOf(view)
  if (columns < LABEL_COLUMNS + all.length * FIGURE_COLUMNS) return [[dim(figuresLine(view))]]
  const inColumns = (texts: string[]) => texts.map((text) => text.padEnd(FIGURE_COLUMNS)).join('')
  return [
    labelled('Connections', dim(inColumns(all.map(([title]) => title)))),
    labelled('', { text: inColumns(all.map(([, value]) => value)) }),
  ]
}

function figuresLine(view: View): string {
  return figuresOf(view)
    .map(([title, value]) => `${title} ${value}`)
    .join('  ')
}

function entryRows(entry: Entry, columns: number, isSeveral: boolean): Row[] {
  return 'line' in entry ? lineRows(entry, columns) : [requestRow(entry, columns, isSeveral)]
}

/** A line of the program says what to do at its end, so it is not cut but wrapped. */
function lineRows({ at, line }: { at: Date; line: string }, columns: number): Row[] {
  const time = timeOf(at, columns)
  return wrapTo(printable(line), columns - time.length, LINE_ROWS).map((text, row) => [
    dim(row === 0 ? time : ' '.repeat(time.length)),
    { text, color: 'yellow' },
  ])
}

function requestRow({ record, name }: RequestEntry, columns: number, isSeveral: boolean): Row {
  const { method, path, status, durationMs, answerBytes } = record
  const time = timeOf(record.at, columns)
  const label = isSeveral && columns >= 60 ? `${padTo(printable(name), 10)} ` : ''
  const verb = `${padTo(printable(method), columns < 40 ? 4 : 7)} `
  const bytes = columns < 70 ? '' : saidBytes(answerBytes).padStart(9)
  const took = columns < 50 ? '' : saidMs(durationMs).padStart(9)
  const room = columns - time.length - label.length - verb.length - 4 - took.length - bytes.length
  return [
    dim(time + label),
    { text: verb },
    { text: padTo(printable(path.slice(0, columns)), Math.max(1, room)) },
    { text: ` ${status ?? '---'}`, color: statusColor(status) },
    dim(took + bytes),
  ]
}

function timeOf(at: Date, columns: number): string {
  return columns < 40 ? '' : `${saidTime(at)} `
}

function statusColor(status: number | undefined): Color | undefined {
  if (status === undefined || status >= 500) return 'red'
  return status >= 400 ? 'yellow' : status >= 300 ? 'cyan' : 'green'
}

function bold(text: string): Part {
  return { text, color: 'bold' }
}

function dim(text: string): Part {
  return { text, color: 'dim' }
}

function fit(row: Row, columns: number): Row {
  let left = columns
  return row.map(({ text, color }) => {
    const cut = cutTo(text, Math.max(0, left))
    left -= widthOf(cut)
    return { text: cut, color }
  })
}
