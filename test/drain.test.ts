import assert from 'node:assert/strict'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import net from 'node:net'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { connect } from '../groktunnel.ts'
import { ask, httpApp, openTunnel, startServer, tcpApp, until, visitor, type Way, within } from './helpers.ts'
import { askUntil } from './asking.ts'
import { folder, freePort, startBodyApp, startClientOf, startServerAt, refusalOf } from './programs.ts'
import { registrant } from './registrant.ts'
import { download } from './transfers.ts'

const KiB = 1024
/** Far longer than any of these tests may take: what waits for it fails. */
const NEVER_MS = 60_000

/** An app that answers when it is told to. */
async function patientApp(t: TestContext) {
  const waiting: ServerResponse[] = []
  const app = await httpApp(t, (_, response) => void waiting.push(response))
  return Object.assign(app, { waiting })
}

/** The code of the error that a new connection meets, or 'open'. */
async function connecting(port: number): Promise<string> {
  const socket = net.connect({ port, host: '127.0.0.1' })
  const came = await once(socket, 'connect').then(
    () => 'open',
    (error: NodeJS.ErrnoException) => String(error.code),
  )
  socket.destroy()
  return came
}

const GET = ({ host }: { host: string }) => `GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`

test('a server that closes takes no more connections, and lets a request under way finish before the session ends', async (t) => {
  const app = await patientApp(t)
  const server = await startServer(t, { graceMs: NEVER_MS })
  const way = await openTunnel(t, server, app.port)
  const losses: unknown[] = []
  way.tunnel.on('lost', (error) => losses.push(error.code))
  const one = visitor(t, way).send(GET(way))
  await until(() => app.waiting.length === 1, 'the request')
  const closed = server.close()
  assert.equal(await connecting(server.port), 'ECONNREFUSED')
  app.waiting[0]?.write('half, ')
  await one.got('half, ')
  assert.deepEqual(losses, [])
  app.waiting[0]?.end('whole')
  assert.equal(await one.ended(), 'end')
  assert.match(one.text, /\r\n0\r\n\r\n$/)
  one.socket.end()
  await within(closed, 'the close', 3_000)
  await until(() => losses.length > 0, 'the client to be told')
  assert.deepEqual(losses, ['session-closed'])
})

test('visitors who ask for nothing keep no server from closing', async (t) => {
  const app = await httpApp(t, (_, response) => response.end('hello'))
  const server = await startServer(t, { graceMs: NEVER_MS })
  const way = await openTunnel(t, server, app.port)
  const [idle, silent, own] = [visitor(t, way), visitor(t, way), visitor(t, way)]
  await idle.send(GET(way)).got('hello')
  await own.send(`GET / HTTP/1.1\r\nHost: localhost:${way.port}\r\n\r\n`).got('200 OK')
  const closed = server.close()
  for (const one of [idle, silent, own]) {
    assert.equal(await one.ended(), 'end')
    one.socket.end()
  }
  await within(closed, 'the close', 3_000)
})

test('a connection that has yet to say who it is for keeps no server from closing', async (t) => {
  const server = await startServer(t, { graceMs: NEVER_MS, proxyProtocolIn: true, trustProxy: ['127.0.0.1'] })
  const proxy = visitor(t, server)
  // Who comes later is taken later.
  const known = visitor(t, server).send('PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\n\r\n')
  await known.got('400 ')
  known.socket.end()
  const closed = server.close()
  await until(() => proxy.ending !== undefined, 'its end', 3_000)
  proxy.socket.end()
  await within(closed, 'the close', 3_000)
})

test('a visitor who waits for a client that is away is told 503 when the server closes', async (t) => {
  const server = await startServer(t, { graceMs: NEVER_MS, gapMs: NEVER_MS, maxWaiting: 1 })
  const client = await registrant(t, server.port, { name: 'myapp', key: 'key-of-ours' })
  const end = once(server, 'end')
  client.socket.destroy()
  await end
  const way = { port: server.port, host: `myapp.localhost:${server.port}` }
  const two = [visitor(t, way).send(GET(way)), visitor(t, way).send(GET(way))]
  await until(() => two.some(({ ending }) => ending !== undefined), 'one of two not to wait')
  const closed = server.close()
  for (const one of two) {
    assert.match(await one.got('503 '), /X-Groktunnel-Error: tunnel-away/)
    one.socket.end()
  }
  await within(closed, 'the close', 3_000)
})

