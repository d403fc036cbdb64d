import assert from 'node:assert/strict'
import { once } from 'node:events'
import net, { type Socket } from 'node:net'
import { test, type TestContext } from 'node:test'
import { type ServeOptions } from '../groktunnel.ts'
import {
  ask,
  askPeer,
  httpApp,
  openTunnel,
  startPeer,
  startServer,
  until,
  visitor,
  type Way,
  within,
} from './helpers.ts'
import { askUntil } from './asking.ts'
import type { Usage } from './fixtures/peer.ts'
import { freePort, startClientOf, startServerAt } from './programs.ts'
import { Registrant, registrant } from './registrant.ts'
import { get } from './two-tunnels.ts'

/** A tunnel whose app answers / at once and lets /wait wait. */
async function scene(t: TestContext, options: ServeOptions): Promise<Way> {
  const app = await httpApp(t, (request, response) => {
    if (request.url === '/wait') response.write('waiting')
    else response.end('hello')
  })
  return openTunnel(t, await startServer(t, options), app.port)
}

/** A connection that is taken up with a request. */
async function busy(t: TestContext, way: Way): Promise<Socket> {
  const one = visitor(t, way).send(`GET /wait HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`)
  await one.got('waiting')
  return one.socket
}

async function assertFull(way: Pick<Way, 'port' | 'host'>): Promise<void> {
  const { status, headers, body } = await ask(way)
  assert.equal(status, 503)
  assert.equal(headers['x-groktunnel-error'], 'server-full')
  assert.match(headers['retry-after'] ?? '', /^[1-9]\d*$/)
  assert.equal(headers['connection'], 'close')
  assert.match(body, / connections/)
}

test('a server has only so many public connections; sessions are none; one that leaves makes room', async (t) => {
  const way = await scene(t, { maxConnections: 2 })
  const first = await busy(t, way)
  await busy(t, way)
  await assertFull(way)
  first.destroy()
  await askUntil(200, way)
})

test('a flood that asks, and does not close when it is refused, leaves descriptors for others', async (t) => {
  const app = await httpApp(t, (_, response) => response.end('hello'))
  const port = await freePort()
  const argv = ['--max-connections-per-address', 20]
  await startServerAt(t, port, { descriptors: DESCRIPTORS, argv })
  const client = await startClientOf(t, port, { argv: [app.port] })
  const way = { port, host: client.host }
  const flood = Array.from({ length: 400 }, () => visitor(t, way).send(get(way)))
  await until(
    () => flood.every(({ text, ending }) => text !== '' || ending !== undefined),
    'all to be answered',
  )
  assert.equal((await ask(way, { localAddress: '127.0.0.2' })).body, 'hello')
})

test('as many tunnels as there may be, and a crowd besides, leave descriptors for who comes', async (t) => {
  const app = await httpApp(t, (_, response) => response.end('hello'))
  const port = await freePort()
  const server = await startServerAt(t, port, { descriptors: DESCRIPTORS })
  const client = await startClientOf(t, port, { argv: [app.port] })
  const registrants = await Promise.all(Array.from({ length: 100 }, () => registrant(t, port)))
  const answers = await Promise.all(registrants.map((one) => one.answer()))
  assert.deepEqual([...new Set(answers)].sort(), ['101', '503 server-full'])
  await flood(t, port, { count: 2 * DESCRIPTORS })
  await assertFull({ port, host: client.host })
  assert.match((await ask({ port, host: `localhost:${port}` })).body, /npx groktunnel/)
  assert.doesNotMatch(server.stderr, /EMFILE/)
})

test('an address has only so many public connections, others have theirs', async (t) => {
  const way = await scene(t, { maxConnectionsPerAddress: 2 })
  const first = await busy(t, way)
  await busy(t, way)
  await assertFull(way)
  assert.equal((await ask(way, { localAddress: '127.0.0.2' })).body, 'hello')
  first.destroy()
  await askUntil(200, way)
})

test('a tunnel has only so many public connections, others have theirs', async (t) => {
  const way = await scene(t, { maxConnectionsPerTunnel: 2 })
  const app = await httpApp(t, (_, response) => response.end('other'))
  const server = { port: way.port } as Parameters<typeof openTunnel>[1]
  const other = await openTunnel(t, server, app.port)
  const first = await busy(t, way)
  await busy(t, way)
  await assertFull(way)
  assert.equal((await ask(other)).body, 'other')
  first.destroy()
  await askUntil(200, way)
})

test('refused connections are not counted: a flood of them takes no room', async (t) => {
  const way = await scene(t, { maxConnections: 2 })
  const first = await busy(t, way)
  await busy(t, way)
  for (let wave = 0; wave < 5; wave++) {
    const flood = Array.from({ length: 100 }, () => visitor(t, way).send(get(way)))
    await until(() => flood.every(({ text }) => text.startsWith('HTTP/1.1 503 ')), 'all to be refused')
    for (const { socket } of flood) socket.destroy()
  }
  first.destroy()
  await askUntil(200, way)
})

const HALF_OPEN = 10_000
const BATCH = 500
const KiB = 1024

