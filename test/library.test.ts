import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once, getEventListeners } from 'node:events'
import { test, type TestContext } from 'node:test'
import { connect, serve, type Server } from '../groktunnel.ts'
import { executable } from './executable.ts'
import { ask, httpApp, startServer, tcpApp, until, type Visitor, visitor, within } from './helpers.ts'

const entry = JSON.stringify(executable.href)

/** Runs a script that uses the library in a process of its own, which must end by itself. */
async function script(source: string): Promise<{ code: number | null; output: string; ms: number }> {
  const before = performance.now()
  const argv = [
    ...process.execArgv,
    '--input-type=module',
    '-e',
    `import { serve, connect } from ${entry}\n${source}`,
  ]
  const child = spawn(process.execPath, argv, {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 10_000,
    killSignal: 'SIGKILL',
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (text: Buffer) => (output += text.toString()))
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, output, ms: performance.now() - before }
}

test('a process that serves, forwards and closes ends by itself, at once, and nothing is printed', async () => {
  const { code, output, ms } = await script(`
    import http from 'node:http'
    const app = http.createServer((request, response) => response.end('ok')).listen(0, '127.0.0.1')
    await new Promise((resolve) => app.once('listening', resolve))
    const server = await serve({ port: 0 })
    const tunnel = await connect({ port: server.port, local: app.address().port })
    const status = await new Promise((resolve) => {
      const headers = { host: new URL(tunnel.url).host }
      http.get({ port: server.port, headers, agent: false }, (response) => response.resume().on('end', () => resolve(response.statusCode)))
    })
    if (status !== 200) throw new Error('status ' + status)
    await tunnel.close()
    await server.close()
    app.close()
  `)
  assert.deepEqual({ code, output }, { code: 0, output: '' })
  assert.ok(ms < 4_000, `${ms} ms`)
})

test('a process whose tunnel is aborted, and whose server is closed first, ends by itself as well', async () => {
  const { code, output } = await script(`
    const stop = new AbortController()
    const server = await serve({ port: 0 })
    const tunnel = await connect({ port: server.port, local: 1, signal: stop.signal })
    await Promise.all([server.close(), server.close()])
    stop.abort()
    await Promise.allSettled([tunnel.close(), tunnel.closed])
  `)
  assert.deepEqual({ code, output }, { code: 0, output: '' })
})

test('whatever fails to start rejects, and leaves neither a handle nor an unhandled rejection', async () => {
  const { code, output } = await script(`
    const server = await serve({ port: 0 })
    const codes = []
    const failing = (promise) => promise.then(() => codes.push('none'), (error) => codes.push(error.code))
    await failing(serve({ port: server.port }))
    await failing(serve({ port: 0, bind: '192.0.2.1' }))
    for (const bad of [{ host: 'a b' }, { host: '' }, { port: 99999 }, { port: 'x' }, { port: 0.5 }])
      await failing(serve({ port: 0, ...bad }))
    await failing(connect({ port: server.port, local: 1, subdomain: 'a.b' }))
    const { url, close } = await connect({ port: server.port, local: 1, subdomain: 'mine' })
    await failing(connect({ port: server.port, local: 1, subdomain: 'mine' }))
    await close()
    const { port } = server
    await server.close()
    await failing(connect({ port, local: 1 }))
    await new Promise((resolve) => setImmediate(resolve))
    const usage = Array(5).fill('usage')
    const expected = ['cannot-listen', 'cannot-listen', ...usage, 'bad-name', 'name-taken', 'unreachable']
    if (codes.join() !== expected.join()) throw new Error(codes.join())
  `)
  assert.deepEqual({ code, output }, { code: 0, output: '' })
})

test('times without end are as long as can be, and nothing warns', async () => {
  const { code, output } = await script(`
    const forEver = Object.fromEntries(
      ['headTimeoutMs', 'firstByteTimeoutMs', 'graceMs', 'gapMs', 'holdMs', 'heartbeatMs'].map((key) => [key, Infinity]),
    )
    const server = await serve({ port: 0, ...forEver })
    const tunnel = await connect({ port: server.port, local: 1, ...forEver })
    const { status } = await fetch('http://127.0.0.1:' + server.port, { headers: { host: new URL(tunnel.url).host } })
    if (status !== 404 && status !== 502) throw new Error(String(status))
    await tunnel.close()
    await server.close()
  `)
  assert.deepEqual({ code, output }, { code: 0, output: '' })
})