test('what takes longer than the grace is reset, and the server closes', async (t) => {
  const app = await patientApp(t)
  const graceMs = 300
  const server = await startServer(t, { graceMs })
  const way = await openTunnel(t, server, app.port)
  const [begun, unanswered] = [visitor(t, way).send(GET(way)), visitor(t, way).send(GET(way))]
  await until(() => app.waiting.length === 2, 'the requests')
  const from = performance.now()
  const closed = server.close()
  app.waiting[0]?.write('half')
  app.waiting[1]?.write('half')
  await begun.got('half')
  await unanswered.got('half')
  for (const one of [begun, unanswered]) assert.equal(await one.ended(), 'ECONNRESET')
  assert.ok(performance.now() - from > graceMs - 50)
  await within(closed, 'the close')
})

test('a joined connection (WebSocket) goes on for the grace, and is reset', async (t) => {
  const app = await tcpApp(t, (socket) => {
    socket.once('data', () => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
      socket.pipe(socket)
    })
  })
  const server = await startServer(t, { graceMs: 500 })
  const way = await openTunnel(t, server, app.port)
  const one = visitor(t, way).send(
    `GET / HTTP/1.1\r\nHost: ${way.host}\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n`,
  )
  await one.got('101 ')
  const closed = server.close()
  await one.send('still here').got('still here')
  assert.equal(await one.ended(), 'ECONNRESET')
  await within(closed, 'the close')
})

test('a client that closes finishes what is under way; its name is free at once', async (t) => {
  const app = await patientApp(t)
  const server = await startServer(t)
  const way = await openTunnel(t, server, app.port, 'myapp')
  const one = visitor(t, way).send(GET(way))
  await until(() => app.waiting.length === 1, 'the request')
  const closed = way.tunnel.close()
  await askUntil(404, way)
  const next = await connect({ port: server.port, local: app.port, subdomain: 'myapp' })
  t.after(() => next.close())
  app.waiting[0]?.end('whole')
  await one.got('whole')
  one.socket.end()
  await within(closed, 'the close')
})

test('an idle connection of a visitor keeps no client from closing, and is closed', async (t) => {
  const app = await httpApp(t, (_, response) => response.end('hello'))
  app.keepAliveTimeout = NEVER_MS
  const way = await openTunnel(t, await startServer(t), app.port)
  const idle = visitor(t, way)
  await idle.send(GET(way)).got('hello')
  const closed = way.tunnel.close()
  assert.equal(await idle.ended(), 'end')
  idle.socket.end()
  await within(closed, 'the close', 2_000)
})

test('what takes longer than the grace of a client is reset, and the client closes', async (t) => {
  const app = await patientApp(t)
  const server = await startServer(t)
  const tunnel = await connect({ port: server.port, local: app.port, graceMs: 200 })
  const way: Way = { port: server.port, host: new URL(tunnel.url).host, tunnel }
  const one = visitor(t, way).send(GET(way))
  await until(() => app.waiting.length === 1, 'the request')
  app.waiting[0]?.write('half')
  await one.got('half')
  await within(tunnel.close(), 'the close')
  assert.equal(await one.ended(), 'ECONNRESET')
})

// The program, told by signals.

const SLOW = { seed: 'slow', framing: 'length', pauseMs: 40 } as const

test('SIGTERM: a slow download finishes, and the next server at the same port serves once the clients are back', async (t) => {
  const [port, state] = [await freePort(), folder(t)]
  const app = await startBodyApp(t)
  const first = await startServerAt(t, port, { state })
  const client = await startClientOf(t, port, { argv: [app.port] })
  const slow = download({ port, host: client.host }, { ...SLOW, bytes: 640 * KiB })
  await until(() => slow.passed > 0, 'some of the download')
  first.kill('SIGTERM')
  const second = await startServerAt(t, port, { state })
  const next = download({ port, host: client.host }, { ...SLOW, bytes: 64 * KiB, pauseMs: 0 })
  assert.equal(await within(slow.outcome, 'the slow download'), 'right')
  assert.equal(await within(next.outcome, 'a download from the next server'), 'right')
  assert.equal(await first.ended(), 0)
  assert.equal(second.end, undefined)
  await client.said(/is lost \(the server closed the session\)[^\n]*\n[^\n]* is back after 0\.\d s/)
})

