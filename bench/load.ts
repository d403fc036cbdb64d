/**
 * The load generator, a process of its own. A closed loop: each of its connections asks the next when it has the
 * answer. At the deadline nothing new is begun, and what was begun is ended and counted, so that CPU time and work
 * belong together.
 */
import { Line } from './line.ts'
import { answerWorker } from './worker.ts'

export interface Order {
  /** small: keep-alive requests. new: a connection for each. idle: one request each, then kept. drop: no longer. */
  kind: 'small' | 'new' | 'down' | 'up' | 'idle' | 'drop'
  port: number
  /** what the Host field says */
  host: string
  connections: number
  ms: number
}

export interface Work {
  requests: number
  /** of bodies, down or up */
  bytes: number
  seconds: number
  p50Ms: number
  p99Ms: number
}

type Step = () => Promise<unknown>

const BODY_BYTES = 32 * 1024 * 1024
const OPENING_AT_ONCE = 50
const idle: Line[] = []

answerWorker(async (order: Order) => {
  if (order.kind === 'idle') return keepIdle(order)
  if (order.kind === 'drop') return dropIdle()
  return work(order)
})

async function work(order: Order): Promise<Work> {
  const isLarge = order.kind === 'down' || order.kind === 'up'
  const lines = await openAll(order.kind === 'new' ? 0 : order.connections, order.port)
  const steps = order.kind === 'new' ? newLines(order) : lines.map((line) => asking(line, order))
  const times: number[] = []
  const from = performance.now()
  await Promise.all(steps.map((step) => repeat(step, from + order.ms, times)))
  const seconds = (performance.now() - from) / 1000
  await Promise.all(lines.map((line) => line.close()))
  return {
    requests: times.length,
    bytes: isLarge ? times.length * BODY_BYTES : 0,
    seconds,
    ...quantiles(times),
  }
}

async function repeat(step: Step, until: number, times: number[]): Promise<void> {
  for (let from = performance.now(); from < until;) {
    await step()
    const now = performance.now()
    times.push(now - from)
    from = now
  }
}

function asking(line: Line, { kind, host }: Order): Step {
  if (kind === 'up') {
    const request = head('POST /', host, `Content-Length: ${BODY_BYTES}\r\n`)
    return () => line.ask(request, BODY_BYTES)
  }
  const request = head(kind === 'down' ? `GET /down/${BODY_BYTES}` : 'GET /', host)
  return () => line.ask(request)
}

function newLines({ connections, port, host }: Order): Step[] {
  const request = head('GET /', host, 'Connection: close\r\n')
  const step = async () => {
    const line = await Line.open(port)
    await line.ask(request)
    await line.closed()
  }
  return Array.from({ length: connections }, () => step)
}

async function keepIdle({ connections, port, host }: Order): Promise<void> {
  const request = head('GET /', host)
  while (idle.length < connections) {
    const lines = await openAll(Math.min(OPENING_AT_ONCE, connections - idle.length), port)
    await Promise.all(lines.map((line) => line.ask(request)))
    idle.push(...lines)
  }
}

async function dropIdle(): Promise<void> {
  await Promise.all(idle.splice(0).map((line) => line.close()))
}

function openAll(count: number, port: number): Promise<Line[]> {
  return Promise.all(Array.from({ length: count }, () => Line.open(port)))
}

function head(first: string, host: string, more = ''): Buffer {
  const common = `Host: ${host}\r\nUser-Agent: bench\r\nAccept: */*\r\n`
  return Buffer.from(`${first} HTTP/1.1\r\n${common}${more}\r\n`)
}

function quantiles(times: readonly number[]): { p50Ms: number; p99Ms: number } {
  const sorted = Float64Array.from(times).sort()
  const at = (share: number) => sorted[Math.floor(share * (sorted.length - 1))] ?? NaN
  return { p50Ms: at(0.5), p99Ms: at(0.99) }
}
