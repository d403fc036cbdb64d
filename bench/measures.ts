/** What is measured of a subject: the work the load did, and the CPU time and memory its processes took for it. */
import { setTimeout as delay } from 'node:timers/promises'
import type { Counted } from './app.ts'
import { cpuSeconds, memoryMiB } from './cpu.ts'
import type { Order, Work } from './load.ts'
import type { Helper } from './processes.ts'
import type { Subject } from './subjects.ts'

/** The load generator, the app behind every subject, and how long a sample takes. */
export interface Bench {
  load: Helper<Order, Work>
  app: Helper<object, Counted>
  sampleMs: number
}

/** Numbers of one subject in one round, by the keys of the table's rows. */
export type Values = Record<string, number>

/** Before each sample: for code to get compiled, and windows to grow. */
const WARM_UP_MS = { small: 300, new: 3000, down: 300, up: 300 }
/** After each sample: for what closes connections behind the last answer. */
const SETTLE_MS = 30
const MEMORY_SETTLE_MS = 500
const IDLE_CONNECTIONS = 1000

interface Sample extends Work {
  /** in seconds; NaN for direct, which has no processes */
  cpu: number
  /** of the load generator and the app; not counted as the subject's */
  cpuAround: number
}

type Measure = (bench: Bench, subject: Subject, host: string) => Promise<Values>

export const measures: Measure[] = [smallRequests, oneByOne, newConnections, downloads, uploads]

async function smallRequests(bench: Bench, subject: Subject, host: string): Promise<Values> {
  const { requests, seconds, p50Ms, p99Ms, cpu, cpuAround } = await sample(bench, subject, host, 'small', 16)
  return {
    'small16.rate': requests / seconds,
    'small16.p50': p50Ms,
    'small16.p99': p99Ms,
    'small.cpu': (cpu / requests) * 1e6,
    'small.cpuAround': (cpuAround / requests) * 1e6,
  }
}

async function oneByOne(bench: Bench, subject: Subject, host: string): Promise<Values> {
  const { requests, seconds, p50Ms, p99Ms } = await sample(bench, subject, host, 'small', 1)
  return { 'small1.rate': requests / seconds, 'small1.p50': p50Ms, 'small1.p99': p99Ms }
}

/** A new connection runs the most code, each part of it seldom: what it costs until V8 has compiled that is another row. */
async function newConnections(bench: Bench, subject: Subject, host: string): Promise<Values> {
  const first = await measured(bench, subject, host, 'new', 16)
  const { requests, seconds, cpu } = await sample(bench, subject, host, 'new', 16)
  return {
    'new.rate': requests / seconds,
    'new.cpu': (cpu / requests) * 1e6,
    'new.firstCpu': (first.cpu / first.requests) * 1e6,
  }
}

function downloads(bench: Bench, subject: Subject, host: string): Promise<Values> {
  return transfers(bench, subject, host, 'down')
}

function uploads(bench: Bench, subject: Subject, host: string): Promise<Values> {
  return transfers(bench, subject, host, 'up')
}

async function transfers(bench: Bench, subject: Subject, host: string, way: 'down' | 'up'): Promise<Values> {
  const one = await sample(bench, subject, host, way, 1)
  const four = await sample(bench, subject, host, way, 4)
  return {
    [`${way}1.rate`]: one.bytes / one.seconds / 1e6,
    [`${way}4.rate`]: four.bytes / four.seconds / 1e6,
    [`${way}.cpu`]: ((one.cpu + four.cpu) / (one.bytes + four.bytes)) * 1e9,
  }
}

/** Memory of a subject just started: at rest, then with idle connections, each of which has asked once. */
export async function restAndIdle({ load }: Bench, subject: Subject, host: string): Promise<Values> {
  await delay(MEMORY_SETTLE_MS)
  const rest = memoryMiB(subject.pids, 'VmRSS')
  await load.ask({ kind: 'idle', port: subject.port, host, connections: IDLE_CONNECTIONS, ms: 0 })
  await delay(MEMORY_SETTLE_MS)
  const idle = memoryMiB(subject.pids, 'VmRSS')
  await load.ask({ kind: 'drop', port: subject.port, host, connections: 0, ms: 0 })
  return { 'rss.rest': rest, 'rss.idle': idle, 'rss.perIdle': ((idle - rest) * 1024) / IDLE_CONNECTIONS }
}

/** The most memory a subject ever took; call it after the load. */
export function peakMemory({ pids }: Subject): Values {
  return { 'rss.peak': memoryMiB(pids, 'VmHWM') }
}

type Kind = 'small' | 'new' | 'down' | 'up'

/** One sample of one kind of work, after its warm-up. */
async function sample(
  bench: Bench,
  subject: Subject,
  host: string,
  kind: Kind,
  connections: number,
): Promise<Sample> {
  await bench.load.ask({ kind, port: subject.port, host, connections, ms: WARM_UP_MS[kind] })
  return measured(bench, subject, host, kind, connections)
}

/** Throws when the app did not see what the load says it did. */
async function measured(
  bench: Bench,
  subject: Subject,
  host: string,
  kind: Kind,
  connections: number,
): Promise<Sample> {
  const { load, app, sampleMs } = bench
  const around = [load.pid, app.pid]
  const order = { kind, port: subject.port, host, connections }
  await delay(SETTLE_MS)
  const before = await app.ask({})
  const [cpu, cpuAround] = [cpuSeconds(subject.pids), cpuSeconds(around)]
  const work = await load.ask({ ...order, ms: sampleMs })
  await delay(SETTLE_MS)
  const spent = subject.pids.length === 0 ? NaN : cpuSeconds(subject.pids) - cpu
  const spentAround = cpuSeconds(around) - cpuAround
  checkArrived(work, kind === 'up', before, await app.ask({}))
  return { ...work, cpu: spent, cpuAround: spentAround }
}

function checkArrived(work: Work, isUpload: boolean, before: Counted, after: Counted): void {
  const requests = after.requests - before.requests
  const bytes = after.bytes - before.bytes
  if (requests === work.requests && bytes === (isUpload ? work.bytes : 0)) return
  throw new Error(
    `expected the app to count ${work.requests} requests and ${work.bytes} bytes, got ${requests} and ${bytes}`,
  )
}