test('SIGTERM: a download longer than --grace is reset, and the exit code is 0', async (t) => {
  const port = await freePort()
  const app = await startBodyApp(t)
  const server = await startServerAt(t, port, { argv: ['--grace', 0.5] })
  const client = await startClientOf(t, port, { argv: [app.port] })
  const slow = download({ port, host: client.host }, { ...SLOW, bytes: 64 * 1024 * KiB })
  await until(() => slow.passed > 0, 'some of the download')
  server.kill('SIGTERM')
  assert.equal(await within(slow.outcome, 'the end of the download'), 'broken: ECONNRESET')
  assert.equal(await server.ended(), 0)
})

test('SIGINT at the client: a request under way finishes, the name is free at once, the exit code is 0', async (t) => {
  const port = await freePort()
  const app = await startBodyApp(t)
  const server = await startServerAt(t, port)
  const argv = ['-s', 'myapp', app.port]
  const client = await startClientOf(t, port, { argv })
  const slow = download({ port, host: client.host }, { ...SLOW, bytes: 1024 * KiB })
  await until(() => slow.passed > 0, 'some of the download')
  client.kill('SIGINT')
  await askUntil(404, { port, host: client.host }, { path: '/0/seed/length/0' })
  await startClientOf(t, port, { argv })
  assert.equal(client.end, undefined)
  assert.equal(await within(slow.outcome, 'the download'), 'right')
  assert.equal(await client.ended(), 0)
  assert.doesNotMatch(client.stderr, /lost/)
  assert.equal(server.end, undefined)
})

test('a second signal ends either side at once', async (t) => {
  const port = await freePort()
  const app = await startBodyApp(t)
  const server = await startServerAt(t, port)
  const clients = [
    await startClientOf(t, port, { argv: [app.port] }),
    await startClientOf(t, port, { argv: [app.port] }),
  ]
  const slow = clients.map(({ host }) => download({ port, host }, { ...SLOW, bytes: 64 * 1024 * KiB }))
  await until(() => slow.every(({ passed }) => passed > 0), 'some of the downloads')
  const [client] = clients
  assert.ok(client)
  // Two signals of a kind at once may be taken for one, so the first must have been heard.
  client.kill('SIGINT')
  await askUntil(404, { port, host: client.host })
  assert.equal(client.end, undefined)
  assert.equal(await client.kill('SIGINT').ended(1_000), 1)
  server.kill('SIGTERM')
  while ((await connecting(port)) !== 'ECONNREFUSED') assert.equal(server.end, undefined)
  assert.equal(await server.kill('SIGTERM').ended(1_000), 1)
  for (const { outcome } of slow) assert.match(await within(outcome, 'the end of a download'), /^broken: /)
})

test('SIGHUP reads the tokens again: sessions go on, who was removed is refused, a broken file changes nothing', async (t) => {
  const port = await freePort()
  const app = await httpApp(t, (_, response) => response.end('hello'))
  const tokens = join(folder(t), 'tokens.toml')
  const [alice, bob] = ['alice-secret', 'bob-secret']
  writeFileSync(tokens, `[alice]\ntoken = "${alice}"\n[bob]\ntoken = "${bob}"\n`)
  const server = await startServerAt(t, port, { argv: ['--tokens', tokens] })
  const clientOf = (token: string) =>
    startClientOf(t, port, { argv: [app.port], env: { GROKTUNNEL_TOKEN: token } })
  const bobs = await clientOf(bob)

  writeFileSync(tokens, `[alice]\ntoken = "${alice}"\n`)
  server.kill('SIGHUP')
  await server.said(/read again/)
  assert.equal((await ask({ port, host: bobs.host })).body, 'hello')
  assert.match(await refusalOf(clientOf(bob)), /got 4: groktunnel: [^\n]*token/)
  await clientOf(alice)

  writeFileSync(tokens, '[alice\n')
  server.kill('SIGHUP')
  await server.said(/not read again, the old ones stay: [^\n]*tokens\.toml/)
  await clientOf(alice)
  assert.equal((await ask({ port, host: bobs.host })).body, 'hello')
  assert.doesNotMatch(server.stderr, /end session|secret/)
})
