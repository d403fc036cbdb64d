/**
 * The program as it is shipped, in front of real services of each kind. What changes requests is in the bundle in another
 * order than in the sources, and loaded late.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import http, { type RequestListener } from 'node:http'
import https from 'node:https'
import type { AddressInfo, Server as NetServer } from 'node:net'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { WebSocket, WebSocketServer } from 'ws'
import { Authority, noOpenssl } from './certificates.ts'
import { serviceAt } from './delivering.ts'
import { executable } from './executable.ts'
import {
  ask,
  bodyOf,
  hashOf,
  hashOfBody,
  httpApp,
  startServer,
  tcpApp,
  until,
  visitor,
  within,
} from './helpers.ts'
import { folder, freePort, Program } from './programs.ts'

interface Client extends Program {
  /** The port of the server, and what to send there as Host: for each target. */
  ways: { port: number; host: string }[]
}

/** A client of the server at `port`, that is up for so many targets when this settles. */
async function startClient(
  t: TestContext,
  port: number,
  { argv, env = {}, cwd = folder(t), targets = 1 }: StartOptions,
): Promise<Client> {
  const words = [fileURLToPath(executable), '-p', String(port), ...argv.map(String)]
  const variables = { PATH: process.env['PATH'] ?? '', XDG_STATE_HOME: folder(t), ...env }
  const child = spawn(process.execPath, words, { cwd, env: variables, stdio: ['ignore', 'pipe', 'pipe'] })
  t.after(() => child.kill('SIGKILL'))
  const client = new Program(child)
  const urls = () => client.stdout.split('\n').slice(0, -1)
  await until(() => urls().length === targets || client.end !== undefined, 'the URLs of all targets')
  return Object.assign(client, { ways: urls().map((url) => ({ port, host: new URL(url).host })) })
}

interface StartOptions {
  argv: (string | number)[]
  env?: Record<string, string>
  cwd?: string
  targets?: number
}

const nameHost: RequestListener = (request, response) => response.end(request.headers.host)

function portOf(server: NetServer): number {
  return (server.address() as AddressInfo).port
}

async function secureService(t: TestContext): Promise<https.Server> {
  const authority = new Authority()
  t.after(() => authority.remove())
  const { cert, key } = authority.selfSigned('own')
  const service = https.createServer({ cert: readFileSync(cert), key: readFileSync(key) }, nameHost)
  t.after(() => {
    service.close()
    service.closeAllConnections()
  })
  await once(service.listen(0, '127.0.0.1'), 'listening')
  return service
}

test('each kind of target is served, as it is and with its own Host', async (t) => {
  const { port } = await startServer(t)
  const cwd = folder(t)
  writeFileSync(join(cwd, 'index.html'), 'a folder')
  const four = portOf(await serviceAt(t, { port: 0, host: '127.0.0.1' }, nameHost))
  const six = portOf(await serviceAt(t, { port: 0, host: '::1' }, nameHost))
  await serviceAt(t, { path: join(cwd, 'app.sock') }, nameHost)
  const targets: [target: string | number, host: string][] = [
    [four, `localhost:${four}`],
    [`:${four}`, `localhost:${four}`],
    [`localhost:${six}`, `localhost:${six}`],
    [`127.0.0.1:${four}`, `127.0.0.1:${four}`],
    [`[::1]:${six}`, `[::1]:${six}`],
    [`http://localhost:${four}/`, `localhost:${four}`],
    ['unix:app.sock', 'localhost'],
    [`unix:${join(cwd, 'app.sock')}`, 'localhost'],
    ['.', 'a folder'],
    [cwd, 'a folder'],
  ]
  if (noOpenssl === false) {
    const secure = portOf(await secureService(t))
    targets.push([`https://localhost:${secure}`, `localhost:${secure}`])
  }
  const words = targets.map(([target]) => target)
  for (const [flags, isOwn] of [
    [[], false],
    [['--host-header', 'rewrite'], true],
  ] as const) {
    const client = await startClient(t, port, { argv: [...flags, ...words], cwd, targets: words.length })
    for (const [at, way] of client.ways.entries()) {
      const [target, host] = targets[at] ?? []
      const expected = isOwn || host === 'a folder' ? host : way.host
      const { status, body } = await ask(way)
      assert.deepEqual([status, body], [200, expected], `${target} ${flags.join(' ')}`)
    }
    assert.doesNotMatch(client.stderr, /expected|unexpected/)
  }
})

