/**
 * `npm run bench -- [--quick] [--rounds N] [--json FILE]`: what a tunnel costs beside the least it could cost.
 *
 * The machine is never quiet. So subjects take turns at every measure, and what counts is the ratio of groktunnel to
 * two plain hops within a round, the median of the rounds. CPU time is steadier than rates: the five processes share
 * the cores, and a rate says who had to wait. Loopback only; Linux only (CPU and memory are read from /proc).
 */
import { existsSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import { parseArgs } from 'node:util'
import type { Counted } from './app.ts'
import { farAway } from './latency.ts'
import type { Order, Work } from './load.ts'
import { type Bench, measures, peakMemory, restAndIdle } from './measures.ts'
import { Helper } from './processes.ts'
import { measureStart } from './starting.ts'
import { startSubjects, type Subjects } from './subjects.ts'
import { type Round, startLines, summarize, table } from './table.ts'

const START_TIMES = 15

async function main(): Promise<void> {
  const { rounds, sampleMs, json } = options()
  if (!existsSync('/proc/self/stat')) throw new Error('expected Linux, which has CPU times in /proc')
  const bench: Bench = {
    app: await Helper.start<object, Counted>('app.js'),
    load: await Helper.start<Order, Work>('load.js'),
    sampleMs,
  }
  const { port } = await bench.app.ask({})
  const start = await measureStart(port, START_TIMES)
  const found: Round[] = []
  for (let round = 1; round <= rounds; round++) {
    progress(`round ${round} of ${rounds}`)
    found.push(await runRound(bench, port, round % 2 === 0))
  }
  const summaries = summarize(found)
  console.log(`${machine()}; rounds: ${rounds}, of ${sampleMs / 1000} s a sample\n`)
  console.log(`${table(summaries)}\n\n${startLines(start)}`)
  if (json !== undefined) {
    writeFileSync(
      json,
      `${JSON.stringify({ machine: machine(), summaries, start, rounds: found }, null, 2)}\n`,
    )
  }
}

/** Every measure of every subject, in turns. Memory is taken of processes that have done nothing before. */
async function runRound(bench: Bench, appPort: number, backwards: boolean): Promise<Round> {
  const round: Round = { direct: {}, hops: {}, groktunnel: {} }
  await withSubjects(appPort, async ({ list, host }) => {
    for (const subject of list.slice(1)) {
      Object.assign(round[subject.name], await restAndIdle(bench, subject, host))
    }
  })
  await withSubjects(appPort, async ({ list, host }) => {
    const turns = backwards ? [...list].reverse() : list
    for (const measure of measures) {
      for (const subject of turns) Object.assign(round[subject.name], await measure(bench, subject, host))
    }
    for (const subject of list.slice(1)) Object.assign(round[subject.name], peakMemory(subject))
  })
  const far = await farAway(backwards)
  Object.assign(round.hops, far.hops)
  Object.assign(round.groktunnel, far.groktunnel)
  return round
}

async function withSubjects(appPort: number, use: (subjects: Subjects) => Promise<void>): Promise<void> {
  const subjects = await startSubjects(appPort)
  await use(subjects)
  await Promise.all(subjects.list.map((subject) => subject.stop()))
}

function options(): { rounds: number; sampleMs: number; json: string | undefined } {
  const { values } = parseArgs({
    options: { rounds: { type: 'string' }, quick: { type: 'boolean' }, json: { type: 'string' } },
  })
  const rounds = Number(values.rounds ?? (values.quick ? 1 : 3))
  if (!Number.isInteger(rounds) || rounds < 1)
    throw new Error(`expected --rounds 1 or more, got ${values.rounds}`)
  return { rounds, sampleMs: values.quick ? 1500 : 2000, json: values.json }
}

function machine(): string {
  const cpus = os.cpus()
  const model = cpus[0]?.model.trim() ?? 'unknown'
  return `${model}, ${cpus.length} cores, Linux ${os.release()}, Node ${process.version}`
}

function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`${text}\n`)
}

try {
  await main()
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : String(error)}`)
  process.exitCode = 1
}
process.exit()
