import assert from 'node:assert/strict'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { connect, type Server, type ServeOptions, type TunnelError } from '../groktunnel.ts'
import { Registrations } from '../lib/names/registrations.ts'
import { ask, httpApp, openTunnel, startServer, until, within } from './helpers.ts'
import { folder } from './programs.ts'
import { type Asked, type Registrant, registrant } from './registrant.ts'

interface Scene {
  server: Server
  /** What a registration is answered; its client then says nothing more. */
  answerTo: (asked: Asked) => Promise<string>
  register: (asked: Asked) => Promise<Registrant>
  /** Ends a client without a goodbye. */
  drop: (client: Registrant) => Promise<void>
}

async function scene(t: TestContext, options: ServeOptions): Promise<Scene> {
  const server = await startServer(t, options)
  const register = (asked: Asked) => registrant(t, server.port, asked)
  const answerTo = async (asked: Asked) => (await register(asked)).answer()
  const drop = async (client: Registrant) => {
    const end = once(server, 'end')
    client.socket.destroy()
    await within(end, 'the end of a session')
  }
  return { server, answerTo, register, drop }
}

test('a server has only so many tunnels; one that leaves makes room', async (t) => {
  const { answerTo, register, drop } = await scene(t, { maxTunnels: 2 })
  const first = await register({ name: 'one' })
  assert.equal(await answerTo({ name: 'two' }), '101')
  assert.equal(await answerTo({ name: 'three' }), '503 server-full')
  await drop(first)
  assert.equal(await answerTo({ name: 'three' }), '101')
  assert.equal(await answerTo({ name: 'four' }), '503 server-full')
})

test('who is refused for now is told when to try again', async (t) => {
  const { register } = await scene(t, { maxTunnels: 1, registrationsPerMinute: 2 })
  await register({})
  for (const answer of ['503 server-full', '429 too-many-registrations']) {
    const refused = await register({})
    assert.equal(await refused.answer(), answer)
    assert.match(refused.text, /\r\nRetry-After: [1-9]\d*\r\n/)
  }
})

test('a full server lets an owner take over its own name, again and again', async (t) => {
  const { answerTo } = await scene(t, { maxTunnels: 1 })
  for (const client of ['first', 'second', 'third'])
    assert.equal(await answerTo({ name: 'one', key: 'key-of-ours', client }), '101')
  assert.equal(await answerTo({ name: 'two' }), '503 server-full')
})

test('an address has only so many tunnels, others have theirs', async (t) => {
  const { answerTo, register, drop } = await scene(t, { maxTunnelsPerAddress: 2 })
  const first = await register({ name: 'one' })
  assert.equal(await answerTo({ name: 'two' }), '101')
  assert.equal(await answerTo({ name: 'three' }), '503 server-full')
  assert.equal(await answerTo({ name: 'three', from: '127.0.0.2' }), '101')
  await drop(first)
  assert.equal(await answerTo({ name: 'four' }), '101')
})

test('a holder of a token has only so many tunnels, also from many addresses', async (t) => {
  const tokensFile = join(folder(t), 'tokens.toml')
  const [alice, bob] = ['alice-secret', 'bob-secret']
  writeFileSync(tokensFile, `[alice]\ntoken = "${alice}"\nmax-tunnels = 1\n[bob]\ntoken = "${bob}"\n`)
  const { answerTo, register, drop } = await scene(t, { tokensFile })
  const first = await register({ name: 'one', token: alice })
  assert.equal(await answerTo({ name: 'two', token: alice, from: '127.0.0.2' }), '503 server-full')
  assert.equal(await answerTo({ name: 'two', token: bob }), '101')
  assert.equal(await answerTo({ name: 'three', token: bob }), '101')
  await drop(first)
  assert.equal(await answerTo({ name: 'four', token: alice }), '101')
})

test('taking a name over makes room only where the one before was counted', async (t) => {
  const tokensFile = join(folder(t), 'tokens.toml')
  const [alice, bob] = ['alice-secret', 'bob-secret']
  const rows = [`[alice]\ntoken = "${alice}"`, `[bob]\ntoken = "${bob}"`]
  writeFileSync(tokensFile, rows.map((row) => `${row}\nmax-tunnels = 1\n`).join(''))
  const { answerTo } = await scene(t, { tokensFile, maxTunnelsPerAddress: 2 })
  const key = 'key-of-both'
  assert.equal(await answerTo({ name: 'one', key, client: 'a', token: alice }), '101')
  assert.equal(await answerTo({ name: 'two', token: bob, from: '127.0.0.2' }), '101')
  assert.equal(await answerTo({ name: 'one', key, client: 'b', token: bob }), '503 server-full')
  assert.equal(await answerTo({ name: 'one', key, client: 'c', token: alice }), '101')
})

test('who is replaced is not counted any more, however slowly its connection closes', async (t) => {
  const tokensFile = join(folder(t), 'tokens.toml')
  writeFileSync(tokensFile, '[alice]\ntoken = "alice-secret"\nmax-tunnels = 1\n')
  const { register } = await scene(t, { tokensFile, maxTunnelsPerAddress: 1 })
  for (const client of ['a', 'b', 'c', 'd']) {
    const one = await register({ name: 'one', key: 'key-of-alice', client, token: 'alice-secret' })
    assert.equal(await one.answer(), '101')
    one.socket.pause() // it hears of no end, and closes nothing
  }
})