test('a tunnel that nobody listens to may lose its server and come back without an unhandled rejection', async () => {
  const { code, output } = await script(`
    const first = await serve({ port: 0 })
    const { port } = first
    const tunnel = await connect({ port, local: 1 })
    await first.close()
    const second = await serve({ port })
    const [host] = await new Promise((resolve) => second.once('start', (...told) => resolve(told)))
    if (new URL(tunnel.url).host !== host) throw new Error(host)
    await second.close()
    await new Promise((resolve) => setImmediate(resolve))
    await tunnel.close()
  `)
  assert.deepEqual({ code, output }, { code: 0, output: '' })
})

test('a signal aborted before: connect rejects, serve does not stay open', async (t) => {
  const server = await startServer(t)
  const signal = AbortSignal.abort()
  await assert.rejects(connect({ port: server.port, local: 1, signal }), { name: 'AbortError' })
  const other = await serve({ port: 0, signal }).catch(() => undefined)
  if (other !== undefined) await within(other.closed, 'the server to close')
  assert.equal(getEventListeners(signal, 'abort').length, 0)
})

test('a signal aborted while it connects makes connect reject and closes the connection', async (t) => {
  const silent = await tcpApp(t, () => undefined)
  const stop = new AbortController()
  const connecting = connect({ port: silent.port, local: 1, signal: stop.signal })
  await once(silent, 'connection')
  stop.abort()
  await assert.rejects(within(connecting, 'an end'), { name: 'AbortError' })
  for (const socket of silent.sockets) socket.resume().end()
  await until(() => silent.sockets.size === 0, 'the connection to close')
})

test('a signal aborted later closes tunnel and server, and is let go of', async (t) => {
  const app = await httpApp(t, (_, response) => response.end('ok'))
  const [stopServer, stopTunnel] = [new AbortController(), new AbortController()]
  const server = await serve({ port: 0, signal: stopServer.signal })
  t.after(() => {
    stopTunnel.abort()
    return server.close()
  })
  for (let n = 0; n < 3; n++) {
    const tunnel = await connect({ port: server.port, local: app.port, signal: stopTunnel.signal })
    await tunnel.close()
  }
  assert.equal(getEventListeners(stopTunnel.signal, 'abort').length, 0, 'listeners of closed tunnels')
  const tunnel = await connect({ port: server.port, local: app.port, signal: stopTunnel.signal })
  const way = { port: server.port, host: new URL(tunnel.url).host }
  assert.equal((await ask(way)).body, 'ok')
  stopTunnel.abort()
  await within(tunnel.closed, 'the tunnel to close')
  assert.equal((await ask(way)).status, 404)
  stopServer.abort()
  await within(server.closed, 'the server to close')
  assert.equal(getEventListeners(stopServer.signal, 'abort').length, 0)
})

/** Visitors who end when the server does: one says nothing, one half a head, one is reading a page. */
async function loiterers(t: TestContext, server: Server): Promise<Visitor[]> {
  const page = `GET / HTTP/1.1\r\nHost: localhost:${server.port}\r\n\r\n`
  const all: Visitor[] = []
  for (const sent of ['', 'GET / HT', page]) {
    const one = visitor(t, server)
    all.push(one)
    await once(one.socket, 'connect')
    one.socket.on('end', () => one.socket.end())
    if (sent !== '') await new Promise((resolve) => one.socket.write(sent, resolve))
  }
  return all
}

test('a server that gives no time closes at once though visitors idle, send half a head, or read a page', async (t) => {
  const server = await startServer(t, { graceMs: 0 })
  await loiterers(t, server)
  const before = performance.now()
  await within(server.close(), 'the server to close')
  assert.ok(performance.now() - before < 2_000, `${performance.now() - before} ms`)
})

test('a server that gives time waits for the rest of half a head, and for nobody who idles', async (t) => {
  const server = await startServer(t, { graceMs: 60_000 })
  const [idle, half] = await loiterers(t, server)
  assert.ok(idle && half)
  await ask({ port: server.port, host: 'none' }) // who came before has been heard by now
  const closed = server.close()
  assert.equal(await idle.ended(), 'end')
  assert.equal(half.ending, undefined)
  half.send(`TP/1.1\r\nHost: none.localhost:${server.port}\r\n\r\n`)
  await half.got(/^HTTP\/1\.1 404 [^]*X-Groktunnel-Error: no-such-tunnel\r\n/)
  await within(closed, 'the server to close', 2_000)
})
