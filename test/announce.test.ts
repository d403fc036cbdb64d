/** What a client says of its tunnels, where, and to whom. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { AnnounceOptions } from '../lib/announce/announce.ts'
import { inked, qrCode } from '../lib/announce/qr.ts'
import { until, within } from './helpers.ts'
import { folder } from './programs.ts'
import { Terminal, type TerminalOptions } from './terminal.ts'

const url = 'http://a.test'
const fixture = fileURLToPath(new URL(`./fixtures/announce${import.meta.url.slice(-3)}`, import.meta.url))

type Options = Partial<AnnounceOptions>

function argvOf(options: Options): string[] {
  return [process.execPath, ...process.execArgv, fixture, JSON.stringify(options)]
}

/** What it says where nothing is a terminal, and its exit code. */
async function inPipes(options: Options): Promise<{ stdout: string; stderr: string; code: unknown }> {
  const [program = '', ...args] = argvOf(options)
  const child = spawn(program, args, { env: { PATH: process.env['PATH'] ?? '', TZ: 'UTC' } })
  child.stdin.end()
  let [stdout, stderr] = ['', '']
  child.stdout.on('data', (bytes: Buffer) => (stdout += bytes.toString()))
  child.stderr.on('data', (bytes: Buffer) => (stderr += bytes.toString()))
  const [code] = (await within(once(child, 'close'), 'the end')) as [unknown]
  return { stdout, stderr, code }
}

/** It at a terminal, which nobody types on; what it shows once all has happened. */
function atTerminal(t: TestContext, options: Options, where?: TerminalOptions): Terminal {
  return new Terminal(t, argvOf(options), where)
}

const lost = 'it broke\\x0d\\x0a\\x1b[2J\\u{202e}'

test('in a pipe the URL alone goes to stdout, and what becomes of it to stderr, a line each', async () => {
  const { stdout, stderr, code } = await inPipes({})
  assert.equal(stdout, `${url}\n`)
  assert.deepEqual(stderr.trimEnd().split('\n'), [
    'port 3000 http available at:',
    `http://a.test is lost (${lost}); redialling`,
    'http://a.test is back after 1.2 s',
    '14:05:59 GET /a?b=\\x9b 200 12 ms 1.5 kB',
    '14:05:59 GET /a?b=\\x9b no answer 1.0 ms 0 B',
    'said',
    `groktunnel: ${lost}`,
  ])
  assert.equal(code, 3)
})

test('--quiet says the URL, and why it ends', async () => {
  const { stdout, stderr } = await inPipes({ quiet: true })
  assert.equal(stdout, `${url}\n`)
  assert.equal(stderr, `groktunnel: ${lost}\n`)
})

test('--json is one event a line on stdout, and each can be parsed', async () => {
  const { stdout } = await inPipes({ json: true })
  const lines = stdout.trimEnd().split('\n')
  const events = lines.map((line) => JSON.parse(line) as Record<string, unknown>)
  for (const { at } of events) assert.equal(new Date(String(at)).toISOString(), at)
  const message = 'it broke\r\n\x1b[2J\u202e'
  const request = { event: 'request', url, method: 'GET', path: '/a?b=\x9b' }
  assert.deepEqual(
    events.map((event) => ({ ...event, at: '' })),
    [
      { event: 'url', url, target: 'http://localhost:3000' },
      { event: 'lost', url, code: 'session-lost', message },
      { event: 'back', url, awayMs: 1234 },
      { ...request, status: 200, durationMs: 12.3, requestBytes: 0, answerBytes: 1536 },
      { ...request, status: null, durationMs: 1, requestBytes: 7, answerBytes: 0 },
      { event: 'closed', url },
      { event: 'error', code: 'session-lost', message, exitCode: 3 },
    ].map((event) => ({ ...event, at: '' })),
  )
  assert.equal(events[3]?.['at'], '2026-01-01T14:05:59.000Z')
})

