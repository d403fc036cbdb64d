/** The command after `--`: what it is told, how it ends, and that neither it nor what it started outlives us. */
import assert from 'node:assert/strict'
import { constants } from 'node:os'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { executable } from './executable.ts'
import { until, visitor } from './helpers.ts'
import { Terminal } from './terminal.ts'
import { isToldOfProcesses, linesOf, place } from './shell.ts'

const skip = isToldOfProcesses ? false : 'no /proc to find processes in'
const file = fileURLToPath(executable)

/** What it takes to start a client in a terminal. */
async function terminalPlace(t: TestContext): Promise<{ program: string[]; port: string; app: string }> {
  const { port, app } = await place(t)
  return { program: [process.execPath, ...process.execArgv, file], port: String(port), app: String(app) }
}

const client = /groktunnel\.[jt]s .*-- /

test('it has the URLs in its environment, our stdin, and its exit code is ours', { skip }, async (t) => {
  const { port, run } = await place(t)
  const script = run(`echo from stdin | groktunnel web="$APP" api-2="$APP" -- sh -c '
    cat; echo "$GROKTUNNEL_URL $GROKTUNNEL_URL_WEB $GROKTUNNEL_URL_API_2"; exit 7'`)
  assert.equal(await script.ended(), 7)
  const [web, api] = [`http://web.localhost:${port}`, `http://api-2.localhost:${port}`]
  assert.equal(script.stdout, `${web}\n${api}\nfrom stdin\n${web} ${web} ${api}\n`)
  await script.allEnded()
})

for (const [what, command, code] of [
  ['ends by a signal', `sh -c 'kill -TERM $$'`, 143],
  ['is not there', 'no-such-command', 127],
  ['may not be executed', '/tmp', 126],
  ['is behind a file', '/etc/passwd/x', 126],
] as const) {
  test(`a command that ${what} is exit code ${code}`, { skip }, async (t) => {
    const { run } = await place(t)
    const script = run(`groktunnel "$APP" -- ${command}`)
    assert.equal(await script.ended(), code)
    const told =
      code > 127 ? /^port .*\n$/ : /^port .*\ngroktunnel: expected a command that can run [^\n]+\n$/
    assert.match(script.stderr, told)
    await script.allEnded()
  })
}

const traps = `sh -c 'trap "echo TERM; exit 3" TERM; trap "echo INT; exit 4" INT; trap "echo USR1" USR1
  echo ready; while :; do sleep 0.05; done'`

test('signals are passed on to it, and its exit code is taken over', { skip }, async (t) => {
  const { run } = await place(t)
  const script = run(`groktunnel --quiet "$APP" -- ${traps}`)
  await linesOf(script, 2)
  script.signal('SIGUSR1', client)
  await linesOf(script, 3)
  script.signal('SIGTERM', client)
  assert.equal(await script.ended(), 3)
  assert.match(script.stdout, /ready\nUSR1\nTERM\n$/)
  await script.allEnded()
})

test(
  'in the background of a script, where stdin is closed, it is told of SIGINT too',
  { skip },
  async (t) => {
    const { run } = await place(t)
    const script = run(`groktunnel --quiet "$APP" -- ${traps} <&- & wait $!; exit $?`)
    await linesOf(script, 2)
    script.signal('SIGINT', client)
    // A shell that is in the background of another ignores SIGINT, and cannot trap it; what we start does not.
    assert.equal(await script.ended(), 4)
    await script.allEnded()
  },
)

test(
  'what a command leaves behind that was told to end is ended, as that of npm test',
  { skip },
  async (t) => {
    const { run } = await place(t)
    const script = run(`groktunnel "$APP" -- sh -c 'sh -c "echo ready; sleep 987; true"; true'`)
    await linesOf(script, 2)
    script.signal('SIGTERM', client)
    assert.equal(await script.ended(), 143)
    await script.allEnded()
  },
)