test('nor does it make room at another address', async (t) => {
  const { answerTo } = await scene(t, { maxTunnelsPerAddress: 1 })
  const key = 'key-of-ours'
  assert.equal(await answerTo({ name: 'one', key, client: 'a' }), '101')
  assert.equal(await answerTo({ name: 'two', from: '127.0.0.2' }), '101')
  assert.equal(await answerTo({ name: 'one', key, client: 'b', from: '127.0.0.2' }), '503 server-full')
  assert.equal(await answerTo({ name: 'one', key, client: 'c' }), '101')
})

test('a holder of a token has only so many connections for each tunnel', async (t) => {
  const tokensFile = join(folder(t), 'tokens.toml')
  writeFileSync(tokensFile, '[alice]\ntoken = "alice-secret"\nmax-connections = 1\n')
  const app = await httpApp(t, (request, response) => {
    if (request.url === '/wait') response.flushHeaders()
    else response.end('hello')
  })
  const server = await startServer(t, { tokensFile })
  const tunnel = await connect({ port: server.port, local: app.port, token: 'alice-secret' })
  t.after(() => tunnel.close())
  const way = { port: server.port, host: new URL(tunnel.url).host }
  const agent = new AbortController()
  t.after(() => agent.abort())
  void ask(way, { path: '/wait', signal: agent.signal }).catch(() => undefined)
  await within(once(app, 'request'), 'the first')
  const { status, headers } = await ask(way)
  assert.deepEqual([status, headers['x-groktunnel-error']], [503, 'server-full'])
  assert.match(headers['retry-after'] ?? '', /^\d+$/)
})

test('an address registers only so often; a refused one counts as well, others are not hurt', async (t) => {
  const { answerTo } = await scene(t, { registrationsPerMinute: 3 })
  assert.equal(await answerTo({ name: 'one' }), '101')
  assert.equal(await answerTo({ name: 'one' }), '409 name-taken')
  assert.equal(await answerTo({ name: 'www' }), '400 bad-name')
  assert.equal(await answerTo({ name: 'two' }), '429 too-many-registrations')
  assert.equal(await answerTo({ name: 'two', from: '127.0.0.2' }), '101')
})

test('who goes on asking too often still gets what is due, no more and no less', async () => {
  const perSecond = 50
  const registrations = new Registrations({ registrationsPerMinute: perSecond * 60 })
  const isWelcome = () => {
    try {
      registrations.knock('192.0.2.1')
      return true
    } catch (error) {
      assert.equal((error as TunnelError).code, 'too-many-registrations')
      return false
    }
  }
  let burst = 0
  while (isWelcome()) burst += 1
  const from = performance.now()
  let [asked, welcome] = [0, 0]
  await until(() => {
    asked += 1
    if (isWelcome()) welcome += 1
    return performance.now() - from > 1_000
  }, 'a second')
  const due = ((performance.now() - from) / 1000) * perSecond
  assert.ok(asked > 2 * due, `asked only ${asked} times`)
  assert.ok(burst >= perSecond * 60)
  assert.ok(welcome > 0.8 * due && welcome < 1.2 * due + 2, `${welcome} were welcome, ${due} were due`)
})

test('a client that is told to wait by the limit tries again by itself', async (t) => {
  const server = await startServer(t, { maxTunnels: 1 })
  const first = await registrant(t, server.port)
  const { code } = await connect({ port: server.port, local: 1 }).then(
    () => assert.fail('expected a refusal'),
    (error: TunnelError) => error,
  )
  assert.equal(code, 'server-full')
  const stop = new AbortController()
  t.after(() => stop.abort())
  const opening = connect({ port: server.port, local: 1, wait: true, signal: stop.signal })
  first.socket.destroy()
  const tunnel = await within(opening, 'a tunnel once there is room')
  await tunnel.close()
})

test('only so many clients may have registered and not spoken: the oldest makes room, who speaks stays', async (t) => {
  const app = await httpApp(t, (_, response) => response.end('hello'))
  const { server, register } = await scene(t, { maxHalfOpen: 3 })
  const way = await openTunnel(t, server, app.port)
  const ends: string[] = []
  server.on('end', (host, error) => ends.push(`${host.split('.')[0]}: ${error?.message}`))
  const silent = []
  for (const name of ['one', 'two', 'three', 'four', 'five']) silent.push(await register({ name }))
  await until(() => ends.length === 2, 'the oldest two to be ended')
  assert.deepEqual(
    ends,
    ['one', 'two'].map((name) => `${name}: the client registered and did not speak, and others came`),
  )
  for (const client of silent.slice(0, 2)) await client.ended()
  assert.equal(silent[4]?.ending, undefined)
  assert.equal((await ask(way)).body, 'hello')
  const late = await openTunnel(t, server, app.port)
  assert.equal((await ask(late)).body, 'hello')
})

test('who registers and never speaks is ended in time, and its name is free', async (t) => {
  const { server, answerTo, register } = await scene(t, { heartbeatMs: 100 })
  const silent = await register({ name: 'one' })
  const [, error] = (await within(once(server, 'end'), 'the end')) as [string, TunnelError]
  assert.equal(error.code, 'session-lost')
  await silent.ended()
  assert.equal(await answerTo({ name: 'one' }), '101')
})
