/**
 * `npm run chaos -- [--seconds 60] [--seed N]`: a server, its clients and their local services are killed, frozen and
 * restarted at random, while visitors up- and download bodies. Each body must come right by SHA-256 or break visibly, and
 * nobody may hang; whoever is told to stop must end with 0, and nobody may end untold. Afterwards every URL must answer,
 * and server and clients hold no more than they did before.
 */
import { setTimeout } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import type { Holdings } from './fixtures/tell-usage.ts'
import { until } from './helpers.ts'
import { folder, freePort, type Program, start, startBodyApp } from './programs.ts'
import { type Body, download, type Outcome, upload } from './transfers.ts'

const { values } = parseArgs({ options: { seconds: { type: 'string' }, seed: { type: 'string' } } })
const seconds = Number(values.seconds ?? 60)
const seed = Number(values.seed ?? Date.now() % 2 ** 31)

const VISITORS = 12
const MOST_BYTES = 2 * 1024 * 1024
/** Longer than all delays that a visitor may meet together. */
const HANG_MS = 30_000
const FAREWELLS_MS = 15_000
const TIMES = ['--heartbeat', 0.5, '--grace', 1]

const ends: (() => unknown)[] = []
const cleanup = { after: (end: () => unknown) => void ends.unshift(end) }
process.on('exit', () => ends.forEach((end) => end()))
process.on('SIGINT', () => process.exit(130))

/** What was done to whom so far, and what came of it that must not be. */
const troubles: string[] = []
const violations: string[] = []

function violation(what: string): void {
  violations.push(what)
  console.log(`VIOLATION ${what}\n  after ${troubles.slice(-10).join(', ')}`)
}

/** mulberry32: the same numbers for the same seed. */
function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

const random = seeded(seed)
const below = (most: number) => Math.floor(random() * most)
const oneOf = <T>(things: readonly T[]): T => things[below(things.length)] as T

/** Who is made to suffer: a process that begins anew whenever it has ended. */
class Actor {
  readonly name: string
  readonly #begin: () => Promise<Program>
  /** The last is the one that runs. */
  readonly programs: Program[] = []
  isBusy = false
  kills = 0
  #isDoomed = false

  constructor(name: string, begin: () => Promise<Program>) {
    this.name = name
    this.#begin = begin
  }

  get program(): Program {
    return this.programs.at(-1) as Program
  }

