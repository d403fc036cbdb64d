import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import https from 'node:https'
import net, { type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { after, test, type TestContext } from 'node:test'
import type { TLSSocket } from 'node:tls'
import { fileURLToPath } from 'node:url'
import { cut } from '../lib/ending.ts'
import { TunnelError } from '../lib/errors.ts'
import { absence, type Dial, dialer, type DialOptions } from '../lib/local/local.ts'
import { parseTarget, type Service } from '../lib/target.ts'
import { Authority, noOpenssl } from './certificates.ts'
import { serviceAt, tempFolder } from './delivering.ts'
import { listening, tcpApp, until, within } from './helpers.ts'
import { whyNoWire } from './netns.ts'

const dialTo = (text: string, options?: DialOptions): Dial => dialer(parseTarget(text) as Service, options)

async function failureOf(dial: Dial): Promise<TunnelError> {
  const error = await within(
    dial().then(
      () => undefined,
      (error: unknown) => error,
    ),
    'a failure',
  )
  assert.ok(error instanceof TunnelError)
  assert.equal(error.code, 'local-unreachable')
  return error
}

/** A port of 127.0.0.1 where nothing listens. */
async function freePort(): Promise<number> {
  const server = net.createServer()
  const port = await listening(server, 0)
  await new Promise((resolve) => server.close(resolve))
  return port
}

test('a bare port and localhost reach a service on 127.0.0.1 only, and one on ::1 only', async (t) => {
  for (const host of ['127.0.0.1', '::1']) {
    const app = await serviceAt(t, { port: 0, host }, (_, response) => response.end())
    const { port } = app.address() as AddressInfo
    for (const text of [`${port}`, `localhost:${port}`, `app.localhost:${port}`]) {
      const socket = await within(dialTo(text)(), text)
      assert.equal(socket.remoteAddress, host)
      socket.destroy()
    }
  }
})

test('the address that answered is tried first from then on', async (t) => {
  const six = await tcpApp6(t)
  const dial = dialTo(`${six.port}`)
  ;(await dial()).destroy()
  const four = net.createServer((socket) => socket.destroy())
  t.after(() => four.close())
  await listening(four, six.port)
  const socket = await dial()
  assert.equal(socket.remoteAddress, '::1')
  socket.destroy()
  six.server.close()
  const other = await dial()
  assert.equal(other.remoteAddress, '127.0.0.1')
  other.destroy()
})

async function tcpApp6(t: TestContext): Promise<{ server: net.Server; port: number }> {
  const server = net.createServer((socket) => socket.on('error', () => undefined))
  t.after(() => server.close())
  return { server, port: await listening(server, 0, '::1') }
}

test('an address is dialled as it is', async (t) => {
  const app = await tcpApp(t, () => undefined)
  const socket = await dialTo(`127.0.0.1:${app.port}`)()
  assert.equal(socket.remoteAddress, '127.0.0.1')
  socket.destroy()
  assert.match(
    (await failureOf(dialTo(`[::1]:${app.port}`))).message,
    /^expected a service at \[::1\]:\d+, got E/,
  )
})

test('where nothing listens, the error names the target and asks whether it runs', async () => {
  const port = await freePort()
  const error = await failureOf(dialTo(`${port}`))
  assert.equal(error.message, `expected a service at port ${port}, got ECONNREFUSED; is it running?`)
  assert.match((await failureOf(dialTo('nowhere.invalid:80'))).message, /nowhere\.invalid:80, got .*right\?$/)
})

test('absence is undefined while a service listens, and the reason while none does', async (t) => {
  const port = await freePort()
  const texts = [`${port}`, `127.0.0.1:${port}`]
  for (const text of texts)
    assert.match(
      (await absence(parseTarget(text)))?.message ?? '',
      /got (nothing that listens|ECONNREFUSED); is it running\?$/,
    )
  const app = net.createServer((socket) => socket.on('error', () => undefined))
  t.after(() => app.close())
  await listening(app, port)
  for (const text of texts) assert.equal(await absence(parseTarget(text)), undefined)
  assert.equal(await absence(parseTarget('./nowhere')), undefined) // whoever serves it tells
})

test('a unix socket is reached, half-close kept; its errors say what to do', async (t) => {
  const folder = tempFolder(t)
  const path = join(folder, 'app.sock')
  const app = net.createServer({ allowHalfOpen: true }, (socket) => {
    let came = ''
    socket.on('data', (bytes) => (came += bytes.toString()))
    socket.on('end', () => socket.end(`had ${came}`))
  })
  t.after(() => app.close())
  app.listen(path)
  await once(app, 'listening')
  const socket = await dialTo(`unix:${path}`)()
  socket.end('all')
  assert.equal((await socket.toArray()).join(''), 'had all')
  const missing = await failureOf(dialTo(`unix:${folder}/none.sock`))
  assert.equal(missing.message, `expected a service at unix:${folder}/none.sock, got ENOENT; is it running?`)
  writeFileSync(join(folder, 'file'), '')
  assert.match((await failureOf(dialTo(`unix:${folder}/file`))).message, /ECONNREFUSED; is it running\?$/)
})

test('a unix socket can be cut', async (t) => {
  const path = join(tempFolder(t), 'app.sock')
  const app = net.createServer((socket) =>
    socket.on('error', () => undefined).on('close', () => (closed = true)),
  )
  let closed = false
  t.after(() => app.close())
  app.listen(path)
  await once(app, 'listening')
  const socket = await dialTo(`unix:${path}`)()
  cut(socket)
  await until(() => closed, 'the other side to close')
})

const noMachines = whyNoWire() ?? false
const authority = noOpenssl === false ? new Authority() : undefined
after(() => authority?.remove())

async function httpsApp(t: TestContext, names?: string): Promise<{ app: https.Server; port: number }> {
  assert.ok(authority)
  const issued = names === undefined ? authority.selfSigned('self') : authority.issue('issued', names)
  const pair = { cert: readFileSync(issued.cert), key: readFileSync(issued.key) }
  const app = https.createServer(pair, (_, response) => response.end('secret'))
  t.after(() => {
    app.close()
    app.closeAllConnections()
  })
  return { app, port: await listening(app, 0) }
}

test(
  'https on loopback may have a certificate that nobody vouches for, and speaks HTTP/1.1',
  { skip: noOpenssl },
  async (t) => {
    const { port } = await httpsApp(t)
    for (const text of [`https://localhost:${port}`, `https://127.0.0.1:${port}`]) {
      const socket = (await dialTo(text)()) as TLSSocket
      assert.equal(socket.alpnProtocol, 'http/1.1')
      assert.equal(socket.authorized, false)
      socket.destroy()
    }
  },
)

test('https beyond loopback is verified, unless told not to', { skip: noOpenssl || noMachines }, () => {
  assert.ok(authority)
  const { cert, key } = authority.selfSigned('beyond')
  const fixture = fileURLToPath(new URL(`./fixtures/beyond${import.meta.url.slice(-3)}`, import.meta.url))
  const script = 'ip link set lo up && ip address add 192.0.2.1/32 dev lo && exec "$@"'
  const node = [process.execPath, ...process.execArgv, fixture, '192.0.2.1', cert, key]
  const machine = ['--user', '--map-root-user', '--net', 'sh', '-c', script, 'sh', ...node]
  const { stdout, stderr } = spawnSync('unshare', machine, { encoding: 'utf8' })
  const [first, second] = stdout.split('\n')
  assert.match(
    first ?? '',
    /192\.0\.2\.1:\d+, got \w*SELF_SIGNED\w*; use --insecure to believe its certificate$/,
    stderr,
  )
  assert.equal(second, 'reached true')
})

test('https to a port that speaks plain http says so', async (t) => {
  const app = await tcpApp(t, (socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'))
  const error = await failureOf(dialTo(`https://localhost:${app.port}`))
  assert.match(
    error.message,
    /^expected a service at https:\/\/localhost:\d+, got ERR_SSL_\w+; it speaks no TLS: use http/,
  )
})

test('a service that takes the connection and never speaks TLS is given up', async (t) => {
  const app = await tcpApp(t, (socket) => socket.resume().on('end', () => socket.end()))
  const error = await failureOf(dialTo(`https://localhost:${app.port}`, { dialTimeoutMs: 50 }))
  assert.match(error.message, /got ETIMEDOUT/)
  await until(() => app.sockets.size === 0, 'the connections to close')
})

test('a TLS connection that is cut is reset, as a plain one is', { skip: noOpenssl }, async (t) => {
  const { port } = await httpsApp(t)
  let ending = ''
  const relay = await tcpApp(t, (socket) => {
    const beyond = net.connect(port)
    beyond.on('error', () => undefined)
    socket.on('error', (error: NodeJS.ErrnoException) => (ending = error.code ?? ''))
    socket.on('end', () => (ending = 'end')).on('close', () => beyond.destroy())
    socket.pipe(beyond).pipe(socket)
  })
  for (const scheme of ['https', 'http']) {
    ending = ''
    const socket = await dialTo(`${scheme}://localhost:${relay.port}`)()
    cut(socket)
    await until(() => ending !== '', 'the other side to end')
    assert.equal(ending, 'ECONNRESET')
  }
})
