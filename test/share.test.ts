/** What hands the URL on: as a QR code, to a browser, to the clipboard. */
import assert from 'node:assert/strict'
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { encode } from 'uqr'
import { copySequence } from '../lib/announce/copy.ts'
import { openBrowser } from '../lib/announce/open.ts'
import { inked, qrCode } from '../lib/announce/qr.ts'
import { until } from './helpers.ts'
import { folder } from './programs.ts'
import { TestScreen } from './screen.ts'

const url = 'http://k3v9x0a2bq.lvh.me:9999'

/** Where a printed code is inked, module by module. */
function modulesOf(rows: string[]): boolean[][] {
  const tops = { '█': true, '▀': true, '▄': false, ' ': false } as Record<string, boolean>
  const bottoms = { '█': true, '▀': false, '▄': true, ' ': false } as Record<string, boolean>
  return rows.flatMap((row) => [
    [...row].map((half) => tops[half] === true),
    [...row].map((half) => bottoms[half] === true),
  ])
}

/** The code without what is round it, and how much is. */
function trimmed(rows: string[], isInk: boolean): { quiet: number; modules: boolean[][] } {
  const modules = modulesOf(rows).map((row) => row.map((ink) => ink === isInk))
  const { size } = encode(url, { ecc: 'L', border: 0 })
  const quiet = modules.findIndex((row) => row.includes(true))
  const inner = modules.slice(quiet, quiet + size).map((row) => row.slice(quiet, quiet + size))
  for (const row of [...modules.slice(0, quiet), ...modules.slice(quiet + size)]) {
    assert.ok(!row.includes(true), 'nothing stands in the quiet zone')
  }
  assert.equal(modules[0]?.length, size + 2 * quiet)
  return { quiet, modules: inner }
}

test('the code of a URL fits 80 by 24 with its quiet zone, and has every module in its place', () => {
  const code = qrCode(url) ?? []
  assert.ok(code.length <= 23 && code.every((row) => row.length <= 80))
  const { quiet, modules } = trimmed(code, true)
  assert.equal(quiet, 4)
  assert.deepEqual(modules, encode(url, { ecc: 'L', border: 0 }).data)
})

test('it is black on white where colours can be set, on dark and light terminals', () => {
  for (const row of inked(['▀▄ '])) assert.equal(row, '\x1b[30;107m▀▄ \x1b[0m')
})

test('without colours the light modules are painted, which is right on dark terminals', () => {
  const { quiet, modules } = trimmed(qrCode(url, { ink: 'light' }) ?? [], false)
  assert.equal(quiet, 4)
  assert.deepEqual(modules, encode(url, { ecc: 'L', border: 0 }).data)
})

test('where room is scarce the quiet zone is smaller, and where there is none there is no code', () => {
  const { size } = encode(url, { ecc: 'L', border: 0 })
  assert.equal(trimmed(qrCode(url, { columns: size + 2 }) ?? [], true).quiet, 1)
  assert.equal(qrCode(url, { columns: size + 1 }), undefined)
  assert.equal(qrCode(url, { rows: Math.ceil(size / 2) }), undefined)
  assert.equal(qrCode(`http://${'long.'.repeat(100)}test`), undefined)
})

/** A program of that name in the path, which notes what it is called with. */
function opener(t: TestContext, name: string, exitCode = 0): { args: () => string } {
  const path = folder(t)
  const noted = join(path, 'args')
  writeFileSync(
    join(path, name),
    `#!/bin/sh\nprintf '%s\\n' "$@" > ${noted}.new && /bin/mv ${noted}.new ${noted}\nexit ${exitCode}\n`,
  )
  chmodSync(join(path, name), 0o755)
  const before = process.env['PATH']
  process.env['PATH'] = path
  t.after(() => (process.env['PATH'] = before))
  return { args: () => (existsSync(noted) ? readFileSync(noted, 'utf8') : '') }
}

const openers: [platform: NodeJS.Platform, name: string, before: string][] = [
  ['linux', 'xdg-open', ''],
  ['freebsd', 'xdg-open', ''],
  ['darwin', 'open', ''],
  ['win32', 'rundll32', 'url.dll,FileProtocolHandler\n'],
]

for (const [platform, name, before] of openers) {
  test(`a browser is opened with ${name} on ${platform}, and no shell reads the URL`, async (t) => {
    const { args } = opener(t, name)
    const odd = `${url}/?a=$(id)&b=;'"`
    openBrowser(odd, (message) => assert.fail(message), platform)
    await until(() => args() !== '', 'a call')
    assert.equal(args(), `${before}${new URL(odd).href}\n`)
  })
}

test('only http URLs are opened', () => {
  for (const bad of ['file:///etc/passwd', 'javascript:alert(1)', '-a', 'k3v9x0a2bq.lvh.me:9999', '']) {
    const told: string[] = []
    openBrowser(bad, (message) => told.push(message))
    assert.deepEqual(told, [`expected an http URL to open, got ${JSON.stringify(bad)}`])
  }
})

test('when no browser can be opened one line says so', async (t) => {
  const told: string[] = []
  const tell = (message: string) => told.push(message)
  opener(t, 'xdg-open', 3)
  openBrowser(url, tell, 'linux')
  await until(() => told.length === 1, 'a line')
  openBrowser(url, tell, 'darwin')
  await until(() => told.length === 2, 'another')
  assert.deepEqual(told, [
    `no browser could be opened (xdg-open: exit code 3); open ${url}`,
    `no browser could be opened (open: ENOENT); open ${url}`,
  ])
})

const terminal = { isTTY: true }

test('the terminal is asked to copy the URL', () => {
  const screen = new TestScreen(80, 24)
  screen.write(`a${copySequence(url, terminal, { TERM: 'xterm' })}b`)
  assert.equal(screen.copied, url)
  assert.equal(screen.text, 'ab')
})

test('tmux and screen are asked to pass it on', () => {
  const plain = copySequence(url, terminal, { TERM: 'xterm' })
  assert.equal(copySequence(url, terminal, { TERM: 'screen' }), `\x1bP${plain}\x1b\\`)
  const doubled = `\x1bPtmux;\x1b${plain}\x1b\\`
  assert.equal(copySequence(url, terminal, { TERM: 'screen', TMUX: '/tmp/tmux,1,0' }), plain + doubled)
})

test('what is no terminal, or a dumb one, is sent nothing', () => {
  assert.equal(copySequence(url, {}, { TERM: 'xterm' }), '')
  assert.equal(copySequence(url, terminal, { TERM: 'dumb' }), '')
})