test('a target that is dead is told, answered 502 at once, waited for, and harms no other', async (t) => {
  const { port } = await startServer(t)
  const app = await httpApp(t, (_, response) => response.end('alive'))
  const missing = await freePort()
  for (const flags of [[], ['--cors']]) {
    const argv = [...flags, app.port, missing, 'unix:none.sock']
    const client = await startClient(t, port, { argv, targets: 3 })
    await client.said(new RegExp(`at port ${missing}, .*is it running\\? The tunnel waits for it`))
    await client.said(/at unix:none\.sock, got ENOENT/)
    const [alive, dead, gone] = client.ways
    assert.ok(alive !== undefined && dead !== undefined && gone !== undefined)
    for (const way of [dead, gone]) {
      const { status, headers } = await ask(way)
      assert.deepEqual([status, headers['x-groktunnel-error']], [502, 'local-unreachable'])
    }
    assert.equal((await ask(alive)).body, 'alive')
    const late = await serviceAt(t, { port: missing, host: '::1' }, (_, response) => response.end('back'))
    assert.equal((await ask(dead)).body, 'back')
    late.closeAllConnections()
    await once(late.close(), 'close')
    assert.equal((await ask(dead)).status, 502)
  }
})

const basic = `Basic ${Buffer.from('us:pä:ss').toString('base64')}`
const flags = ['--host-header', 'rewrite', '--header', 'X-A: b: c', '--remove-header', 'X-Gone', '--cors']
const more = ['--response-header', 'X-R: 1', '--basic-auth', 'us:pä:ss', '--allow-ip', '127.0.0.0/8']

/** The same wishes, told in each way. */
const wishes: [where: string, make: (target: number, cwd: string) => StartOptions][] = [
  ['flags', (target) => ({ argv: [...flags, ...more, target] })],
  [
    'the environment',
    (target, cwd) => {
      writeFileSync(join(cwd, 'password'), 'us:pä:ss\n')
      const env = {
        GROKTUNNEL_HOST_HEADER: 'rewrite',
        GROKTUNNEL_HEADER: 'X-A: b: c',
        GROKTUNNEL_REMOVE_HEADER: 'x-gone,x-other',
        GROKTUNNEL_CORS: '1',
        GROKTUNNEL_RESPONSE_HEADER: 'X-R: 1',
        GROKTUNNEL_BASIC_AUTH_FILE: join(cwd, 'password'),
        GROKTUNNEL_ALLOW_IP: '::1,127.0.0.1',
      }
      return { argv: [target], env }
    },
  ],
  [
    'groktunnel.toml',
    (target, cwd) => {
      const lines = [
        'host-header = "rewrite"',
        'cors = true',
        '[tunnels.web]',
        `local = ${target}`,
        'header = ["X-A: b: c"]',
        'remove-header = ["x-gone"]',
        'response-header = ["X-R: 1"]',
        'basic-auth = "us:pä:ss"',
        'allow-ip = ["127.0.0.1"]',
      ]
      writeFileSync(join(cwd, 'groktunnel.toml'), lines.join('\n'))
      return { argv: ['start', 'web'], cwd }
    },
  ],
]

for (const [where, make] of wishes) {
  test(`all that can be asked for at once, by ${where}: requests, large bodies, WebSockets`, async (t) => {
    const { port } = await startServer(t)
    const app = await httpApp(t, (request, response) => {
      if (request.method === 'POST') return void hashOf(request).then(({ hash }) => response.end(hash))
      response.end(JSON.stringify(request.headers))
    })
    const sockets = new WebSocketServer({ server: app })
    sockets.on('connection', (socket) => socket.on('message', (data) => socket.send(data)))
    const { ways } = await startClient(t, port, make(app.port, folder(t)))
    const [way] = ways
    assert.ok(way !== undefined)
    assert.equal((await ask(way)).status, 401)
    const headers = { authorization: basic, 'x-gone': '1' }
    const got = await ask(way, { headers })
    const seen = JSON.parse(got.body) as http.IncomingHttpHeaders
    assert.deepEqual([seen.host, seen['x-a']], [`localhost:${app.port}`, 'b: c'])
    assert.deepEqual([seen['x-gone'], seen.authorization], [undefined, undefined])
    assert.deepEqual([got.headers['x-r'], got.headers['access-control-allow-origin']], ['1', '*'])
    assert.equal(await upload(way, headers, 100 * 1024 * 1024), hashOfBody(100 * 1024 * 1024, 'up'))
    const socket = new WebSocket(`ws://127.0.0.1:${port}/`, { headers: { ...headers, host: way.host } })
    t.after(() => socket.terminate())
    await within(once(socket, 'open'), 'a WebSocket')
    socket.send('hello')
    const [message] = (await within(once(socket, 'message'), 'an echo')) as [Buffer]
    assert.equal(message.toString(), 'hello')
    const stranger = new WebSocket(`ws://127.0.0.1:${port}/`, { headers: { host: way.host } })
    const [error] = (await within(once(stranger, 'error'), 'a refusal')) as [Error]
    assert.match(error.message, /401/)
  })
}

