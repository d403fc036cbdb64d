/** Clients in the background: what their callers get to know, what ends them, and that no record or process is left. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { until } from './helpers.ts'
import { folder, freePort, startServerAt } from './programs.ts'
import { assertLive, isToldOfProcesses, linesOf, place, runScript } from './shell.ts'

const skip = isToldOfProcesses ? false : 'no /proc to find processes in'
const detach = 'groktunnel --detach "$APP"'

function recordsIn(state: string): string[] {
  return readdirSync(join(state, 'groktunnel', 'detached')).map((file) =>
    join(state, 'groktunnel', 'detached', file),
  )
}

interface Facts {
  pid: number
  startedAt: string
}

function recordIn(state: string): { file: string; facts: Facts } {
  const [file = ''] = recordsIn(state).filter((file) => file.endsWith('.json'))
  return { file, facts: JSON.parse(readFileSync(file, 'utf8')) as Facts }
}

test('several targets are one client: their URLs in order, ended by the name of any', { skip }, async (t) => {
  const { run } = await place(t)
  const state = folder(t)
  const script = run('groktunnel --detach web="$APP" "$APP" api="$APP"', { state })
  assert.equal(await script.ended(), 0)
  const urls = await linesOf(script, 3)
  assert.match(urls[0] ?? '', /\/web\./)
  assert.match(urls[2] ?? '', /\/api\./)
  for (const url of urls) await assertLive(url)
  const stop = run('groktunnel --stop api', { state })
  assert.deepEqual([await stop.ended(), stop.stderr], [0, `ended ${urls.join(' ')}\n`])
  await script.allEnded()
  assert.deepEqual(recordsIn(state), [])
})

test('two at once are ended one by one; an unknown name ends nothing', { skip }, async (t) => {
  const { run } = await place(t)
  const state = folder(t)
  const script = run('groktunnel --detach one="$APP" & groktunnel --detach two="$APP" & wait', { state })
  await script.ended()
  const [one = '', two = ''] = (await linesOf(script, 2)).sort()
  const stop = run('groktunnel --stop three; echo $?; groktunnel --stop one; echo $?', { state })
  await stop.ended()
  assert.equal(stop.stdout, '2\n0\n')
  assert.match(stop.stderr, new RegExp(`got "three"; there is [^\n]*\nended ${one}\n$`))
  await assertLive(two)
  const rest = run('groktunnel --stop; groktunnel --stop', { state })
  assert.equal(await rest.ended(), 0)
  assert.equal(rest.stderr, `ended ${two}\nnothing is detached\n`)
  await script.allEnded()
})

test('what keeps it from opening is said by the caller, with the exit code', { skip }, async (t) => {
  const { run } = await place(t)
  const state = folder(t)
  for (const [text, code, message] of [
    ['groktunnel --detach -p 1 "$APP"', 3, /^groktunnel: expected a server at localhost:1, got ECONNREFUSED/],
    ['groktunnel --detach bad_="$APP"', 2, /^groktunnel: .*"?bad_/],
    ['groktunnel --detach "$APP" -- true', 2, /^groktunnel: expected --detach or a command after --/],
    ['groktunnel --detach', 2, /^groktunnel: .*needs a local service/],
  ] as const) {
    const script = run(text, { state })
    assert.equal(await script.ended(), code, text)
    assert.match(script.stderr, message)
    assert.match(script.stderr, /^[^\n]+\n$/)
    assert.equal(script.stdout, '')
    await script.allEnded()
  }
  assert.deepEqual(recordsIn(state), [])
})

test('with --json the error is an event on the stdout of the caller', { skip }, async (t) => {
  const script = runScript(t, 'groktunnel --json --detach 3000', { port: 1 })
  assert.equal(await script.ended(), 3)
  const [line = ''] = await linesOf(script)
  assert.equal((JSON.parse(line) as { event: string; code: string }).code, 'unreachable')
})

test('where no record can be kept nothing is started, and the line says where', { skip }, async (t) => {
  const { run } = await place(t)
  const [file, state] = [join(folder(t), 'file'), folder(t)]
  writeFileSync(file, '')
  await run('mkdir "$XDG_STATE_HOME/groktunnel"; : >"$XDG_STATE_HOME/groktunnel/detached"', { state }).ended()
  for (const at of [file, state]) {
    const script = run(detach, { state: at })
    assert.equal(await script.ended(), 2)
    assert.match(
      script.stderr,
      /^groktunnel: expected to keep a record for --stop in \/.*, got (ENOTDIR|EEXIST); [^\n]+\n$/,
    )
    await script.allEnded()
  }
})

for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGKILL', 137],
] as const) {
  test(`${signal} to the caller before the URL is live leaves nothing behind`, { skip }, async (t) => {
    const state = folder(t)
    const script = runScript(t, 'groktunnel --wait --detach 3000; exit $?', { port: await freePort(), state })
    await script.said(/; waiting for it\n/)
    const [caller] = script
      .running()
      .filter(({ line }) => line.includes('--detach') && !line.startsWith('bash'))
    assert.ok(caller)
    process.kill(caller.pid, signal)
    assert.equal(await script.ended(), code)
    assert.equal(script.stdout, '')
    await script.allEnded()
    assert.deepEqual(recordsIn(state), [])
  })
}

test('one that is stopped by SIGSTOP ends with --stop too', { skip }, async (t) => {
  const { run } = await place(t)
  const state = folder(t)
  const script = run(detach, { state })
  assert.equal(await script.ended(), 0)
  process.kill(recordIn(state).facts.pid, 'SIGSTOP')
  assert.equal(await run('groktunnel --stop', { state }).ended(), 0)
  await script.allEnded()
})

test('the record of one that was killed, or is half written, is removed', { skip }, async (t) => {
  const { run } = await place(t)
  const state = folder(t)
  const script = run(detach, { state })
  assert.equal(await script.ended(), 0)
  const { file, facts } = recordIn(state)
  process.kill(facts.pid, 'SIGKILL')
  await script.allEnded()
  for (const [n, text] of ['', '{}', 'null', '{"pid":-1,"places":[]}'].entries())
    writeFileSync(file.replace('.json', `${n}.json`), text)
  const stop = run('groktunnel --stop', { state })
  assert.deepEqual([await stop.ended(), stop.stderr], [0, 'nothing is detached\n'])
  assert.deepEqual(recordsIn(state), [])
})

test('another process that has the pid by now is left alone', { skip }, async (t) => {
  const { run } = await place(t)
  const state = folder(t)
  const script = run(detach, { state })
  assert.equal(await script.ended(), 0)
  const { file, facts } = recordIn(state)
  process.kill(facts.pid, 'SIGKILL')
  await script.allEnded()
  const other = run('sleep 987 & echo $!; wait', { state })
  const [pid] = await linesOf(other)
  writeFileSync(file, JSON.stringify({ ...facts, pid: Number(pid) }))
  const stop = run('groktunnel --stop', { state })
  assert.deepEqual([await stop.ended(), stop.stderr], [0, 'nothing is detached\n'])
  assert.equal(other.running().length, 2)
})

test(
  'it outlives a restart of the server with the same URL, and says so in the file beside its record',
  { skip },
  async (t) => {
    const { run } = await place(t)
    const state = folder(t)
    const port = await freePort()
    const first = await startServerAt(t, port)
    const script = run(detach, { state, port })
    assert.equal(await script.ended(), 0)
    const [url] = await linesOf(script)
    await assertLive(url)
    await first.kill('SIGKILL').ended()
    await startServerAt(t, port)
    const log = recordIn(state).file.replace('.json', '.log')
    await until(() => readFileSync(log, 'utf8').includes(' is back after '), 'to be back')
    await assertLive(url)
    assert.match(readFileSync(log, 'utf8'), new RegExp(`\n${url} is lost .*\n${url} is back after .*\n$`))
    assert.equal(await run('groktunnel --stop', { state }).ended(), 0)
    await script.allEnded()
  },
)
