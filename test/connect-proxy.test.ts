/** The way through an HTTP proxy: real proxies, servers and certificates on this machine. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import http from 'node:http'
import type { IncomingMessage } from 'node:http'
import https from 'node:https'
import net from 'node:net'
import type { Socket } from 'node:net'
import { after, afterEach, beforeEach, describe, test, type TestContext } from 'node:test'
import { certificateError } from '../lib/certificates.ts'
import { TunnelError } from '../lib/errors.ts'
import { register } from '../lib/hello.ts'
import { type ProxiedServer, proxyAgent } from '../lib/outbound/connect-proxy.ts'
import { secure } from '../lib/tls/tls.ts'
import { Authority, type Issued, noOpenssl } from './certificates.ts'
import { httpApp, listening, tcpApp, until, within } from './helpers.ts'

/** A name that no resolver knows: only the proxies here do. */
const HOST = 'tunnel.example'

const isVariable = (name: string) =>
  /^((npm_config_)?(https?_)?proxy|all_proxy|(npm_config_)?no_?proxy)$/i.test(name)
const ours = Object.entries(process.env).filter(([name]) => isVariable(name))
const clear = () => {
  for (const name of Object.keys(process.env).filter(isVariable)) delete process.env[name]
}
beforeEach(clear)
afterEach(clear)
after(() => Object.assign(process.env, Object.fromEntries(ours)))

interface Proxy {
  port: number
  /** `localhost:port` */
  host: string
  /** the CONNECT requests that came */
  asked: IncomingMessage[]
  /** the connections that have not closed */
  sockets: Set<Socket>
}

