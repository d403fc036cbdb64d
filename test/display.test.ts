/** The display as a user sees it: a real process in a real pseudo-terminal, read by a model of a screen. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { hasColor, isScreen } from '../lib/announce/display/display.ts'
import { qrCode } from '../lib/announce/qr.ts'
import { widthOf } from '../lib/text.ts'
import type { ShownTunnel } from './fixtures/display.ts'
import { until } from './helpers.ts'
import { type Shown, startDisplay, type TerminalOptions } from './terminal.ts'

const web: ShownTunnel = {
  url: 'http://k3v9x0a2bq.lvh.me:9999',
  target: 'http://localhost:3000',
  subdomain: 'k3v9x0a2bq',
  latencyMs: 0,
}
const api: ShownTunnel = {
  url: 'http://api.lvh.me:9999',
  target: 'https://localhost:8443',
  subdomain: 'api',
  latencyMs: 0,
}

async function shown(t: TestContext, options: TerminalOptions = {}, tunnels = [web]): Promise<Shown> {
  const display = await startDisplay(t, options)
  assert.equal(await display.tell({ order: 'show', tunnels }), 'shown')
  await display.terminal.shows(/lvh\.me|online/)
  return display
}

function assertFits({ terminal: { screen } }: Shown): void {
  assert.equal(screen.lines.length, screen.rows)
  for (const line of screen.lines) assert.ok(widthOf(line) <= screen.columns, `too wide: ${line}`)
}

test('it shows the state, the way of requests and the figures, and below them the requests', async (t) => {
  const { terminal, tell } = await shown(t)
  await tell({ order: 'latency', tunnel: 0, ms: 23.4 })
  await tell({ order: 'connections', tunnel: 0, open: 2, total: 5 })
  await tell({ order: 'request', tunnel: 0, record: { path: '/a?b=c', durationMs: 8, answerBytes: 1536 } })
  await tell({ order: 'clock', ms: 61_000 })
  await tell({ order: 'request', tunnel: 0, record: { method: 'POST', status: 302, durationMs: 40 } })
  await tell({ order: 'request', tunnel: 0, record: { method: 'DELETE', path: '/x', status: null } })
  await terminal.shows(/DELETE/)
  assert.deepEqual(terminal.screen.text.split('\n'), [
    'groktunnel                                                      (Ctrl+C to quit)',
    '',
    'Session status    online',
    'Version           1.2.3',
    'Latency           23 ms',
    'Forwarding        http://k3v9x0a2bq.lvh.me:9999 -> http://localhost:3000',
    '',
    'Connections       ttl      opn      rt1      rt5      p50      p90',
    '                  5        2        26 ms    20 ms    12 ms    42 ms',
    '',
    'Requests',
    '--------',
    '14:05:00 GET     /a?b=c                                    200   8.0 ms   1.5 kB',
    '14:06:01 POST    /                                         302    40 ms      0 B',
    '14:06:01 DELETE  /x                                        ---    12 ms      0 B',
  ])
  assert.equal(terminal.screen.isCursorShown, false)
  assert.equal(terminal.screen.isSecond, true)
})

test('the log scrolls: the latest request is at the bottom, and as many as fit are above it', async (t) => {
  const display = await shown(t)
  const { terminal, tell } = display
  for (let i = 0; i < 300; i++) await tell({ order: 'request', tunnel: 0, record: { path: `/${i}.` } })
  await terminal.shows(/\/299\./)
  const paths = [...terminal.screen.text.matchAll(/GET +(\S+)/g)].map(([, path]) => path)
  assert.deepEqual(
    paths,
    Array.from({ length: 12 }, (_, i) => `/${288 + i}.`),
  )
  assert.match(terminal.screen.lines.at(-1) ?? '', /\/299\./)
  assertFits(display)
})

test('nothing that comes from far away moves the cursor or breaks a row', async (t) => {
  const display = await shown(t)
  const { terminal, tell } = display
  const paths = [
    '/\x1b[2J\x1b[1;1Hhidden',
    '/\r\n\x07\x9b\u202e',
    `/${'漢字'.repeat(60)}`,
    `/${'🎉'.repeat(60)}`,
  ]
  for (const path of [...paths, `/${'long'.repeat(4000)}`])
    await tell({ order: 'request', tunnel: 0, record: { path, method: 'M\x1b' } })
  await tell({ order: 'line', text: 'a hint\x1b[31m of the program' })
  await terminal.shows(/of the program/)
  assert.match(terminal.screen.text, /M\\x1b +\/\\x1b\[2J\\x1b\[1;1Hhidden/)
  assert.match(terminal.screen.text, /\/\\x0d\\x0a\\x07\\x9b\\u\{202e\}/)
  assert.match(terminal.screen.text, /(漢字)+漢?… +200/)
  assert.match(terminal.screen.text, /14:05:00 a hint\\x1b\[31m of the program/)
  assertFits(display)
})

test('a lost tunnel is told of until it is back, and why one ended', async (t) => {
  const { terminal, tell } = await shown(t)
  await tell({ order: 'clock', ms: 5_000 })
  await tell({ order: 'lost', tunnel: 0, message: 'the connection broke (EPIPE)' })
  await terminal.shows(/status +reconnecting since 14:05:05 \(the connection broke \(EPIPE\)\)/)
  await tell({ order: 'back', tunnel: 0 })
  await terminal.shows(/status +online$/m)
  await tell({ order: 'ended', tunnel: 0, message: 'a newer client has the name' })
  await terminal.shows(/status +ended: a newer client has the name/)
})

test('several tunnels have a line each, a state and figures for all, and their names in the log', async (t) => {
  const { terminal, tell } = await shown(t, {}, [web, api])
  await tell({ order: 'connections', tunnel: 0, open: 1, total: 10 })
  await tell({ order: 'connections', tunnel: 1, open: 2, total: 20 })
  await tell({ order: 'request', tunnel: 1, record: { path: '/users' } })
  await tell({ order: 'lost', tunnel: 0, message: 'gone' })
  await terminal.shows(/1 of 2 online/)
  await terminal.shows(/Forwarding +http:\/\/k3v9x0a2bq\.lvh\.me:9999 reconnecting since 14:05:00 \(go…/)
  await terminal.shows(/^ +http:\/\/api\.lvh\.me:9999 -> https:\/\/localhost:8443$/m)
  await terminal.shows(/^ +30 +3 /m)
  await terminal.shows(/14:05:00 api +GET +\/users/)
})

test('it follows the size of the terminal, down to 20 by 5 and less, and back', async (t) => {
  const display = await shown(t)
  const { terminal, tell } = display
  await tell({ order: 'request', tunnel: 0, record: { path: '/the/last/request' }, times: 50 })
  await terminal.shows(/\/the\/last\/request/)
  const full = terminal.screen.text
  const sizes: [columns: number, rows: number, shows: RegExp][] = [
    [120, 40, /Session status[^]*\/the\/last\/request {20}/],
    [60, 14, /^online +-\nhttp:.*3000\nttl 0/],
    [40, 10, /^online[^]*14:05:00 GET/],
    [20, 5, /^online\nhttp:\/\/k3v9x0a2bq.l…\nGET[^\n]+\nGET[^\n]+\nGET.* 200$/],
    [10, 2, /^online\nhttp:\/\/k3…$/],
    [1, 1, /^…$/],
    [80, 24, /Session status/],
  ]
  for (const [columns, rows, expected] of sizes) {
    terminal.order({ resize: [columns, rows] })
    await terminal.shows(expected)
    assertFits(display)
  }
  await until(() => terminal.screen.text === full, 'what was there at first')
  terminal.order({ resize: [10, 2] }).order({ resize: [80, 24] })
  await until(() => terminal.screen.text === full, 'it again, though the terminal has lost it meanwhile')
})

test('a terminal that does not know its size is taken for one of 80 by 24', async (t) => {
  const display = await startDisplay(t, { columns: 0, rows: 0 })
  display.terminal.screen.resize(80, 24)
  await display.tell({ order: 'show', tunnels: [web] })
  await display.terminal.shows(/Session status/)
  assertFits(display)
})

/** What the user had on the terminal is back, and below it the URLs and a summary. */
async function assertRestored({ terminal: { screen } }: Shown, summary: RegExp): Promise<void> {
  await until(() => !screen.isSecond && summary.test(screen.text), `the first screen, not\n${screen.text}`)
  assert.ok(screen.isCursorShown, 'the cursor is shown')
  assert.ok(screen.wraps, 'long lines wrap')
  assert.match(screen.text, /^before\n/)
  assert.match(screen.text, /^http:\/\/k3v9x0a2bq\.lvh\.me:9999 -> http:\/\/localhost:3000$/m)
}

