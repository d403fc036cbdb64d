/**
 * One stream over a long way: what a large body reaches when client and server are far apart, beside what it reaches
 * over two plain hops that are as far apart. Visitor and app are near their ends.
 *
 *   hops         visitor → hop → relay → hop → app
 *   groktunnel   visitor → server → relay → client → app      (it is the client that connects)
 *
 * The line has a rate, as lines have. Without one, a plain connection over a relay would run as fast as memory, and
 * no system's TCP does that over such a distance: what it may have on the way is a few MiB.
 */
import type { Values } from './measures.ts'
import { type Program, start } from './processes.ts'
import { startClient, startServer } from './subjects.ts'
import { listenAsApp, transfer, type Way } from './transfer.ts'

export const ROUND_TRIPS_MS = [50, 150] as const
export const WAYS = ['down', 'up'] as const
/** 1 Gbit/s */
const BYTES_PER_MS = 125_000
/** What a body takes if it fills the line; so the first half has the ramp-up, and the last half has none of it. */
const BODY_ROUND_TRIPS = 10
const WARM_UP_BYTES = 16 * 1024 * 1024

interface Far {
  name: 'hops' | 'groktunnel'
  port: number
  programs: Program[]
}

/** MB/s of both subjects in turn, at each distance, down and up; from start to end, and of the last half. */
export async function farAway(isBackwards: boolean): Promise<Record<Far['name'], Values>> {
  const { app, appPort } = await listenAsApp()
  const found: Record<Far['name'], Values> = { hops: {}, groktunnel: {} }
  for (const roundTripMs of ROUND_TRIPS_MS) {
    const { list, host } = await startFar(appPort, roundTripMs / 2)
    const turns = isBackwards ? [...list].reverse() : list
    const bytes = BODY_ROUND_TRIPS * roundTripMs * BYTES_PER_MS
    for (const way of WAYS) {
      for (const { name, port } of turns) {
        await transfer(app, { port, host }, { way, bytes: WARM_UP_BYTES })
        const { whole, lastHalf } = await transfer(app, { port, host }, { way, bytes })
        Object.assign(found[name], {
          [farKey(roundTripMs, way)]: whole,
          [`${farKey(roundTripMs, way)}.lastHalf`]: lastHalf,
        })
      }
    }
    await Promise.all(list.flatMap(({ programs }) => programs.map((program) => program.stop())))
  }
  app.close()
  return found
}

/** The key of a measure; with `.lastHalf` behind it, of its second half. */
export function farKey(roundTripMs: number, way: Way): string {
  return `far${roundTripMs}.${way}`
}

async function startFar(appPort: number, delayMs: number): Promise<{ list: Far[]; host: string }> {
  const lastHop = await start('hop.js', [String(appPort)], /^(\d+)\n/)
  const between = await startRelaying(Number(lastHop.said), delayMs)
  const firstHop = await start('hop.js', [between.said], /^(\d+)\n/)
  const server = await startServer()
  const before = await startRelaying(server.port, delayMs)
  const client = await startClient(appPort, Number(before.said))
  return {
    list: [
      { name: 'hops', port: Number(firstHop.said), programs: [firstHop, between, lastHop] },
      { name: 'groktunnel', port: server.port, programs: [server.program, before, client] },
    ],
    host: new URL(client.said).host,
  }
}

function startRelaying(target: number, delayMs: number): Promise<Program> {
  return start('relaying.js', [target, delayMs, BYTES_PER_MS].map(String), /^(\d+)\n/)
}