/** A proxy that connects to this machine whatever the name, or does as `onConnect` says. */
async function startProxy(
  t: TestContext,
  onConnect: (socket: Socket, request: IncomingMessage) => unknown = passOn,
  files?: Issued,
): Promise<Proxy> {
  const server =
    files === undefined ? http.createServer() : https.createServer({ ...pemOf(files), allowHalfOpen: true })
  const [asked, sockets]: [IncomingMessage[], Set<Socket>] = [[], new Set()]
  server.on('connection', (socket: Socket) => {
    sockets.add(socket.on('error', ignore).on('close', () => sockets.delete(socket)))
  })
  server.on('connect', (request, socket: Socket) => {
    asked.push(request)
    onConnect(socket.on('error', ignore), request)
  })
  t.after(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  const port = await listening(server, 0)
  return { port, host: `localhost:${port}`, asked, sockets }
}

function passOn(socket: Socket, { url = '' }: IncomingMessage): void {
  const port = Number(url.replace(/^.*:/, ''))
  const upstream = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  upstream.on('connect', () => {
    socket.write('HTTP/1.1 200 Connection established\r\n\r\n')
    socket.pipe(upstream).pipe(socket)
  })
  upstream.on('error', () => socket.end('HTTP/1.1 502 Bad Gateway\r\n\r\n'))
  socket.on('close', () => upstream.destroy())
}

const ignore = () => undefined

function pemOf({ cert, key }: Issued): { cert: string; key: string } {
  return { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') }
}

/** A server that says yes to every upgrade, waits for the end and then says what came. */
async function startServer(t: TestContext, files?: Issued): Promise<{ port: number; sockets: Set<Socket> }> {
  const secured = secure(files ?? {})
  return tcpApp(t, (socket) => {
    if (secured === undefined) serve(socket)
    else secured.wrap(socket).then(serve, ignore)
  })
}

function serve(socket: Socket): void {
  let text = ''
  socket.on('data', (bytes) => {
    const hadHead = text.includes('\r\n\r\n')
    text += bytes.toString()
    if (hadHead || !text.includes('\r\n\r\n')) return
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: yamux\r\n')
    socket.write('X-Public-Host: app.tunnel.example\r\n\r\n')
  })
  socket.on('end', () => socket.end(`said: ${text.replace(/^[^]*\r\n\r\n/, '')}`))
}

type Asked = ProxiedServer & { request?: https.RequestOptions }

/** The connection after an upgrade on `server`, asked for through its proxy. */
function upgrade(server: Asked): Promise<Socket> {
  const { host, port, ca, tls = false } = server
  const agent = proxyAgent(server)
  assert.ok(agent)
  const headers = { Connection: 'Upgrade', Upgrade: 'yamux' }
  const request = (tls ? https : http).request({ host, port, ca, agent, headers, ...server.request })
  const upgraded = new Promise<Socket>((resolve, reject) => {
    request.on('upgrade', (_, socket: Socket) => resolve(socket.on('error', ignore)))
    request.on('response', ({ statusCode }) => reject(new Error(`an answer of the server: ${statusCode}`)))
    request.on('error', reject)
    request.end()
  })
  return within(upgraded, 'an upgrade or an error')
}

async function refusal(promise: Promise<unknown>): Promise<TunnelError> {
  const error = await promise.then(
    () => assert.fail('expected an error'),
    (error: unknown) => error,
  )
  assert.ok(error instanceof TunnelError, `expected a TunnelError, got ${String(error)}`)
  assert.match(error.message, /^expected [^\n]+, got [^\n]+; [^\n]+$/)
  return error
}

/** Ends our side of a connection and reads what the server says after that. */
async function lastWords(socket: Socket): Promise<string> {
  let text = ''
  socket.on('data', (bytes: Buffer) => (text += bytes.toString()))
  socket.end('bye')
  await within(once(socket, 'end'), 'the end')
  return text
}

// The way

test('an upgrade goes by CONNECT also to a server of plain http, and leaves a raw socket', async (t) => {
  const [proxy, server] = [await startProxy(t), await startServer(t)]
  const socket = await upgrade({ host: HOST, port: server.port, proxy: `http://${proxy.host}` })
  const [{ method, url, headers } = {}] = proxy.asked as Partial<IncomingMessage>[]
  assert.deepEqual(
    [method, url, headers?.host],
    ['CONNECT', `${HOST}:${server.port}`, `${HOST}:${server.port}`],
  )
  assert.equal(headers?.['proxy-authorization'], undefined)
  assert.equal(socket.timeout ?? 0, 0)
  socket.setNoDelay(true).pause().resume()
  assert.equal(await lastWords(socket), 'said: bye')
  await until(() => proxy.sockets.size === 0 && server.sockets.size === 0, 'all to be closed')
})

test('a client registers through a proxy, and none of its connections stays in a pool', async (t) => {
  const [proxy, server] = [await startProxy(t), await startServer(t)]
  const agent = proxyAgent({ host: HOST, port: server.port, proxy: `http://${proxy.host}` })
  const { socket, publicHost } = await within(register({ host: HOST, port: server.port, agent }), 'a welcome')
  assert.equal(publicHost, 'app.tunnel.example')
  assert.deepEqual([Object.keys(agent?.sockets ?? {}), Object.keys(agent?.freeSockets ?? {})], [[], []])
  assert.equal(await lastWords(socket), 'said: bye')
})

test('an agent serves one request after the other, each on a connection of its own', async (t) => {
  const [proxy, server] = [await startProxy(t), await startServer(t)]
  const agent = proxyAgent({ host: HOST, port: server.port, proxy: proxy.host })
  for (const count of [1, 2]) {
    const { socket } = await within(register({ host: HOST, port: server.port, agent }), 'a welcome')
    assert.equal(proxy.asked.length, count)
    socket.destroy()
  }
})

test('user and password are sent as they are meant, and only to the proxy', async (t) => {
  let head = ''
  const server = await tcpApp(t, (socket) => {
    socket.on('data', (bytes) => {
      head += bytes.toString()
      if (head.includes('\r\n\r\n')) socket.end('HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n')
    })
  })
  const proxy = await startProxy(t)
  const url = `http://us%40er:p%3Ass%20w%C3%B6rd@${proxy.host}`
  await assert.rejects(upgrade({ host: HOST, port: server.port, proxy: url }), /an answer of the server: 404/)
  const basic = `Basic ${Buffer.from('us@er:p:ss wörd').toString('base64')}`
  assert.equal(proxy.asked[0]?.headers['proxy-authorization'], basic)
  assert.doesNotMatch(head, /authorization/i)
})

test('a server that has an address for a name is asked for by it', async (t) => {
  const [proxy, server] = [await startProxy(t), await startServer(t)]
  for (const [host, shown] of [
    ['127.0.0.1', '127.0.0.1'],
    ['::1', '[::1]'],
  ] as const) {
    const socket = await upgrade({ host, port: server.port, proxy: proxy.host })
    assert.equal(proxy.asked.pop()?.url, `${shown}:${server.port}`)
    socket.destroy()
  }
})

// Where the proxy comes from

test('no proxy is asked for where none is named, or none is wanted', () => {
  assert.equal(proxyAgent({ host: HOST, port: 443 }), undefined)
  process.env.HTTPS_PROXY = 'http://proxy.example:3128'
  assert.equal(proxyAgent({ host: HOST, port: 443, proxy: false }), undefined)
})

const named: [what: string, variables: Record<string, string>, host: string, isProxied: boolean][] = [
  ['HTTPS_PROXY counts, whatever the server speaks', { HTTPS_PROXY: 'http://PROXY' }, HOST, true],
  ['so does https_proxy', { https_proxy: 'http://PROXY' }, HOST, true],
  ['so does ALL_PROXY', { ALL_PROXY: 'http://PROXY' }, HOST, true],
  ["so does npm's own", { npm_config_https_proxy: 'http://PROXY' }, HOST, true],
  ['http:// may be left out', { HTTPS_PROXY: 'PROXY' }, HOST, true],
  [
    'lower case goes before',
    { https_proxy: 'http://PROXY', HTTPS_PROXY: 'http://proxy.invalid' },
    HOST,
    true,
  ],
  ['HTTPS_PROXY goes before ALL_PROXY', { HTTPS_PROXY: 'PROXY', all_proxy: 'proxy.invalid' }, HOST, true],
  ['HTTP_PROXY is for other things', { HTTP_PROXY: 'http://PROXY' }, HOST, false],
  ['an empty variable is none', { HTTPS_PROXY: '' }, HOST, false],
  ['NO_PROXY has exceptions', { HTTPS_PROXY: 'PROXY', NO_PROXY: `a.example, ${HOST}` }, HOST, false],
  ['no_proxy as well', { HTTPS_PROXY: 'PROXY', no_proxy: HOST.toUpperCase() }, HOST, false],
  ['an exception holds for what is under it', { HTTPS_PROXY: 'PROXY', NO_PROXY: 'example' }, HOST, false],
  ['with a dot as well', { HTTPS_PROXY: 'PROXY', NO_PROXY: '.example' }, HOST, false],
  ['but not for what only ends so', { HTTPS_PROXY: 'PROXY', NO_PROXY: 'nel.example' }, HOST, true],
  ['nor for another port', { HTTPS_PROXY: 'PROXY', NO_PROXY: `${HOST}:1` }, HOST, true],
  ['all may be excepted', { HTTPS_PROXY: 'PROXY', NO_PROXY: '*' }, HOST, false],
  ['an address may be excepted', { HTTPS_PROXY: 'PROXY', NO_PROXY: '192.0.2.1' }, '192.0.2.1', false],
  ['and else not', { HTTPS_PROXY: 'PROXY', NO_PROXY: '192.0.2.1' }, '192.0.2.11', true],
  ['an address of version 6 too', { HTTPS_PROXY: 'PROXY', NO_PROXY: '[2001:db8::1]' }, '2001:db8::1', false],
  ['and else not', { HTTPS_PROXY: 'PROXY', NO_PROXY: '[2001:db8::1]' }, '2001:db8::2', true],
  ['localhost is behind it too', { HTTPS_PROXY: 'PROXY' }, 'localhost', true],
  ['unless it is excepted', { HTTPS_PROXY: 'PROXY', NO_PROXY: 'localhost' }, 'localhost', false],
]

describe('the environment:', () => {
  for (const [what, values, host, isProxied] of named) {
    test(what, async (t) => {
      const [proxy, { port }] = [await startProxy(t), await startServer(t)]
      for (const [name, value] of Object.entries(values))
        process.env[name] = value.replace('PROXY', proxy.host)
      assert.equal(proxyAgent({ host, port }) !== undefined, isProxied)
      if (!isProxied) return
      const socket = await upgrade({ host, port })
      assert.equal(proxy.asked.length, 1)
      socket.destroy()
    })
  }

  test('an option goes before it, for loopback too', async (t) => {
    process.env.HTTPS_PROXY = 'http://proxy.invalid'
    process.env.NO_PROXY = '*'
    const [proxy, { port }] = [await startProxy(t), await startServer(t)]
    const socket = await upgrade({ host: 'localhost', port, proxy: proxy.host })
    assert.equal(proxy.asked.length, 1)
    socket.destroy()
  })
})

describe('what is no URL of an HTTP proxy is refused by the name of the option, without a word of it:', () => {
  const bad = [
    '',
    'http://',
    'http://secret:pass@',
    'socks5://secret:pass@proxy:1080',
    'http://secret:%zz@proxy',
    'http://secret:pass@proxy:99999',
    'secret pass',
  ]
  for (const url of bad) {
    test(JSON.stringify(url), () => {
      const of = (server: Partial<ProxiedServer>, source: RegExp) =>
        assert.throws(
          () => proxyAgent({ host: HOST, port: 443, ...server }),
          (error: unknown) =>
            error instanceof TunnelError &&
            error.code === 'usage' &&
            source.test(error.message) &&
            !/secret|pass@|%zz/.test(error.message.replace('user:password@proxy', '')),
        )
      of({ proxy: url }, /^expected --proxy to be /)
      if (url === '') return
      process.env.https_proxy = url
      of({}, /^expected https_proxy to be /)
    })
  }
})

test('a password is in no log of the packages either', () => {
  const file = new URL(`../lib/outbound/connect-proxy${import.meta.url.slice(-3)}`, import.meta.url)
  const script = `import { proxyAgent } from '${file.href}'
    proxyAgent({ host: 'a.example', port: 1, proxy: 'http://user:secret@proxy.example' })`
  const argv = [
    ...process.execArgv.filter((arg) => !arg.includes('test')),
    '--input-type=module',
    '-e',
    script,
  ]
  const { stderr, status } = spawnSync(process.execPath, argv, {
    env: { ...process.env, DEBUG: '*' },
    encoding: 'utf8',
  })
  assert.equal(status, 0)
  assert.match(stderr, /proxy\.example/)
  assert.doesNotMatch(stderr, /secret/)
})

// What goes wrong at the proxy

describe('a proxy that does not connect is to blame, and not the server:', () => {
  const refusals: [what: string, onConnect: (socket: Socket) => unknown, says: RegExp][] = [
    [
      'HTTP 407',
      (socket) => socket.end('HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nno'),
      /got HTTP 407 Proxy Authentication Required; put user and password into --proxy$/,
    ],
    [
      'HTTP 403',
      (socket) => socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n'),
      /got HTTP 403 Forbidden; check --proxy$/,
    ],
    [
      'HTTP 502',
      (socket) => socket.write('HTTP/1.1 502 x\r\nConnection: close\r\n\r\n<html>'),
      /got HTTP 502 Bad Gateway;/,
    ],
    [
      'HTTP 101',
      (socket) =>
        socket.write(
          'HTTP/1.1 101 x\r\nUpgrade: yamux\r\nConnection: Upgrade\r\nX-Public-Host: evil\r\n\r\n',
        ),
      /got HTTP 101 /,
    ],
    ['no HTTP', (socket) => socket.write('\x1b[31mSSH\r\n\r\n'), /got an answer that is not HTTP;/],
    [
      'a bad field',
      (socket) => socket.write('HTTP/1.1 200 OK\r\n\x1b[31m\r\n\r\n'),
      /got an answer that is not HTTP;/,
    ],
    ['a closed connection', (socket) => socket.end(), /got an answer that is not HTTP;/],
    ['half an answer', (socket) => socket.end('HTTP/1.1 200'), /got an answer that is not HTTP;/],
    ['a reset', (socket) => socket.resetAndDestroy(), /got ECONNRESET;/],
    ['silence', () => undefined, /got nothing within 0\.2 s; check --proxy$/],
    [
      'half an answer and silence',
      (socket) => socket.write('HTTP/1.1 200 OK\r\nX: '),
      /got nothing within 0\.2 s;/,
    ],
  ]
  for (const [what, onConnect, says] of refusals) {
    test(what, async (t) => {
      const proxy = await startProxy(t, (socket) => onConnect(socket.resume().on('end', () => socket.end())))
      const url = `http://user:secret@${proxy.host}`
      const error = await refusal(upgrade({ host: HOST, port: 443, proxy: url, timeoutMs: 200 }))
      assert.equal(error.code, 'unreachable')
      assert.match(error.message, says)
      assert.ok(error.message.startsWith(`expected the proxy ${proxy.host} to connect to ${HOST}:443, got `))
      assert.doesNotMatch(error.message, /secret|\x1b/)
      await until(() => proxy.sockets.size === 0, 'the connection to be closed')
    })
  }

  test('nobody there', async () => {
    const error = await refusal(upgrade({ host: HOST, port: 443, proxy: 'http://localhost:1' }))
    assert.equal(error.code, 'unreachable')
    assert.match(
      error.message,
      /^expected the proxy localhost:1 to connect .*, got ECONNREFUSED; check --proxy$/,
    )
  })

  test('the variable is named where it comes from one', async (t) => {
    const proxy = await startProxy(t, (socket) => socket.end('HTTP/1.1 403 Forbidden\r\n\r\n'))
    process.env.ALL_PROXY = proxy.host
    assert.match((await refusal(upgrade({ host: HOST, port: 443 }))).message, /; check ALL_PROXY$/)
  })

  test('register says so too', async (t) => {
    const proxy = await startProxy(t, (socket) => socket.end('HTTP/1.1 407 No\r\n\r\n'))
    const agent = proxyAgent({ host: HOST, port: 443, proxy: proxy.host })
    const error = await refusal(within(register({ host: HOST, port: 443, agent }), 'an error'))
    assert.match(error.message, /^expected the proxy .*, got HTTP 407/)
  })
})

test('who gives up waits for no proxy, and leaves no connection to it', async (t) => {
  const proxy = await startProxy(t, (socket) => socket.resume().on('end', () => socket.end()))
  const stop = new AbortController()
  const { signal } = stop
  const waiting = upgrade({ host: HOST, port: 443, proxy: proxy.host, signal, request: { signal } })
  const aborted = assert.rejects(waiting, { name: 'AbortError' })
  await until(() => proxy.asked.length === 1, 'a request')
  stop.abort()
  await aborted
  await until(() => proxy.sockets.size === 0, 'the connection to be closed')
  await assert.rejects(upgrade({ host: HOST, port: 443, proxy: proxy.host, signal }), { name: 'AbortError' })
  assert.equal(proxy.asked.length, 1)
})

test('a connection that was made outlives the time limit and the signal', async (t) => {
  const [proxy, { port }] = [await startProxy(t), await startServer(t)]
  const stop = new AbortController()
  const server = { host: HOST, port, proxy: proxy.host, timeoutMs: 100, signal: stop.signal }
  const socket = await upgrade(server)
  stop.abort()
  const since = performance.now()
  await until(() => performance.now() - since > 150, 'the time to pass')
  assert.equal(await lastWords(socket), 'said: bye')
})

test('a request that was given up leaves no connection when the proxy answers at last', async (t) => {
  let answer: (() => void) | undefined
  const [server] = [await startServer(t)]
  const proxy = await startProxy(t, (socket, request) => (answer = () => passOn(socket, request)))
  const agent = proxyAgent({ host: HOST, port: server.port, proxy: proxy.host })
  const request = http.request({ host: HOST, port: server.port, agent }).on('error', ignore)
  request.end()
  await until(() => answer !== undefined, 'a request')
  request.destroy()
  answer?.()
  await until(() => proxy.sockets.size === 0 && server.sockets.size === 0, 'all to be closed')
})

// Certificates

describe('certificates:', { skip: noOpenssl }, () => {
  const authority = new Authority()
  after(() => authority.remove())
  const ca = authority.ca
  const good = authority.issue('good', `DNS:${HOST},DNS:localhost,IP:127.0.0.1`)
  const names = authority.issue('names', `DNS:${HOST},DNS:localhost`)
  const expired = authority.issue('expired', `DNS:${HOST},DNS:localhost`, -1)
  const other = authority.issue('other', 'DNS:other.example')
  const self = authority.selfSigned('self')

  test('a server of https is verified beyond the proxy, and its connection is raw as well', async (t) => {
    const [proxy, server] = [await startProxy(t), await startServer(t, good)]
    const socket = await upgrade({ host: HOST, port: server.port, tls: true, ca, proxy: proxy.host })
    socket.setNoDelay(true).pause().resume()
    assert.equal(await lastWords(socket), 'said: bye')
    await until(() => proxy.sockets.size === 0 && server.sockets.size === 0, 'all to be closed')
  })

  test('a client registers over TLS and through a proxy', async (t) => {
    const [proxy, { port }] = [await startProxy(t), await startServer(t, good)]
    const agent = proxyAgent({ host: HOST, port, tls: true, proxy: proxy.host })
    const { socket } = await within(register({ host: HOST, port, tls: true, ca, agent }), 'a welcome')
    assert.equal(await lastWords(socket), 'said: bye')
  })

  const refused: [
    what: string,
    files: Issued,
    says: RegExp,
    more?: { host?: string; ca?: string | undefined },
  ][] = [
    [
      'of an authority nobody knows',
      good,
      /that no known authority signed; use --ca FILE/,
      { ca: undefined },
    ],
    ['that signed itself', self, /that no known authority signed; use --ca FILE/],
    ['that has expired', expired, /that has expired; renew it at the server$/],
    ['for another name', other, /for DNS:other\.example; check -h$/],
    [
      'for a name, of an address',
      names,
      /for DNS:tunnel\.example, DNS:localhost; check -h$/,
      { host: '127.0.0.1' },
    ],
  ]
  for (const [what, files, says, more] of refused) {
    for (const host of [HOST, 'localhost']) {
      test(`one ${what} is refused ${host === HOST ? 'through a proxy' : 'without'}`, async (t) => {
        const [proxy, { port }] = [await startProxy(t), await startServer(t, files)]
        const server = { host, port, tls: true, ca, ...more }
        const agent = host === HOST ? proxyAgent({ ...server, proxy: proxy.host }) : undefined
        const error = await refusal(within(register({ ...server, agent }), 'a refusal'))
        assert.equal(error.code, 'bad-certificate')
        assert.match(error.message, says)
        assert.ok(
          error.message.startsWith(`expected a certificate for ${server.host}:${port} that can be believed`),
        )
        assert.equal(proxy.asked.length, agent === undefined ? 0 : 1)
      })
    }
  }

  test('a certificate for the proxy is not one for a server that has an address', async (t) => {
    const [proxy, { port }] = [await startProxy(t), await startServer(t, names)]
    const server = { host: '127.0.0.1', port, tls: true, ca, proxy: `http://localhost:${proxy.port}` }
    const error = certificateError(await upgrade(server).catch((error: unknown) => error), 'there')
    assert.equal(error?.code, 'bad-certificate')
  })

  test('a server that speaks plain http is told from one with a bad certificate', async (t) => {
    const [proxy, { port }] = [await startProxy(t), await httpApp(t, ignore)]
    const agent = proxyAgent({ host: HOST, port, tls: true, proxy: proxy.host })
    const says = /^expected TLS from \S+, got plain text; leave out https:\/\/ or --tls/
    for (const server of [{ host: HOST, agent }, { host: 'localhost' }]) {
      const error = await refusal(within(register({ ...server, port, tls: true, ca }), 'a refusal'))
      assert.equal(error.code, 'not-groktunnel')
      assert.match(error.message, says)
    }
  })

  test('the proxy may speak https, with a certificate that is verified', async (t) => {
    const proxy = await startProxy(t, passOn, good)
    for (const files of [undefined, good]) {
      const server = { host: HOST, port: (await startServer(t, files)).port, tls: files !== undefined, ca }
      const socket = await upgrade({ ...server, proxy: `https://${proxy.host}` })
      assert.equal(await lastWords(socket), 'said: bye')
    }
    const error = await refusal(upgrade({ host: HOST, port: 1, proxy: `https://${proxy.host}` }))
    assert.equal(error.code, 'bad-certificate')
    assert.match(error.message, new RegExp(`certificate for the proxy ${proxy.host} .*no known authority`))
    assert.equal(proxy.asked.length, 2)
  })

  test('a proxy that is said to speak https and does not, is told of', async (t) => {
    const proxy = await startProxy(t)
    const error = await refusal(upgrade({ host: HOST, port: 1, proxy: `https://${proxy.host}` }))
    assert.match(error.message, new RegExp(`^expected TLS from the proxy ${proxy.host}, got plain text`))
  })
})