async function shownAfterWords(t: TestContext): Promise<Shown> {
  const display = await startDisplay(t)
  await display.tell({ order: 'line', text: 'before' })
  await display.tell({ order: 'show', tunnels: [web] })
  await display.terminal.shows(/Session status/)
  assert.doesNotMatch(display.terminal.screen.text, /before/)
  return display
}

test('closed, it gives the terminal back, and what was said, the URL and a summary stay', async (t) => {
  const display = await shownAfterWords(t)
  await display.tell({ order: 'connections', tunnel: 0, open: 0, total: 1 })
  await display.tell({ order: 'request', tunnel: 0, record: { durationMs: 10 }, times: 3 })
  await display.tell({ order: 'line', text: 'a hint\n' })
  await display.tell({ order: 'clock', ms: 90_000 })
  await display.tell({ order: 'close' })
  await display.tell({ order: 'line', text: 'after' })
  await assertRestored(display, /^1 connection, 3 requests in 90\.0 s; p50 1\d ms, p90 1\d ms\nafter$/m)
  assert.match(display.terminal.screen.text, /^before\n14:05:00 a hint\\x0a\nhttp:/)
})

const ends: [how: string, end: (display: Shown) => unknown, code: number][] = [
  ['kill -TERM', ({ terminal }) => terminal.order({ signal: 15 }), 0],
  ['Ctrl-C', ({ terminal }) => terminal.order({ type: '\x03' }), 0],
  ['a crash', ({ tell }) => tell({ order: 'exit' }), 7],
]