test('what a command leaves behind that ended by itself is left alone', { skip }, async (t) => {
  const { run } = await place(t)
  const script = run(`groktunnel "$APP" -- sh -c 'sleep 987 >/dev/null 2>&1 & true'`)
  assert.equal(await script.ended(), 0)
  await until(() => script.running().length === 1, 'only what was left')
  assert.match(script.running()[0]?.line ?? '', /^sleep 987/)
})

test('when we are killed outright it ends, and what it started', { skip }, async (t) => {
  const { run } = await place(t)
  const script = run(`groktunnel "$APP" -- sh -c 'sh -c "echo ready; sleep 987; true"; true'; exit $?`)
  await linesOf(script, 2)
  script.signal('SIGKILL', client)
  assert.equal(await script.ended(), 137)
  await script.allEnded()
})

test(
  'when we are killed outright and it ignores SIGTERM, it is killed after the grace',
  { skip },
  async (t) => {
    const { run } = await place(t)
    const script = run(
      `groktunnel --grace 300ms "$APP" -- sh -c 'trap "" TERM; echo ready; while :; do sleep 0.1; done'`,
    )
    await linesOf(script, 2)
    script.signal('SIGKILL', client)
    await script.allEnded()
  },
)

test('a command within a command: each is told to end once', { skip }, async (t) => {
  const { run } = await place(t)
  const script = run(`groktunnel --quiet "$APP" -- groktunnel "$APP" -- ${traps}`)
  const [outer, inner] = await linesOf(script, 3)
  assert.notEqual(outer, inner)
  script.signal('SIGTERM', /groktunnel\.[jt]s --quiet \d+ -- groktunnel/)
  assert.equal(await script.ended(), 3)
  assert.match(script.stdout, /ready\nTERM\n$/)
  await script.allEnded()
})

for (const [what, head] of [
  ['an idle visitor', ''],
  ['an open WebSocket', 'Connection: Upgrade\r\nUpgrade: websocket\r\n'],
] as const) {
  test(`${what} does not hold up the end for all of the grace`, { skip }, async (t) => {
    const { port, run } = await place(t)
    const script = run('groktunnel --grace 60s ws="$APP" -- cat', { input: true })
    await linesOf(script)
    const one = visitor(t, { port })
    one.send(`GET /x HTTP/1.1\r\nHost: ws.localhost:${port}\r\n${head}\r\n`)
    await one.got(/^HTTP\/1.1 /)
    script.child.stdin?.end()
    assert.equal(await script.ended(), 0)
    await script.allEnded()
  })
}

test('Ctrl-C in a terminal tells it once', { skip }, async (t) => {
  const { program, port, app } = await terminalPlace(t)
  const command = `let count = 0
    process.on('SIGINT', () => console.log('INT', ++count)).on('SIGUSR1', () => process.exit(10 + count))
    console.log('ready'); setInterval(() => {}, 1000)`
  const terminal = new Terminal(t, [...program, '-p', port, app, '--', process.execPath, '-e', command])
  await terminal.shows(/ready/)
  terminal.order({ type: '\x03' })
  await terminal.shows(/INT 1/)
  // What is passed on comes in order: behind a second SIGINT, if there were one.
  terminal.order({ signal: constants.signals.SIGUSR1 })
  assert.deepEqual(await terminal.ended(), { code: 11 })
})

test('Ctrl-C after its end ends what is still waited for, with its exit code', { skip }, async (t) => {
  const { program, port, app } = await terminalPlace(t)
  const terminal = new Terminal(t, [
    ...program,
    '-p',
    port,
    `ws=${app}`,
    '--',
    'sh',
    '-c',
    'read _; echo over; exit 9',
  ])
  await terminal.shows(/http:/)
  const one = visitor(t, { port: Number(port) })
  one.send(
    `GET /x HTTP/1.1\r\nHost: ws.localhost:${port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
  )
  await one.got(/^HTTP\/1.1 101/)
  terminal.order({ type: '\n' })
  await terminal.shows(/over/)
  terminal.order({ type: '\x03' }).order({ type: '\x03' })
  assert.deepEqual(await terminal.ended(), { code: 9 })
})