  async begin(): Promise<this> {
    const program = await this.#begin()
    this.programs.push(program)
    this.#isDoomed = false
    program.child.on('close', (code, signal) => {
      if (this.program === program && !this.#isDoomed)
        violation(`${this.name} ended by itself: ${code ?? signal}\n${program.stderr.slice(-2_000)}`)
    })
    return this
  }

  async kill(): Promise<void> {
    this.#isDoomed = true
    this.kills += 1
    await this.program.kill('SIGKILL').ended()
    await setTimeout(below(1_500))
    await this.begin()
  }

  async freeze(): Promise<void> {
    this.program.kill('SIGSTOP')
    await setTimeout(100 + below(3_000))
    this.program.kill('SIGCONT')
  }

  /** The next one may begin while this one is still leaving. */
  async stop(): Promise<void> {
    this.#isDoomed = true
    const { program } = this
    const ended = program
      .kill('SIGTERM')
      .ended(20_000)
      .then(
        (code) =>
          isClean(program, code) || violation(`${this.name} was told to stop, and ended with ${code}`),
        () => violation(`${this.name} was told to stop, and did not`),
      )
    if (below(2) === 0) await ended
    await this.begin()
  }
}

/** 0; but who has yet to begin dies of a signal like any process. */
function isClean({ stdout, stderr }: Program, code: number | NodeJS.Signals | undefined): boolean {
  return code === 0 || (code === 'SIGTERM' && stdout + stderr === '')
}

type Trouble = 'kill' | 'freeze' | 'stop'

/** From time to time somebody meets with trouble; the server is spared the worst in the last third, to see what it keeps. */
async function trouble(actors: readonly Actor[]): Promise<void> {
  const from = performance.now()
  const pastMs = () => performance.now() - from
  const under: Promise<void>[] = []
  while (pastMs() < seconds * 1000) {
    await setTimeout(below(1_000))
    const actor = oneOf(actors)
    const isService = actor.name.startsWith('service')
    const isSpared = actor.name === 'server' && pastMs() > (seconds * 1000 * 2) / 3
    const what: Trouble = isSpared
      ? 'freeze'
      : oneOf(isService ? ['kill', 'freeze'] : ['kill', 'freeze', 'stop'])
    if (actor.isBusy) continue
    actor.isBusy = true
    troubles.push(`${what} ${actor.name}`)
    under.push(
      actor[what]()
        .catch((error: unknown) => violation(`${actor.name}: ${String(error)}`))
        .finally(() => (actor.isBusy = false)),
    )
  }
  await Promise.all(under)
}

function randomTransfer(): [transfer: typeof download, body: Body] {
  const transfer = oneOf([download, upload])
  const body: Body = {
    bytes: below(4) === 0 ? below(1_000) : below(MOST_BYTES),
    seed: `chaos${below(1_000_000)}`,
    framing: oneOf(transfer === download ? ['length', 'chunked', 'close'] : ['length', 'chunked']),
    pauseMs: oneOf([0, 0, 5, 20]),
  }
  return [transfer, body]
}

interface Way {
  port: number
  host: string
  /** Server and service: what one that is killed had under way its system ends like a whole body. */
  ends: readonly Actor[]
}

async function visitOnce(way: Way): Promise<Outcome> {
  const [transfer, body] = randomTransfer()
  const hang = new AbortController()
  const late = setTimeout(HANG_MS, 'hang', { signal: hang.signal }).catch(() => 'hang')
  const kills = () => way.ends.reduce((sum, actor) => sum + actor.kills, 0)
  const before = kills()
  const outcome = await Promise.race([transfer(way, body).outcome, late])
  hang.abort()
  if (outcome !== 'hang' && !outcome.startsWith('wrong')) return outcome
  if (outcome !== 'hang' && body.framing === 'close' && kills() > before)
    return 'short, its sender was killed'
  violation(`${outcome}: ${transfer.name} of ${JSON.stringify(body)} at ${way.host}`)
  return outcome
}

/** Visitors come one after the other until told to stop; what became of all of them is counted. */
async function visit(ways: readonly Way[], until: AbortSignal) {
  const counts = new Map<Outcome, number>()
  const visitor = async () => {
    while (!until.aborted) {
      const outcome = await visitOnce(oneOf(ways))
      counts.set(outcome, (counts.get(outcome) ?? 0) + 1)
      if (outcome !== 'right') await setTimeout(100)
    }
  }
  await Promise.all(Array.from({ length: VISITORS }, visitor))
  return [...counts].sort(([, one], [, other]) => other - one)
}

async function answers(way: Way): Promise<void> {
  const body: Body = { bytes: 10_000, seed: 'after', framing: 'length', pauseMs: 0 }
  for (const from = performance.now(); performance.now() - from < HANG_MS;) {
    if ((await download(way, body).outcome) === 'right' && (await upload(way, body).outcome) === 'right')
      return
    await setTimeout(50)
  }
  violation(`${way.host} does not answer any more`)
}

function holdingsOf(actors: readonly Actor[]): Promise<Holdings[]> {
  return Promise.all(actors.map(({ program }) => program.holdings()))
}

/** No more than before; of sessions that ended the last one may still be reachable from whoever told of its end. */
function isNoMore(now: readonly Holdings[], before: readonly Holdings[]): boolean {
  return now.every(({ handles, channels, sessions }, n) => {
    const was = before[n] as Holdings
    return handles <= was.handles && channels <= was.channels && sessions <= was.sessions + 1
  })
}

/** The server before may still be leaving, and have the port for a moment more. */
async function startServer(port: number, state: string): Promise<Program> {
  for (;;) {
    const server = start(cleanup, ['-p', port, ...TIMES], { state, tells: true })
    await until(() => server.stderr.includes('ready at') || server.end !== undefined, 'a server')
    if (server.end === undefined) return server
    if (!server.stderr.includes('EADDRINUSE')) throw new Error(server.stderr)
  }
}

/** Whether something comes true once all farewells have been said. */
async function comesTrue(isTrue: () => Promise<boolean>): Promise<boolean> {
  for (const from = performance.now(); performance.now() - from < FAREWELLS_MS;) {
    if (await isTrue()) return true
    await setTimeout(200)
  }
  return false
}

interface Stage {
  server: Actor
  services: Actor[]
  clients: Actor[]
  ways: Way[]
}

/** A server, three clients of it and two services, all of them ready. */
async function setStage(): Promise<Stage> {
  const [port, state] = [await freePort(), folder(cleanup)]
  const server = await new Actor('server', () => startServer(port, state)).begin()
  const services: Actor[] = []
  const clients: Actor[] = []
  const ways: Way[] = []
  for (const name of ['one', 'two']) {
    const local = await freePort()
    const service = await new Actor(`service ${name}`, () => startBodyApp(cleanup, local)).begin()
    services.push(service)
    for (const subdomain of name === 'one' ? ['myapp', 'other'] : ['third']) {
      const options = { state: folder(cleanup), tells: true }
      const argv = ['-p', port, '-s', subdomain, '--wait', ...TIMES, local]
      const begin = () => Promise.resolve(start(cleanup, argv, options))
      clients.push(await new Actor(`client ${subdomain}`, begin).begin())
      ways.push({ port, host: `${subdomain}.localhost:${port}`, ends: [server, service] })
    }
  }
  for (const way of ways) await answers(way)
  return { server, services, clients, ways }
}

/** Afterwards all is as before: URLs answer, nothing is held, and no service was told that half a body is a whole one. */
async function takeStock({ server, services, clients, ways }: Stage, before: Holdings[]): Promise<void> {
  for (const way of ways) await answers(way)
  let after: Holdings[] = []
  if (!(await comesTrue(async () => isNoMore((after = await holdingsOf([server, ...clients])), before))))
    violation(`held before and after:\n${JSON.stringify(before)}\n${JSON.stringify(after)}`)
  for (const { name, programs } of services)
    for (const { stderr } of programs) if (stderr !== '') violation(`${name}: ${stderr}`)
}

async function main(): Promise<number> {
  if (!(seconds > 0 && Number.isInteger(seed))) throw new Error('expected --seconds and --seed to be numbers')
  console.log(`seed ${seed}, ${seconds} s`)
  const stage = await setStage()
  const { server, services, clients, ways } = stage
  await setTimeout(1_000)
  const before = await holdingsOf([server, ...clients])

  const stop = new AbortController()
  const visits = visit(ways, stop.signal)
  await trouble([server, ...services, ...clients])
  stop.abort()
  for (const [outcome, count] of await visits) console.log(`${String(count).padStart(6)}  ${outcome}`)

  await takeStock(stage, before)
  console.log(`${troubles.length} troubles, ${violations.length} violations, seed ${seed}`)
  return violations.length === 0 ? 0 : 1
}

process.exit(await main())
