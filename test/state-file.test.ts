import assert from 'node:assert/strict'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { connect, serve } from '../groktunnel.ts'
import type { TunnelError } from '../lib/errors.ts'
import type { Held } from '../lib/names/held.ts'
import { Names } from '../lib/names/names.ts'
import { stateFile } from '../lib/names/state-file.ts'
import { startServer, until, within } from './helpers.ts'
import { folder } from './programs.ts'

const held: Held = {
  myapp: { proof: 'a-hash', client: 'a-client', replaced: ['one', 'two'] },
  other: { proof: 'another-hash', replaced: [] },
}
const noFault = (error: TunnelError) => assert.fail(error)

test('what was saved is loaded in another life, by the user alone', async (t) => {
  const path = join(folder(t), 'state', 'names.json')
  const file = stateFile(path, noFault)
  assert.deepEqual(await file.load(), {})
  file.save(() => held)
  await file.saved()
  assert.deepEqual(await stateFile(path, noFault).load(), held)
  assert.equal(statSync(path).mode & 0o777, 0o600)
  assert.equal(statSync(join(path, '..')).mode & 0o777, 0o700)
  assert.deepEqual(readdirSync(join(path, '..')), ['names.json'])
})

test('what was said last counts, and there is never half a file', async (t) => {
  const path = join(folder(t), 'names.json')
  const file = stateFile(path, noFault)
  const large = (n: number): Held =>
    Object.fromEntries(
      Array.from({ length: 5_000 }, (_, at) => [`name${at}`, { proof: `proof${n}`, replaced: [] }]),
    )
  const seen = new Set<string | undefined>()
  let last = 0
  await until(() => {
    last += 1
    const now = last
    file.save(() => large(now))
    if (!existsSync(path)) return false
    const names = Object.values(JSON.parse(readFileSync(path, 'utf8')) as Held)
    const proofs = new Set(names.map(({ proof }) => proof))
    assert.deepEqual([names.length, proofs.size], [5_000, 1])
    seen.add(names[0]?.proof)
    return seen.size > 3
  }, 'some writing')
  await file.saved()
  assert.deepEqual(await file.load(), large(last))
})

test('without a path nothing is kept', async () => {
  const file = stateFile(undefined, noFault)
  file.save(() => held)
  await file.saved()
  assert.deepEqual(await file.load(), {})
})

const contents: [text: string, loaded: Held][] = [
  ['', {}],
  ['{"myapp":{"proof":"a-ha', {}],
  ['null', {}],
  ['[]', {}],
  ['"text"', {}],
  ['7', {}],
  ['{"one":null,"two":7,"three":{},"four":{"proof":7,"replaced":[]},"five":{"proof":"p"}}', {}],
  ['{"one":{"proof":"p","client":7,"replaced":[]},"two":{"proof":"p","replaced":[7]}}', {}],
  ['{"one":null,"myapp":{"proof":"p","replaced":["c"]}}', { myapp: { proof: 'p', replaced: ['c'] } }],
]

const isBroken = (text: string) => ['', '{"myapp":{"proof":"a-ha', 'null'].includes(text)

for (const [text, loaded] of contents) {
  test(`a file of ${JSON.stringify(text)} is no hindrance`, async (t) => {
    const path = join(folder(t), 'names.json')
    writeFileSync(path, text)
    const faults: string[] = []
    const file = stateFile(path, ({ message }) => faults.push(message))
    const names = await file.load()
    assert.deepEqual(names, loaded)
    file.save(() => held)
    await file.saved()
    assert.deepEqual(
      faults,
      isBroken(text)
        ? [`expected names in ${path}, got something else; none of them is held for its owner`]
        : [],
    )
    new Names({}).hold(names)
  })
}

test('a file with odd names in it does no harm', async (t) => {
  const path = join(folder(t), 'names.json')
  const name = '{"proof":"p","replaced":[]}'
  const text = `{"__proto__":${name},"constructor":${name},"myapp":${name}}`
  writeFileSync(path, text)
  const loaded = await stateFile(path, noFault).load()
  assert.equal(Object.getPrototypeOf(loaded), Object.prototype)
  new Names({}).hold(loaded)
  assert.equal(loaded['myapp']?.proof, 'p')
})

test('that it cannot be written is told once', async (t) => {
  const above = folder(t)
  const path = join(above, 'state', 'names.json')
  writeFileSync(join(above, 'state'), 'a file in the way')
  const faults: TunnelError[] = []
  const file = stateFile(path, (error) => faults.push(error))
  for (let n = 0; n < 3; n++) {
    file.save(() => held)
    await file.saved()
  }
  assert.equal(faults.length, 1)
  assert.match(
    faults[0]?.message ?? '',
    /^expected to write [^\n]*names\.json, got E[A-Z]+; names are not kept/,
  )
  assert.deepEqual(await file.load(), {})
})

test(
  'a file that cannot be read holds nothing, and is told',
  { skip: process.getuid?.() === 0 },
  async (t) => {
    const path = join(folder(t), 'names.json')
    writeFileSync(path, JSON.stringify(held))
    chmodSync(path, 0)
    const faults: TunnelError[] = []
    assert.deepEqual(await stateFile(path, (error) => faults.push(error)).load(), {})
    assert.match(faults[0]?.message ?? '', /got EACCES/)
  },
)

test('a server that could not start, or has closed, leaves the names of the one that runs alone', async (t) => {
  const path = join(folder(t), 'names.json')
  const namesNow = () => Object.keys(JSON.parse(readFileSync(path, 'utf8')) as Held)
  const first = await serve({ port: 0, stateFile: path, graceMs: 0, holdMs: 300 })
  const client = await connect({ port: first.port, local: 1, subdomain: 'mine', key: 'key-of-ours' })
  t.after(() => client.close())
  await until(() => existsSync(path) && namesNow().length === 1, 'the name to be written')
  await assert.rejects(serve({ port: first.port, stateFile: path, holdMs: 1 }), { code: 'cannot-listen' })
  await first.close()
  const second = await startServer(t, { port: first.port, stateFile: path, holdMs: 60_000 })
  await within(once(client, 'back'), 'the client to be back')
  // The first server's hold would have ended.
  const since = performance.now()
  await until(() => performance.now() - since > 500, 'more than the hold of the first')
  assert.deepEqual([namesNow(), second.port], [['mine'], first.port])
})

test('a folder where the file should be is no hindrance', async (t) => {
  const path = join(folder(t), 'names.json')
  mkdirSync(path)
  const faults: TunnelError[] = []
  const file = stateFile(path, (error) => faults.push(error))
  assert.deepEqual(await file.load(), {})
  file.save(() => held)
  await within(file.saved(), 'the end of the attempt')
  assert.deepEqual(
    faults.map(({ message }) => /expected (?:names in|to write)/.exec(message)?.[0]),
    ['expected names in', 'expected to write'],
  )
})