/** Sends so many bytes in chunks, and gives the answer. */
async function upload(
  { port, host }: { port: number; host: string },
  headers: http.OutgoingHttpHeaders,
  bytes: number,
): Promise<string> {
  const request = http.request({ port, host: '127.0.0.1', method: 'POST', headers: { ...headers, host } })
  const answer = once(request, 'response') as Promise<[http.IncomingMessage]>
  for (const block of bodyOf(bytes, 'up')) if (!request.write(block)) await once(request, 'drain')
  request.end()
  const [response] = await within(answer, 'an answer to an upload')
  return (await response.toArray()).join('')
}

test('asked for nothing, a client passes a request as the server sent it, byte for byte', async (t) => {
  const { port } = await startServer(t)
  let heard = ''
  const app = await tcpApp(t, (socket) => {
    socket.on('data', (bytes) => {
      heard += bytes.toString('latin1')
      if (heard.endsWith('0\r\n\r\n'))
        socket.end('HTTP/1.1 200 Fine\r\ncOnnection:  close\r\nX-A:\t1\r\n\r\nbytes')
    })
  })
  const { ways } = await startClient(t, port, { argv: [app.port] })
  const host = ways[0]?.host ?? ''
  const head = `POST //x/../y?%00 HTTP/1.1\r\nhOsT: ${host}\r\nX-One:  1\r\nx-one: \xe4\r\nTransfer-Encoding: chunked\r\n`
  const one = visitor(t, { port }).send(Buffer.from(`${head}\r\n2;ext=1\r\nab\r\n0\r\n\r\n`, 'latin1'))
  assert.equal(await one.ended(), 'end')
  assert.equal(one.text, 'HTTP/1.1 200 Fine\r\ncOnnection:  close\r\nX-A:\t1\r\n\r\nbytes')
  assert.equal(
    heard.replace(/^(X-Forwarded-\w+|Forwarded): .*\r\n/gm, ''),
    `${head}\r\n2;ext=1\r\nab\r\n0\r\n\r\n`,
  )
})

const mistakes: [argv: string[], message: RegExp][] = [
  [['--header', 'Host: x', '3000'], /a header but Host; use --host-header/],
  [['--response-header', 'Content-Length: 1', '3000'], /a header that may be changed, got Content-Length/],
  [['--remove-header', 'a b', '3000'], /a header such as 'X-Name: value'/],
  [['--host-header', 'http://x', '3000'], /--host-header rewrite or a host/],
  [['--basic-auth', 'hunter2', '3000'], /--basic-auth user:password, got no colon/],
  [['--allow-ip', '10.0.0.0/33', '3000'], /address or CIDR .*got "10\.0\.0\.0\/33"/],
  [['--deny-ip', 'me', '3000'], /address or CIDR .*got "me"/],
  [['./none'], /a folder at \.\/none, got none/],
  [['web=3000', 'api=http://x/path'], /without a path/],
]

test('what cannot be done is told before anything is public, exit code 2', async (t) => {
  const { port } = await startServer(t)
  for (const [argv, message] of mistakes) {
    const client = await startClient(t, port, { argv })
    assert.equal(client.end, 2, argv.join(' '))
    assert.match(client.stderr, /^groktunnel: [^\n]+\n$/)
    assert.match(client.stderr, message)
    assert.doesNotMatch(client.stderr, /hunter2/)
    assert.equal(client.stdout, '')
  }
})