for (const [how, end, code] of ends) {
  test(`${how} gives the terminal back`, async (t) => {
    const display = await shownAfterWords(t)
    await end(display)
    assert.deepEqual(await display.terminal.ended(), { code })
    await assertRestored(display, /^0 connections, 0 requests in 0\.0 ms$/m)
  })
}

test('Ctrl-Z gives the terminal back to the shell, and with fg it is right again', async (t) => {
  const { terminal, tell } = await startDisplay(t, { shell: (command) => command })
  const { screen } = terminal
  await tell({ order: 'show', tunnels: [web] })
  for (const path of ['/one', '/two']) {
    await terminal.shows(/Session status/)
    terminal.order({ type: '\x1a' })
    await until(() => !screen.isSecond && /Stopped|suspended/i.test(screen.text), 'the shell')
    assert.ok(screen.isCursorShown && screen.wraps)
    assert.doesNotMatch(screen.text, /Session status/)
    terminal.order({ type: 'fg\n' })
    await until(() => screen.isSecond, 'the display')
    await tell({ order: 'request', tunnel: 0, record: { path } })
    await terminal.shows(new RegExp(`Session status +online[^]*${path}`))
    assert.equal(screen.isCursorShown, false)
  }
})

test('with fg it has the size that the terminal was given meanwhile', async (t) => {
  const display = await startDisplay(t, { shell: (command) => command })
  const { terminal, tell } = display
  await tell({ order: 'show', tunnels: [web] })
  await terminal.shows(/Session status/)
  terminal.order({ type: '\x1a' })
  await until(() => !terminal.screen.isSecond, 'the shell')
  terminal.order({ resize: [60, 14] }).order({ type: 'fg\n' })
  await terminal.shows(/^online +-\nhttp:.*3000\nttl 0/)
  assertFits(display)
})

test('what is typed moves nothing, and is gone with the next frame', async (t) => {
  const { terminal, tell } = await shown(t)
  await tell({ order: 'request', tunnel: 0, record: { path: '/a' }, times: 20 })
  await terminal.shows(/200[^\n]*$/)
  terminal.order({ type: 'ls\n\n' })
  await until(() => terminal.output.includes('ls\r\n\r\n'), 'the echo')
  assert.match(terminal.screen.text, /^groktunnel +\(Ctrl\+C to quit\)\n[^]*Requests\n--------\n/)
  await tell({ order: 'latency', tunnel: 0, ms: 12 })
  await terminal.shows(/Latency +12 ms/)
  assert.doesNotMatch(terminal.screen.text, /ls/)
})

