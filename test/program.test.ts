import assert from 'node:assert/strict'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { version } from './executable.ts'
import { ask, httpApp, startServer, tcpApp, until, visitor } from './helpers.ts'
import { folder, freePort, type Program, start, startClientOf, startServerAt } from './programs.ts'
import { registrant } from './registrant.ts'

async function ended(run: Program): Promise<Program> {
  await run.ended()
  return run
}

/** A server at a free port. */
async function startProgramServer(
  t: TestContext,
  ...argv: (string | number)[]
): Promise<Program & { port: number }> {
  const run = await startServerAt(t, 0, { argv })
  return Object.assign(run, { port: Number(/:(\d+)\n/.exec(run.stderr)?.[1]) })
}

/** It failed as it should: one line that says what to do, no trace, nothing on stdout. */
function assertFailure(run: Program, code: number, message: RegExp): void {
  assert.match(run.stderr, /^groktunnel: [^\n]+\n$/)
  assert.match(run.stderr, message)
  assert.doesNotMatch(run.stderr, /\bat .*:\d+:\d+|node:internal/)
  assert.equal(run.stdout, '')
  assert.equal(run.end, code)
}

test('--help and --version print to stdout and end with 0', async (t) => {
  const [help, number] = await Promise.all([ended(start(t, ['--help'])), ended(start(t, ['--version']))])
  assert.match(help.stdout, /^Usage: groktunnel /)
  assert.match(help.stdout, /Exit codes: 0 /)
  assert.deepEqual([help.end, help.stderr], [0, ''])
  assert.deepEqual([number.stdout, number.end, number.stderr], [`${version}\n`, 0, ''])
})

test('a bad command line is one line of what was expected and what came, exit code 2', async (t) => {
  const lines: [string[], RegExp][] = [
    [['70000'], /local service .* 1 to 65535, got "70000"/],
    [['0'], /local service .*got "0"/],
    [['3000x'], /got 3000x/],
    [['-p', '65536'], /--port .*got "65536"/],
    [['-p', '-1'], /./],
    [['-p'], /--port PORT, got no value/],
    [['-p', '1', '-p', '2'], /once/],
    [['--nonsense'], /unknown option --nonsense;/],
    [['-x'], /unknown option/],
    [['-s', 'a', '3000', '4000'], /a name for each target/],
    [['-h', 'a b'], /host name/],
    [['-h', '\u001b[31m'], /host name/],
  ]
  const runs = await Promise.all(lines.map(([argv]) => ended(start(t, argv))))
  runs.forEach((run, n) => assertFailure(run, 2, lines[n]?.[1] ?? /^$/))
})

test('a port in use is one line that says what to do, exit code 1', async (t) => {
  const app = await httpApp(t, () => undefined)
  assertFailure(await ended(start(t, ['-p', app.port])), 1, /in use.*-p/)
})

test('no server there: the line says how to start one, exit code 3', async (t) => {
  const app = await tcpApp(t, () => undefined)
  await once(app.close(), 'close')
  assertFailure(
    await ended(start(t, ['-p', app.port, 3000])),
    3,
    new RegExp(`ECONNREFUSED.*start one with: groktunnel -h localhost -p ${app.port}\n`),
  )
})

