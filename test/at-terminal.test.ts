/** The program at a terminal: server, client, local services and visitors are real. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { executable } from './executable.ts'
import { ask, httpApp, startServer, until, visitor } from './helpers.ts'
import { folder, freePort, startServerAt } from './programs.ts'
import { Terminal, type TerminalOptions } from './terminal.ts'

const program = fileURLToPath(executable)

interface AtOptions extends TerminalOptions {
  /** the words after the port of the server; default the port of a local service */
  argv?: string[]
  /** what a shell is given to run; default the command alone */
  shell?: (command: string) => string
  port?: number
}

interface At {
  terminal: Terminal
  /** the port of the server */
  port: number
  app: Awaited<ReturnType<typeof httpApp>>
}

/** A client at a terminal, with a server and a local service. */
async function start(t: TestContext, { argv, shell, port, ...options }: AtOptions = {}): Promise<At> {
  const serverPort = port ?? (await startServer(t)).port
  const app = await httpApp(t, (request, response) => {
    response.statusCode = request.url === '/broken' ? 500 : 200
    response.end('hello')
  })
  const words = argv ?? [String(app.port)]
  const command = [process.execPath, ...process.execArgv, program, '-p', serverPort, ...words].join(' ')
  const env = { XDG_STATE_HOME: folder(t), HOME: folder(t), ...options.env }
  const line = shell === undefined ? `exec ${command}` : shell(command)
  return {
    terminal: new Terminal(t, ['sh', '-c', line], { columns: 100, ...options, env }),
    port: serverPort,
    app,
  }
}

/** The public host of the tunnel once it is shown. */
async function hostOf({ terminal }: At): Promise<string> {
  const text = await terminal.shows(/http:\/\/[a-z0-9]+\.localhost:\d+/)
  return /http:\/\/(\S+\.localhost:\d+)/.exec(text)?.[1] ?? ''
}

/** A display that is online, and the way of its visitors. */
async function online(t: TestContext, options: AtOptions = {}): Promise<At & { host: string }> {
  const at = await start(t, options)
  await at.terminal.shows(/Session status +online/)
  return { ...at, host: await hostOf(at) }
}

test('requests are shown as they come, and after Ctrl-C the URL and a summary are left', async (t) => {
  const { terminal, ...way } = await online(t)
  await ask(way, { path: '/a%1b?b=c' })
  await ask(way, { path: '/broken', method: 'POST' }, 'body')
  await terminal.shows(/GET +\/a%1b\?b=c +200 [^\n]+ 5 B\n[^\n]+POST +\/broken +500 [^\n]+ 5 B$/)
  await terminal.shows(/Connections[^\n]+\n +2 +\d /)
  await terminal.shows(/Latency +\d/)
  terminal.order({ type: '\x03' })
  assert.deepEqual(await terminal.ended(), { code: 0 })
  const { screen } = terminal
  assert.ok(!screen.isSecond && screen.isCursorShown && screen.wraps)
  const lines = screen.lines.filter((line) => line !== '' && line !== '^C')
  assert.equal(lines[0], `http://${way.host}`, 'the URL is printed once, before the display')
  assert.ok(lines[1]?.startsWith(`http://${way.host} -> `))
  assert.match(lines[2] ?? '', /^2 connections, 2 requests in /)
})

test('Ctrl-C waits for a request under way, and says so; the second one does not', async (t) => {
  const app = await httpApp(t, (_, response) => void response.write('half'))
  const { terminal, ...way } = await online(t, { argv: [String(app.port)] })
  visitor(t, way).send(`GET / HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`)
  await terminal.shows(/\n +1 +1 /)
  terminal.order({ type: '\x03' })
  await terminal.shows(/waiting for what is open to finish; press Ctrl-C again to end at once/)
  assert.ok(terminal.screen.isSecond)
  terminal.order({ type: '\x03' })
  assert.deepEqual(await terminal.ended(), { code: 1 })
  assert.ok(!terminal.screen.isSecond && terminal.screen.isCursorShown)
})

test('a request that finds no local service is shown with its 502', async (t) => {
  const { terminal, app, ...way } = await online(t)
  app.close()
  app.closeAllConnections()
  await ask(way, { path: '/down' })
  await terminal.shows(/\/down +502/)
})

test('a local service that is not there is told of whole, also where that takes two rows', async (t) => {
  const port = await freePort()
  const { terminal } = await online(t, { argv: [String(port)], columns: 60 })
  const told = await terminal.shows(/waits for it/)
  assert.match(
    told.replace(/\n +/g, ' '),
    new RegExp(`port ${port}, got [^\\n]*; is it running\\? The tunnel waits for it\\.`),
  )
})

test('several tunnels have each its line, and requests the name of theirs', async (t) => {
  const other = await httpApp(t, (_, response) => response.writeHead(404).end())
  const { port } = await startServer(t)
  const at = await start(t, { port, argv: [`web=${other.port}`, `api=${other.port}`] })
  await at.terminal.shows(
    /Forwarding +http:\/\/web\.localhost:\d+ -> [^\n]+\n +http:\/\/api\.localhost:\d+ -> /,
  )
  await ask({ port, host: `api.localhost:${port}` }, { path: '/x' })
  await at.terminal.shows(/ api +GET +\/x +404 /)
})