for (const how of ['ends', 'stops'] as const) {
  test(`a terminal that is behind gets its first screen back when the program ${how}`, async (t) => {
    const display = await startDisplay(t, { columns: 200, rows: 60, shell: (command) => command })
    const { terminal, tell } = display
    await tell({ order: 'show', tunnels: [web] })
    await terminal.shows(/Session status/)
    terminal.order({ hold: true })
    for (let i = 0; i < 60; i++) {
      await tell({ order: 'request', tunnel: 0, record: { path: `/${i}.${'x'.repeat(150)}` }, times: 60 })
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    terminal.order({ type: how === 'ends' ? '\x03' : '\x1a' })
    // Time for it to end without waiting for the terminal, were it so minded.
    await new Promise((resolve) => setTimeout(resolve, 100))
    terminal.order({ hold: false })
    await until(() => !terminal.screen.isSecond, 'the first screen')
    assert.ok(terminal.screen.isCursorShown && terminal.screen.wraps)
  })
}

test('in the background it leaves the terminal alone', { skip: process.platform !== 'linux' }, async (t) => {
  const { terminal, tell } = await startDisplay(t, { shell: (command) => command })
  const { screen } = terminal
  assert.equal(await tell({ order: 'foreground' }), true)
  await tell({ order: 'show', tunnels: [web] })
  await terminal.shows(/Session status/)
  terminal.order({ type: '\x1a' })
  await until(() => !screen.isSecond && /Stopped|suspended/i.test(screen.text), 'the shell')
  terminal.order({ type: 'bg\n' })
  assert.equal(await tell({ order: 'foreground' }), false)
  await tell({ order: 'clock', ms: 1000 })
  await tell({ order: 'request', tunnel: 0, record: { path: '/unseen' } })
  terminal.order({ type: 'echo still the $((40 + 2)) shell\n' })
  await terminal.shows(/still the 42 shell/)
  assert.equal(screen.isSecond, false)
  assert.doesNotMatch(terminal.output, /unseen/)
  terminal.order({ type: 'fg\n' })
  await terminal.shows(/Session status +online[^]*\/unseen/)
})

test('a terminal that stops reading stops only what is shown, and is right when it reads on', async (t) => {
  const display = await shown(t, { columns: 200, rows: 60 })
  const { terminal, tell } = display
  terminal.order({ hold: true })
  // Each is another frame, 60 rows of 200 columns: far more than a pseudo-terminal holds.
  for (let i = 0; i < 60; i++) {
    const drawn = tell({
      order: 'request',
      tunnel: 0,
      record: { path: `/${i}.${'x'.repeat(150)}` },
      times: 60,
    })
    await drawn
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  terminal.order({ hold: false })
  await terminal.shows(/\/59\.x/)
  assert.match(terminal.screen.text, /^groktunnel[^]*Session status +online/)
  assertFits(display)
})

test('many requests are few frames, and no news is none', async (t) => {
  const { terminal, tell } = await shown(t)
  await terminal.shows(/p90/)
  const frames = () => terminal.output.split('\x1b[1;1H').length - 1
  const [before, startedAt] = [frames(), performance.now()]
  for (let i = 0; i < 20; i++)
    await tell({ order: 'request', tunnel: 0, record: { path: `/${i}` }, times: 500 })
  await terminal.shows(/\/19 /)
  const most = Math.ceil((performance.now() - startedAt) / 100) + 1
  assert.ok(frames() - before <= most, `${frames() - before} frames, at most ${most} expected`)
  const after = terminal.output.length
  await tell({ order: 'clock', ms: 1000 })
  await tell({ order: 'connections', tunnel: 0, open: 0, total: 0 })
  for (let i = 0; i < 50; i++) await tell({ order: 'nothing' }) // which is longer than the next frame waits
  await tell({ order: 'latency', tunnel: 0, ms: 12 })
  await terminal.shows(/Latency +12 ms/) // the frame after the one that had nothing new
  assert.equal(terminal.output.slice(after).split('\x1b[1;1H').length - 1, 1)
})

test('a QR code is shown until somebody has come', async (t) => {
  const code = qrCode(web.url)
  const { terminal, tell } = await startDisplay(t)
  await tell({ order: 'show', tunnels: [web], options: { code } })
  await terminal.shows(/▀|▄/)
  const lines = terminal.screen.lines
  for (const row of code ?? []) assert.ok(lines.includes(row.trimEnd()), `no ${row} in\n${lines.join('\n')}`)
  assert.match(terminal.screen.text, /http:\/\/k3v9x0a2bq\.lvh\.me:9999 ->/)
  await tell({ order: 'request', tunnel: 0, record: { path: '/from/a/phone' } })
  await terminal.shows(/\/from\/a\/phone/)
  assert.doesNotMatch(terminal.screen.text, /▀|▄/)
})

test('beside a QR code lines of the program are shown, and where it has no room more any the usual is', async (t) => {
  const code = qrCode(web.url) ?? []
  const { terminal, tell } = await startDisplay(t)
  await tell({ order: 'show', tunnels: [web], options: { code } })
  await tell({ order: 'line', text: 'a hint' })
  await terminal.shows(/[▀▄][^]*\n14:05:00 a hint$/)
  terminal.order({ resize: [80, 16] })
  await terminal.shows(/^groktunnel[^]*Session status +online[^]*\n--------\n14:05:00 a hint$/)
})

test('a long line of the program is shown whole, in rows of its own', async (t) => {
  const display = await shown(t, { columns: 40 })
  await display.tell({
    order: 'line',
    text: 'the local service seems to refuse the host; try --host-header rewrite',
  })
  await display.terminal.shows(
    /^14:05:00 the local service seems to\n {9}refuse the host; try\n {9}--host-header rewrite$/m,
  )
  assertFits(display)
})

test('of more tunnels than there are rows some are shown, how many more there are, and some requests', async (t) => {
  const tunnels = Array.from({ length: 30 }, (_, n) => ({ ...api, url: `http://t${n}.lvh.me` }))
  const display = await shown(t, {}, tunnels)
  const { terminal, tell } = display
  await tell({ order: 'lost', tunnel: 29, message: 'gone' })
  await tell({ order: 'request', tunnel: 29, record: { path: '/seen' } })
  await terminal.shows(
    /^29 of 30 online\nhttp:\/\/t0\.[^]*\nhttp:\/\/t17\.\S+\nand 12 more\n14:05:00 api +GET +\/seen/,
  )
  assertFits(display)
})

const coloured = /\x1b\[\d+m/

test('colours are used where they are welcome', async (t) => {
  const { terminal } = await shown(t)
  assert.match(terminal.output, coloured)
})

test('NO_COLOR is heeded', async (t) => {
  const { terminal, tell } = await shown(t, { env: { NO_COLOR: '1' } })
  await tell({ order: 'request', tunnel: 0, record: { status: 500 } })
  await terminal.shows(/500/)
  assert.doesNotMatch(terminal.output, coloured)
})

test('a dumb terminal gets no display', async (t) => {
  const { terminal, tell } = await startDisplay(t, { env: { TERM: 'dumb' } })
  assert.equal(await tell({ order: 'show', tunnels: [web] }), 'no screen')
  assert.equal(terminal.output, '')
})

test('what the user says of colours counts more than what the stream is', () => {
  const [terminal, file] = [{ isTTY: true }, {}]
  assert.equal(hasColor(terminal, { TERM: 'xterm' }), true)
  assert.equal(hasColor(terminal, { TERM: 'dumb' }), false)
  assert.equal(hasColor(file, {}), false)
  assert.equal(hasColor(file, { FORCE_COLOR: '1' }), true)
  assert.equal(hasColor(terminal, { TERM: 'xterm', FORCE_COLOR: '0' }), false)
  assert.equal(hasColor(terminal, { TERM: 'xterm', NO_COLOR: '1', FORCE_COLOR: '1' }), false)
  assert.equal(hasColor(terminal, { TERM: 'xterm', NO_COLOR: '' }), true)
  assert.equal(isScreen(file, { FORCE_COLOR: '1' }), false)
})