const strangers: [what: string, says: (socket: Socket) => void, message: RegExp][] = [
  ['an HTTP server', (socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'), /HTTP 200/],
  [
    'a server that cuts its answer',
    (socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok'),
    /./,
  ],
  ['a server that speaks something else', (socket) => socket.end('SSH-2.0-OpenSSH_9.2\r\n'), /not HTTP/],
  ['a server that closes', (socket) => socket.end(), /closed/],
  ['a server that resets', (socket) => socket.resetAndDestroy(), /closed/],
  [
    'an upgrade to something else',
    (socket) =>
      socket.end('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'),
    /X-Public-Host/,
  ],
]

for (const [what, says, message] of strangers) {
  test(`${what} is not taken for groktunnel, exit code 3`, async (t) => {
    const stranger = await tcpApp(t, (socket) => socket.once('data', () => says(socket)))
    const run = await ended(start(t, ['-p', stranger.port, 3000]))
    assertFailure(run, 3, /expected a groktunnel server at localhost:\d+, got .*check -h and -p/)
    assert.match(run.stderr, message)
  })
}

test('a name that stays taken is exit code 5, a refusal for another reason 4, the server’s words made printable', async (t) => {
  const refusals: [number, string, number][] = [
    [409, 'name-taken', 5],
    [401, 'unauthorized', 4],
  ]
  for (const [status, code, exitCode] of refusals) {
    const body = JSON.stringify({ code, message: 'no\u001b[31m\r\nat x:1:1' })
    const says = `HTTP/1.1 ${status} No\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n${body}`
    const stranger = await tcpApp(t, (socket) => socket.once('data', () => socket.end(says)))
    const run = await ended(start(t, ['-p', stranger.port, 3000]))
    assert.equal(run.end, exitCode)
    assert.match(run.stderr, /^groktunnel: no[^\n]*\n$/)
    assert.ok(!run.stderr.includes('\u001b') && !run.stderr.includes('\r'))
    assert.equal(run.stdout, '')
  }
})

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  test(`the client prints its URL on stdout and nothing else; ${signal} ends both sides with 0`, async (t) => {
    const app = await httpApp(t, (_, response) => response.end('through both'))
    const server = await startProgramServer(t)
    const client = await startClientOf(t, server.port, { argv: [app.port] })
    assert.match(client.stdout, new RegExp(`^http://[a-z0-9]{10}\\.localhost:${server.port}\n$`))
    assert.equal((await ask({ port: server.port, host: client.host })).body, 'through both')
    client.child.kill(signal)
    await client.ended()
    assert.equal(client.end, 0)
    assert.match(
      client.stderr,
      new RegExp(`^port ${app.port} http available at:\n[\\d:]{8} GET / 200 [\\d.]+ ms 12 B\n$`),
    )
    await server.said(/end session/)
    server.child.kill(signal)
    await server.ended()
    assert.deepEqual([server.end, server.stdout], [0, ''])
    const [ready, started, end, ...more] = server.stderr.split('\n')
    assert.equal(ready, `groktunnel server [localhost] ready at http://localhost:${server.port}`)
    assert.equal(started, `${client.host}: start session`)
    assert.match(end ?? '', new RegExp(`^${client.host}: end session \\(\\d+(\\.\\d)? ms away\\)$`))
    assert.deepEqual(more, [''])
  })

  test(`${signal} while the client still connects ends it with 0`, async (t) => {
    const silent = await tcpApp(t, () => undefined)
    const run = start(t, ['-p', silent.port, 3000])
    await once(silent, 'connection')
    run.child.kill(signal)
    await ended(run)
    assert.deepEqual([run.end, run.stdout], [0, ''])
    assert.doesNotMatch(run.stderr, /\n[^]*\n/)
  })
}

for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
  test(`a server ended by ${signal} ends no client: it says so in a line, redials, and is back at the same URL`, async (t) => {
    const [port, state] = [await freePort(), folder(t)]
    const app = await httpApp(t, (_, response) => response.end('still here'))
    const server = await startServerAt(t, port, { state })
    const client = await startClientOf(t, port, { argv: [app.port] })
    server.child.kill(signal)
    await client.said(/redialling\n/)
    assert.equal(await server.ended(), signal === 'SIGTERM' ? 0 : signal)
    await startServerAt(t, port, { state })
    await client.said(/is back after/)
    assert.equal((await ask({ port, host: client.host })).body, 'still here')
    client.child.kill('SIGTERM')
    assert.equal(await client.ended(), 0)
    assert.equal(client.stdout, `${client.url}\n`)
    const [title, lost, back, request, ...more] = client.stderr.split('\n')
    assert.equal(title, `port ${app.port} http available at:`)
    const reasons = 'the server closed the session|the connection broke \\((ECONNRESET|EPIPE)\\)'
    assert.match(lost ?? '', new RegExp(`^${client.url} is lost \\((${reasons})\\); redialling$`))
    assert.match(back ?? '', new RegExp(`^${client.url} is back after \\d+\\.\\d s$`))
    assert.match(request ?? '', /^[\d:]{8} GET \/ 200 /)
    assert.deepEqual(more, [''])
  })
}

test('requests that come faster than anyone reads are not all listed, and a line says so', async (t) => {
  const app = await httpApp(t, (_, response) => response.end('fine'))
  const server = await startProgramServer(t)
  const client = await startClientOf(t, server.port, { argv: [app.port] })
  const way = { port: server.port, host: client.host }
  for (let batch = 1; batch <= 50; batch++) {
    const answers = Array.from({ length: 20 }, (_, nth) => ask(way, { path: `/${20 * batch + nth}` }))
    for (const { body } of await Promise.all(answers)) assert.equal(body, 'fine')
  }
  await client.said(/more than 100 requests a second: not all are shown\n/)
  const listed = client.stderr.match(/ GET \/\d+ 200 /g) ?? []
  assert.ok(listed.length >= 100 && listed.length < 1_000, `${listed.length} lines`)
})

test('a server whose session turns to garbage is a line of why, and the client redials', async (t) => {
  const stranger = await tcpApp(t, (socket) => {
    const head = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: yamux\r\n'
    socket.once('data', () => socket.end(`${head}X-Public-Host: a.localhost\r\n\r\nthis is not yamux`))
  })
  const app = await httpApp(t, (_, response) => response.end())
  const client = await startClientOf(t, stranger.port, { argv: [app.port] })
  await client.said(/redialling\n/, 3)
  client.child.kill('SIGTERM')
  assert.equal(await client.ended(), 0)
  assert.equal(client.stdout, 'http://a.localhost\n')
  const [lost, back] = [
    'http://a\\.localhost is lost \\(expected yamux version 0, got 116\\); redialling\n',
    'http://a\\.localhost is back after \\d\\.\\d s\n',
  ]
  const lines = `port ${app.port} http available at:\n${lost}(${back}${lost})+(${back})?`
  assert.match(client.stderr, new RegExp(`^${lines}$`))
})

test('SIGTERM ends the server with 0 also while a visitor downloads, who is reset once the grace is over', async (t) => {
  const app = await httpApp(t, (_, response) => void response.write('half'))
  const server = await startProgramServer(t, '--grace', 0.1)
  const client = await startClientOf(t, server.port, { argv: [app.port] })
  const one = visitor(t, server).send(`GET / HTTP/1.1\r\nHost: ${client.host}\r\n\r\n`)
  await one.got('half')
  server.child.kill('SIGTERM')
  assert.equal(await one.ended(), 'ECONNRESET')
  assert.equal(await server.ended(), 0)
})

test('a reader of stdout or stderr that goes away does not end the tunnel', async (t) => {
  const app = await httpApp(t, (_, response) => response.end('still here'))
  const server = await startProgramServer(t)
  const client = await startClientOf(t, server.port, { argv: [app.port] })
  for (const { child } of [server, client]) for (const end of [child.stdout, child.stderr]) end?.destroy()
  assert.equal((await ask({ port: server.port, host: client.host })).body, 'still here')
  const other = await startClientOf(t, server.port, { argv: [app.port] }) // which the server logs, into the void
  assert.equal((await ask({ port: server.port, host: other.host })).body, 'still here')
})

test('a stdout that is closed from the start does not end the tunnel either', async (t) => {
  const app = await httpApp(t, (_, response) => response.end('still here'))
  const server = await startProgramServer(t)
  const client = start(t, ['-p', server.port, app.port])
  client.child.stdout?.destroy()
  await server.said(/start session/)
  const host = /\n(\S+): start session/.exec(server.stderr)?.[1] ?? ''
  for (let n = 0; n < 3; n++) assert.equal((await ask({ port: server.port, host })).body, 'still here')
  assert.equal(client.end, undefined)
})

test('control characters in a name asked for never reach the log', async (t) => {
  const server = await startProgramServer(t)
  for (const name of ['\u001b[31mred', '\u009bred', 'a\tb', '<b>', 'x'.repeat(64), 'a.b', '%0a']) {
    const one = visitor(t, server)
    one.send(
      Buffer.from(
        `GET / HTTP/1.1\r\nHost: localhost:${server.port}\r\nConnection: Upgrade\r\nUpgrade: yamux\r\nX-Subdomain: ${name}\r\n\r\n`,
        'latin1',
      ),
    )
    await one.ended()
    assert.match(one.text, /^HTTP\/1\.1 400 /, JSON.stringify(name))
    assert.doesNotMatch(one.text.replace(/\r\n/g, ''), /[\x00-\x09\x0b-\x1f\x7f]/)
  }
  server.child.kill('SIGTERM')
  await ended(server)
  assert.equal(server.stderr, `groktunnel server [localhost] ready at http://localhost:${server.port}\n`)
})

test('a handshake without Upgrade is told so: 426; one that asks for a taken name: 409', async (t) => {
  const server = await startServer(t)
  const head = `GET / HTTP/1.1\r\nHost: localhost:${server.port}\r\nX-Subdomain: mine\r\n`
  const plain = visitor(t, server).send(`${head}\r\n`)
  await plain.got(/^HTTP\/1\.1 426 [^]*"code":"upgrade-required"/)
  const upgrade = 'Connection: Upgrade\r\nUpgrade: yamux\r\n'
  const owner = visitor(t, server).send(`${head}${upgrade}\r\n`)
  await owner.got(/^HTTP\/1\.1 101 /)
  const other = visitor(t, server).send(`${head}${upgrade}\r\n`)
  await other.got(/^HTTP\/1\.1 409 [^]*"code":"name-taken"/)
  assert.equal(await other.ended(), 'end')
  assert.equal(owner.ending, undefined)
})

test('--demo shows its site though somebody else has its port', async (t) => {
  const other = await httpApp(t, (_, response) => response.end('not a groktunnel'))
  const demo = start(t, ['--demo', '-p', other.port])
  await until(() => demo.stdout.endsWith('\n') || demo.end !== undefined, 'a URL')
  const url = demo.stdout.trim()
  assert.notEqual(new URL(url).port, String(other.port))
  const { status, body } = await ask({ port: Number(new URL(url).port), host: new URL(url).host })
  assert.equal(status, 200)
  assert.match(body, /groktunnel/)
  demo.kill('SIGINT')
  assert.equal(await demo.ended(), 0)
})

test('a server that is told to end while it turns a peer away ends as it should', async (t) => {
  const server = await startProgramServer(t)
  const peer = await registrant(t, server.port)
  assert.equal(await peer.answer(), '101')
  peer.socket.write(Buffer.alloc(8 * 1024 * 1024, 255))
  await server.said(/end session/)
  server.kill('SIGTERM')
  assert.equal(await server.ended(), 0)
  assert.doesNotMatch(server.stderr, /Warning|unsettled/)
})

test('--demo stays on this machine whatever server a config file names', async (t) => {
  const config = join(folder(t), 'groktunnel.toml')
  writeFileSync(config, 'host = "https://tunnel.example.com"\npublic-url = "https://tunnel.example.com"\n')
  const demo = start(t, ['--demo', '--config', config, '-p', await freePort()])
  await until(() => demo.stdout.endsWith('\n') || demo.end !== undefined, 'a URL')
  assert.match(demo.stdout, /^http:\/\/[a-z0-9]+\.localhost:\d+\n$/)
  const { host, port } = new URL(demo.stdout.trim())
  assert.equal((await ask({ port: Number(port), host })).status, 200)
})