test('a server that goes away and comes back is seen to', async (t) => {
  const port = await freePort()
  const server = await startServerAt(t, port)
  const { terminal, ...way } = await online(t, { port })
  server.kill('SIGKILL')
  await server.ended()
  await terminal.shows(/Session status +reconnecting since \d\d:\d\d:\d\d \(/)
  await startServerAt(t, port)
  await terminal.shows(/Session status +online/)
  await ask(way, { path: '/again' })
  await terminal.shows(/\/again +200/)
})

test('it is right at any size, and after Ctrl-Z, another size and fg', async (t) => {
  const { terminal, ...way } = await online(t, {
    shell: (command) => `set -m; ${command}; read go; fg; echo after fg`,
  })
  await ask(way, { path: '/x' })
  await terminal.shows(/\/x +200/)
  for (const [columns, rows] of [
    [30, 6],
    [5, 1],
    [1, 1],
  ] as const) {
    terminal.order({ resize: [columns, rows] })
    await until(() => 'online'.startsWith(terminal.screen.lines[0]?.replace('…', '') ?? ''), 'the state')
  }
  terminal.order({ resize: [90, 20] })
  await terminal.shows(/Session status +online[^]*\/x +200/)
  terminal.order({ type: '\x1a' })
  await until(() => !terminal.screen.isSecond, 'the first screen')
  terminal.order({ resize: [110, 30] }).order({ type: '\n' })
  await until(
    () => terminal.screen.lines[0]?.endsWith(`${' '.repeat(84)}(Ctrl+C to quit)`) === true,
    'the new width',
  )
  await terminal.shows(/Session status +online[^]*\/x +200/)
  terminal.order({ type: '\x03' })
  await terminal.shows(/1 connection, 1 request in [^]*after fg/)
  assert.ok(!terminal.screen.isSecond && terminal.screen.isCursorShown)
})

test('where stdout is no terminal there are lines, and stdout has the URL alone, once', async (t) => {
  const file = join(folder(t), 'stdout')
  const at = await start(t, { shell: (command) => `exec ${command} > ${file}` })
  await at.terminal.shows(/^port \d+ http available at:/)
  await until(() => existsSync(file) && readFileSync(file, 'utf8') !== '', 'the URL')
  const url = readFileSync(file, 'utf8').trim()
  await ask({ port: at.port, host: new URL(url).host }, { path: '/x' })
  await at.terminal.shows(/^\d\d:\d\d:\d\d GET \/x 200 [^\n]+ 5 B$/m)
  at.terminal.order({ signal: 15 })
  assert.deepEqual(await at.terminal.ended(), { code: 0 })
  assert.equal(readFileSync(file, 'utf8'), `${url}\n`)
  assert.doesNotMatch(at.terminal.output, /\x1b/)
})

const others: [argv: string, env: Record<string, string>, shows: RegExp][] = [
  ['--no-display', {}, /^port \d+ http available at:\nhttp:\S+$/],
  ['', { TERM: 'dumb' }, /^port \d+ http available at:\nhttp:\S+$/],
  ['--quiet', {}, /^http:\S+$/],
  ['--json', {}, /^\{"event":"url","at":"[^]+"\}$/],
]

for (const [flag, env, shows] of others) {
  test(`${flag || 'TERM=dumb'} at a terminal: no display, no sequence`, async (t) => {
    const { port: target } = await httpApp(t, (_, response) => response.end())
    const { terminal } = await start(t, { argv: [flag, String(target)], env })
    await terminal.shows(shows)
    terminal.order({ type: '\x03' })
    assert.deepEqual(await terminal.ended(), { code: 0 })
    assert.doesNotMatch(terminal.output, /\x1b/)
  })
}

test('a command has the terminal for itself', async (t) => {
  const { port: target } = await httpApp(t, (_, response) => response.end())
  const { terminal } = await start(t, {
    argv: [String(target), '--', 'sh', '-c', `'echo at $GROKTUNNEL_URL'`],
  })
  assert.deepEqual(await terminal.ended(), { code: 0 })
  assert.match(terminal.screen.text, /^port \d+ http available at:\n(http:\S+)\nat \1$/)
  assert.doesNotMatch(terminal.output, /\x1b/)
})

const coloured = /\x1b\[\d+m/

test('NO_COLOR leaves the display without colours', async (t) => {
  const [plain, usual] = await Promise.all([online(t, { env: { NO_COLOR: '1' } }), online(t)])
  assert.doesNotMatch(plain.terminal.output, coloured)
  assert.match(usual.terminal.output, coloured)
})

test('--qr and --copy work beside the display, and the code goes with the first request', async (t) => {
  const { port: target } = await httpApp(t, (_, response) => response.end())
  const at = await start(t, { argv: ['--qr', '--copy', String(target)], rows: 40 })
  await at.terminal.shows(/Session status +online[^]*[▀▄]/)
  const host = await hostOf(at)
  assert.equal(at.terminal.screen.copied, `http://${host}`)
  await ask({ port: at.port, host }, { path: '/x' })
  await at.terminal.shows(/\/x +200/)
  assert.doesNotMatch(at.terminal.screen.text, /[▀▄]/)
})