test('at a terminal there is a display, and why it ended is the last line', async (t) => {
  const terminal = atTerminal(t, {})
  await terminal.shows(/Session status +online[^]*GET +\/a\?b=\\x9b[^]*said/)
  assert.equal(terminal.screen.isSecond, true)
  terminal.order({ type: '\x04' })
  assert.deepEqual(await terminal.ended(), { code: 3 })
  assert.equal(terminal.screen.isSecond, false)
  assert.match(
    terminal.screen.text,
    /^http:\/\/a\.test\n[^]* said\nhttp:\/\/a\.test -> [^]*2 requests[^\n]+\ngroktunnel: it broke/,
  )
})

test('where a script reads the URL there is no display: who watches it gets lines', async (t) => {
  const read = ['sh', '-c', '"$@" | sed "s/^/read: /"', 'sh', ...argvOf({})]
  const terminal = new Terminal(t, read)
  await terminal.shows(/said/)
  await terminal.shows(/^read: http:\/\/a\.test$/m)
  assert.match(terminal.screen.text, /available at:\n[^]*is lost[^]*14:05:59 GET \/a\?b=\\x9b 200 12 ms/)
  assert.doesNotMatch(terminal.output, /\x1b/)
  terminal.order({ type: '\x04' })
  await terminal.ended()
  assert.equal(terminal.output.split('http://a.test\r\n').length, 2, 'the URL was printed once')
})

test('where a display has no room for the code, a line says so', async (t) => {
  const terminal = atTerminal(t, { qr: true }, { columns: 70, rows: 16 })
  await terminal.shows(/online[^]* no QR code: the terminal is too small for that of\n +http:\/\/a\.test\n/)
})

test('without a display a terminal gets the lines, and the requests among them', async (t) => {
  const terminal = atTerminal(t, { display: false })
  await terminal.shows(/said/)
  assert.equal(terminal.screen.isSecond, false)
  assert.match(
    terminal.screen.text,
    /available at:\nhttp:\/\/a\.test\n[^]*14:05:59 GET \/a\?b=\\x9b 200 12 ms 1\.5 kB\n14:05:59 GET [^\n]+ no answer/,
  )
})

test('a dumb terminal gets lines', async (t) => {
  const terminal = atTerminal(t, {}, { env: { TERM: 'dumb' } })
  await terminal.shows(/available at:\nhttp:\/\/a\.test\n[^]*said/)
  assert.doesNotMatch(terminal.output, /\x1b/)
})

test('--qr prints a code in black on white, of characters alone where colours are unwelcome', async (t) => {
  const coloured = atTerminal(t, { display: false, qr: true })
  await coloured.shows(/said/)
  assert.ok(coloured.output.includes(inked(qrCode(url) ?? []).join('\r\n')))
  const plain = atTerminal(t, { display: false, qr: true }, { env: { NO_COLOR: '1' } })
  await plain.shows(/said/)
  assert.ok(plain.output.includes((qrCode(url, { ink: 'light' }) ?? []).join('\r\n')))
})

test('where there is no room for a code, a line says so', async (t) => {
  const terminal = atTerminal(t, { display: false, qr: true }, { columns: 70, rows: 10 })
  await terminal.shows(/^no QR code: the terminal is too small for that of http:\/\/a\.test$/m)
})

test('--copy asks the terminal to copy the URL, and says when there is none', async (t) => {
  const terminal = atTerminal(t, { copy: true })
  await terminal.shows(/said/)
  assert.equal(terminal.screen.copied, url)
  const { stderr } = await inPipes({ copy: true })
  assert.match(stderr, /^nothing was copied: that needs a terminal$/m)
})

test('--open opens the URL', { skip: process.platform !== 'linux' }, async (t) => {
  const path = folder(t)
  const noted = join(path, 'url')
  writeFileSync(
    join(path, 'xdg-open'),
    `#!/bin/sh\nprintf %s "$1" > ${noted}.new && /bin/mv ${noted}.new ${noted}\n`,
  )
  chmodSync(join(path, 'xdg-open'), 0o755)
  const env = { PATH: `${path}${delimiter}${process.env['PATH']}` }
  atTerminal(t, { open: true }, { env })
  await until(() => existsSync(noted), 'a call')
  assert.equal(readFileSync(noted, 'utf8'), `${url}/`)
})