test('10,000 half-open registrations cost little memory, and honest clients come and serve', async (t) => {
  const app = await httpApp(t, (_, response) => response.end('hello'))
  const [server, port] = await startPeer<number>(t, 'server')
  const [, url] = await startPeer<string>(t, 'client', port, app.port)
  const silent: Registrant[] = []
  t.after(() => silent.forEach(({ socket }) => socket.destroy()))
  const register = async () => {
    const batch = Array.from({ length: BATCH }, () => new Registrant(port, { key: 'key-of-others' }))
    silent.push(...batch)
    await within(Promise.all(batch.map((one) => one.answer())), 'the answers')
  }
  await register()
  const before = await askPeer<Usage>(server, 'usage')
  let mostRss = 0
  while (silent.length < HALF_OPEN) {
    await register()
    mostRss = Math.max(mostRss, await askPeer<number>(server, 'rss'))
  }
  const after = await askPeer<Usage>(server, 'usage')
  const [kept, passing] = [after.rss, mostRss].map((rss) => (rss - before.rss) / KiB / HALF_OPEN)
  t.diagnostic(`${kept?.toFixed(1)} KiB each, with garbage ${passing?.toFixed(1)} KiB at most`)
  assert.ok(kept !== undefined && kept < 8)
  assert.ok(passing !== undefined && passing < 24)
  assert.ok(after.sessions < 2_500, `${after.sessions} sessions`) // the half-open, and those that have yet to hear of their end

  assert.equal((await ask({ port, host: new URL(url).host })).body, 'hello')
  const [, lateUrl] = await startPeer<string>(t, 'client', port, app.port)
  assert.equal((await ask({ port, host: new URL(lateUrl).host })).body, 'hello')
  await until(() => silent.every(({ ending }) => ending !== undefined), 'all silent ones to be ended')
})

// Descriptors

const DESCRIPTORS = 256

/** So many connections that say nothing, and what those that were ended were told: a status, an end or an error. */
async function flood(
  t: TestContext,
  port: number,
  { count }: { count: number },
): Promise<{ sockets: Socket[]; told: string[] }> {
  const [sockets, told]: [Socket[], string[]] = [[], []]
  t.after(() => sockets.forEach((socket) => socket.destroy()))
  for (let n = 0; n < count; n++) {
    const socket = net.connect({ port, host: '127.0.0.1' })
    let text = ''
    socket.on('data', (bytes) => (text += bytes.toString('latin1')))
    socket.on('error', (error: NodeJS.ErrnoException) => told.push(String(error.code)))
    socket.on('end', () => told.push(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? 'end'))
    sockets.push(socket)
    await once(socket, 'connect').catch(() => undefined)
  }
  return { sockets, told }
}

function counts(told: string[]): string {
  const kinds = [...new Set(told)].sort()
  return kinds.map((kind) => `${told.filter((one) => one === kind).length} x ${kind}`).join(', ')
}

test('a server with few descriptors tells those who are too many 503, and goes on afterwards', async (t) => {
  const app = await httpApp(t, (_, response) => response.end('hello'))
  const port = await freePort()
  const server = await startServerAt(t, port, { descriptors: DESCRIPTORS })
  const client = await startClientOf(t, port, { argv: [app.port] })
  const most = 0.75 * (DESCRIPTORS - 32)
  const { sockets, told } = await flood(t, port, { count: 2 * DESCRIPTORS })
  await until(() => told.length >= 2 * DESCRIPTORS - most, 'who is too many to be told')
  assert.equal(counts(told), `${2 * DESCRIPTORS - most} x 503`)
  await assertFull({ port, host: client.host })
  const { body } = await ask({ port, host: `localhost:${port}` })
  assert.match(body, /npx groktunnel/)
  const late = await startClientOf(t, port, { argv: [app.port] })
  await assertFull({ port, host: late.host })
  for (const socket of sockets) socket.destroy()
  await askUntil(200, { port, host: client.host })
  assert.doesNotMatch(server.stderr, /fault|end session/)
  assert.doesNotMatch(client.stderr, /lost/)
})

test('a server that has run out of descriptors goes on, and its tunnels are served again afterwards', async (t) => {
  const app = await httpApp(t, (_, response) => response.end('hello'))
  const port = await freePort()
  const argv = ['--max-connections', 100_000, '--max-tunnels', 100_000, '--heartbeat', 0.5]
  const server = await startServerAt(t, port, { descriptors: DESCRIPTORS, argv })
  const client = await startClientOf(t, port, { argv: [app.port, '--heartbeat', 0.5] })
  const { sockets, told } = await flood(t, port, { count: 2 * DESCRIPTORS })
  await until(() => told.length > DESCRIPTORS, 'the flood to be told')
  t.diagnostic(`the flood was told ${counts(told)}`)
  const answer = await ask({ port, host: client.host }).catch((error: Error) => error)
  t.diagnostic(`a visitor meanwhile: ${answer instanceof Error ? answer.message : answer.status}`)
  for (const socket of sockets) socket.destroy()
  await askUntil(200, { port, host: client.host })
  assert.equal(await (await registrant(t, port)).answer(), '101')
  assert.equal(server.end, undefined)
  assert.doesNotMatch(client.stderr, /lost/)
  t.diagnostic(`the log: ${JSON.stringify(server.stderr)}`)
  assert.ok(server.stderr.split('\n').length < 20)
})
