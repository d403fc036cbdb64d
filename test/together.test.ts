/** Several tunnels as one: all are opened or none, and each ends for itself. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { connect, type Tunnel } from '../groktunnel.ts'
import { TunnelError } from '../lib/errors.ts'
import { keepUp, openAll } from '../lib/together/together.ts'
import { startServer, tcpApp, until, within } from './helpers.ts'
import { folder } from './programs.ts'

const key = 'the key of one owner'.replaceAll(' ', '-')
const graceMs = 0

async function place(t: TestContext) {
  const { port } = await startServer(t)
  const stop = new AbortController()
  t.after(() => stop.abort())
  const open = (subdomain: string, signal: AbortSignal) =>
    connect({ port, local: 1, subdomain, key, graceMs, signal })
  return { port, stop, open, openAll: (names: string[]) => openAll(stop.signal, names, open) }
}

/** A newer client of the same owner takes the name. */
async function take(t: TestContext, port: number, subdomain: string): Promise<void> {
  const newer = await connect({ port, local: 1, subdomain, key, graceMs })
  t.after(() => newer.close())
}

function names(tunnels: readonly Tunnel[]): string[] {
  return tunnels.map(({ subdomain }) => subdomain)
}

test('they come in the order of the targets, whichever opened first', async (t) => {
  const { stop, open } = await place(t)
  let second: Promise<Tunnel> | undefined
  const tunnels = await openAll(stop.signal, ['one', 'two'], async (name, signal) => {
    if (name === 'two') return (second = open(name, signal))
    await until(() => second !== undefined, 'the second')
    await second
    return open(name, signal)
  })
  assert.deepEqual(names(tunnels), ['one', 'two'])
})

test('when one fails those that were open say goodbye, and its error is that of all', async (t) => {
  const { port, stop, open } = await place(t)
  let one: Tunnel | undefined
  const failing = openAll(stop.signal, ['one', 'bad_name', 'two'], async (name, signal) => {
    if (name === 'one') return (one = await open(name, signal))
    if (name === 'bad_name') await until(() => one !== undefined, 'the first')
    return open(name, signal)
  })
  await assert.rejects(failing, { code: 'bad-name' })
  await within(one?.closed ?? Promise.reject(new Error('the first never opened')), 'its end')
  for (const subdomain of ['one', 'two']) {
    const stranger = await connect({ port, local: 1, subdomain, graceMs })
    await stranger.close()
  }
})

test('a signal while they open ends all of them, also one whose server says nothing', async (t) => {
  const { stop, open } = await place(t)
  const silent = await tcpApp(t, (socket) => socket.resume().on('end', () => socket.end()))
  let one: Tunnel | undefined
  const opening = openAll(stop.signal, ['one', 'silent'], async (name, signal) => {
    if (name === 'one') return (one = await open(name, signal))
    return connect({ port: silent.port, local: 1, signal })
  })
  await until(() => one !== undefined && silent.sockets.size === 1, 'both on their way')
  stop.abort('SIGINT')
  await assert.rejects(within(opening, 'an end'))
  await one?.closed
  await until(() => silent.sockets.size === 0, 'the other to leave')
})

test('a tunnel that is replaced ends alone and is told of; the last one ends all, with its error', async (t) => {
  const { port, openAll } = await place(t)
  const tunnels = await openAll(['one', 'two'])
  const told: [string, TunnelError][] = []
  const onEnd = (tunnel: Tunnel, error: TunnelError) => void told.push([tunnel.subdomain, error])
  const kept = keepUp(tunnels, { onEnd, targets: [{}, {}], graceMs })
  kept.catch(() => undefined)
  await take(t, port, 'one')
  await until(() => told.length === 1, 'word of the first')
  assert.equal(told[0]?.[0], 'one')
  assert.equal(told[0][1].code, 'replaced')
  await take(t, port, 'two')
  await assert.rejects(within(kept, 'the end'), (error) => {
    assert.ok(error instanceof TunnelError)
    assert.deepEqual([error.code, error.exitCode], ['replaced', 5])
    assert.notEqual(error, told[0]?.[1])
    return true
  })
  assert.equal(told.length, 1)
})

test('closed by a signal they end with 0, also where one was replaced before', async (t) => {
  const { port, stop, openAll } = await place(t)
  const tunnels = await openAll(['one', 'two'])
  let told = 0
  const kept = keepUp(tunnels, { onEnd: () => (told += 1), targets: [{}, {}], graceMs })
  await take(t, port, 'one')
  await until(() => told === 1, 'word of the first')
  stop.abort('SIGTERM')
  assert.equal(await within(kept, 'the end'), 0)
})

test('a command that ends by itself gives the exit code, also where a tunnel was replaced before', async (t) => {
  const { port, openAll } = await place(t)
  const tunnels = await openAll(['one', 'two'])
  let told = 0
  const done = join(folder(t), 'done')
  const command = ['sh', '-c', 'until [ -e "$1" ]; do sleep 0.05; done; exit 7', 'sh', done]
  const kept = keepUp(tunnels, { onEnd: () => (told += 1), targets: [{}, {}], command, graceMs: 5_000 })
  await take(t, port, 'one')
  await until(() => told === 1, 'word of the first')
  writeFileSync(done, '')
  assert.equal(await within(kept, 'the end of the command'), 7)
  for (const tunnel of tunnels) await tunnel.closed.catch(() => undefined)
})

test('when no tunnel is left the command is told to end, and is killed where it does not', async (t) => {
  const { port, openAll } = await place(t)
  const tunnels = await openAll(['one'])
  const command = ['sh', '-c', 'trap "" TERM; while :; do sleep 0.05; done']
  const kept = keepUp(tunnels, { onEnd: () => undefined, targets: [{}], command, graceMs: 300 })
  kept.catch(() => undefined)
  await take(t, port, 'one')
  await assert.rejects(within(kept, 'the end of the command'), { code: 'replaced' })
})
