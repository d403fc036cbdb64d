/** What scripts may rely on: each line as a user would write it, run by a shell against a real server and local service. */
import assert from 'node:assert/strict'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { version } from './executable.ts'
import { ask, until } from './helpers.ts'
import { folder } from './programs.ts'
import { assertLive, isToldOfProcesses, linesOf, place, runScript } from './shell.ts'

const skip = isToldOfProcesses ? false : 'no /proc to find processes in'
const url = /^http:\/\/[a-z0-9]{10}\.localhost:\d+$/
const client = /groktunnel\.[jt]s (--json )?\d+$/

for (const shell of ['bash', 'dash']) {
  const isThere = existsSync(`/bin/${shell}`) || existsSync(`/usr/bin/${shell}`)
  test(
    `in ${shell}, url=$(groktunnel --detach 3000) returns when the URL is live, and --stop ends it`,
    {
      skip: skip || (isThere ? false : `no ${shell}`),
    },
    async (t) => {
      const { run } = await place(t)
      const state = folder(t)
      const script = run('url=$(groktunnel --detach "$APP") || exit; echo "$url"', { state, shell })
      assert.equal(await script.ended(), 0)
      const [at = ''] = await linesOf(script)
      assert.match(at, url)
      assert.match(script.stderr, /^port \d+ http available at:\n$/)
      await assertLive(at)
      const stop = run('groktunnel --stop', { state, shell })
      assert.deepEqual([await stop.ended(), stop.stdout, stop.stderr], [0, '', `ended ${at}\n`])
      await script.allEnded()
    },
  )
}

test('groktunnel 3000 | head -1 prints the URL at once, and the tunnel lives on', { skip }, async (t) => {
  const { run } = await place(t)
  const script = run('groktunnel "$APP" | head -1; exit "${PIPESTATUS[0]}"')
  const [at] = await linesOf(script)
  await until(() => !script.running().some(({ line }) => line.startsWith('head')), 'the end of head')
  await assertLive(at)
  script.signal('SIGTERM', client)
  assert.equal(await script.ended(), 0)
  await script.allEnded()
})

test('read -r url < <(groktunnel 3000) goes on with the URL, and kill $! ends it', { skip }, async (t) => {
  const { run } = await place(t)
  const done = join(folder(t), 'done')
  const script = run(
    `read -r url < <(groktunnel "$APP"); client=$!; echo "$url"
    until [ -e "$DONE" ]; do sleep 0.05; done
    kill "$client"`,
    { env: { DONE: done } },
  )
  const [at = ''] = await linesOf(script)
  assert.match(at, url)
  await assertLive(at)
  writeFileSync(done, '')
  assert.equal(await script.ended(), 0)
  await script.allEnded()
})

/** Does what jq -r '"\(.event) \(.status) \(.url)"' would. */
const filter = `node -e '
  require("readline").createInterface(process.stdin).on("line", (line) => {
    const { event, status, url } = JSON.parse(line)
    console.log(event, status, url)
  })'`

test('groktunnel --json 3000 | jq gets one event a line, and nothing else', { skip }, async (t) => {
  const { run } = await place(t)
  const script = run(
    `groktunnel --json "$APP" | ${filter.replace('node', '"$NODE"')}; exit "\${PIPESTATUS[0]}"`,
  )
  const [first = ''] = await linesOf(script)
  const [event, , at] = first.split(' ')
  assert.equal(event, 'url')
  await assertLive(at)
  await linesOf(script, 2)
  script.signal('SIGINT', client)
  assert.equal(await script.ended(), 0)
  assert.deepEqual(script.stdout, `url undefined ${at}\nrequest 200 ${at}\nclosed undefined ${at}\n`)
  assert.equal(script.stderr, '')
  await script.allEnded()
})

test('events that nobody reads hold up no request', { skip }, async (t) => {
  const { port, run } = await place(t)
  const script = run('groktunnel --json "$APP" | { read -r line; echo "$line"; sleep 987; }')
  const [line = ''] = await linesOf(script)
  const { host } = new URL((JSON.parse(line) as { url: string }).url)
  const path = `/${'x'.repeat(4_000)}`
  // more than a pipe holds
  for (let count = 0; count < 50; count += 1) assert.equal((await ask({ port, host }, { path })).status, 200)
})

test('without a terminal nothing is coloured, and --quiet leaves the URL alone', { skip }, async (t) => {
  const { run } = await place(t)
  const env = { TERM: 'xterm-256color' }
  const [plain, quiet, bare] = [
    run('groktunnel "$APP" -- true', { env }),
    run('groktunnel --quiet "$APP" -- true', { env }),
    run('groktunnel --version', { env: { ...env, NO_COLOR: '1' } }),
  ]
  for (const script of [plain, quiet, bare]) assert.equal(await script.ended(), 0)
  assert.ok(![plain, quiet, bare].some(({ stdout, stderr }) => `${stdout}${stderr}`.includes('\x1b')))
  assert.match(plain.stderr, /^port \d+ http available at:\n$/)
  assert.equal(quiet.stderr, '')
  assert.match(quiet.stdout.trim(), url)
  assert.equal(bare.stdout, `${version}\n`)
})

for (const [what, where] of [
  ['stdout is closed', '>&-'],
  ['stderr is closed', '2>&-'],
  ['stdin is closed', '<&-'],
  ['stdout is on a full disk', '>/dev/full'],
  ['stderr is on a full disk', '2>/dev/full'],
] as const) {
  test(`where ${what} the tunnel opens, and the exit code is that of the command`, { skip }, async (t) => {
    const { run } = await place(t)
    const script = run(
      `groktunnel "$APP" -- sh -c 'echo "$GROKTUNNEL_URL" >url; exit 7' ${where}; code=$?; cat url >&2; exit "$code"`,
    )
    assert.equal(await script.ended(), 7)
    assert.match(script.stderr, /http:\/\/\S+\n$/)
    await script.allEnded()
  })
}

test('an error is one line on stderr, nothing on stdout, and an exit code', { skip }, async (t) => {
  const script = runScript(t, 'url=$(groktunnel 3000); code=$?; echo "[$url] $code"', { port: 1 })
  assert.equal(await script.ended(), 0)
  assert.equal(script.stdout, '[] 3\n')
  assert.match(script.stderr, /^groktunnel: expected a server at localhost:1, got ECONNREFUSED[^\n]+\n$/)
})

test('twenty targets are as quiet as one', { skip }, async (t) => {
  const { run } = await place(t)
  const script = run('groktunnel --quiet $(yes "$APP" | head -20) -- true')
  assert.equal(await script.ended(), 0)
  assert.equal((await linesOf(script, 20)).length, 20)
  assert.equal(script.stderr, '')
})
