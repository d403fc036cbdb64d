import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { Socket } from 'node:net'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { connect, type Server, type ServeOptions, type Tunnel } from '../groktunnel.ts'
import { type TunnelError } from '../lib/errors.ts'
import { type Channel, Session } from '../lib/mux.ts'
import { Names } from '../lib/names/names.ts'
import { tcpPair } from './attacker.ts'
import { ask, httpApp, startServer, until, visitor, type Visitor, within } from './helpers.ts'
import { folder, freePort, startClientOf, startServerAt, refusalOf } from './programs.ts'
import { registrant } from './registrant.ts'

const OURS = { key: 'key-of-ours', name: 'myapp' }
const THEIRS = { key: 'key-of-others', name: 'myapp' }

interface Scene {
  server: Server
  port: number
  host: string
  /** A client of ours, or of whoever has the key. */
  open: (key: string) => Promise<Tunnel>
  /** A visitor who has asked for /. */
  visit: () => Visitor
}

/** A server, an app, and the name myapp. */
async function scene(t: TestContext, options: ServeOptions = {}): Promise<Scene> {
  const app = await httpApp(t, (_, response) => response.end('hello'))
  const server = await startServer(t, options)
  const { port } = server
  const host = `myapp.localhost:${port}`
  const open = async (key: string) => {
    const tunnel = await connect({ port, local: app.port, subdomain: 'myapp', key })
    t.after(() => tunnel.close().catch(() => undefined))
    return tunnel
  }
  const visit = () => visitor(t, { port }).send(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`)
  return { server, port, host, open, visit }
}

/** A name whose client has gone without a goodbye. */
async function dropped(t: TestContext, options: ServeOptions = {}, asked = OURS): Promise<Scene> {
  const at = await scene(t, options)
  const client = await registrant(t, at.port, asked)
  assert.equal(await client.answer(), '101')
  const end = new Promise((resolve) => at.server.once('end', resolve))
  client.socket.destroy()
  await within(end, 'the end of the session')
  return at
}

/** Two visitors of a server where only one may wait: the one who does. Then it is sure that somebody waits. */
async function waitingVisitor(at: Scene): Promise<Visitor> {
  const two = [at.visit(), at.visit()]
  await until(() => two.some(({ ending }) => ending !== undefined), 'one of two visitors not to wait')
  const [refused, waiting] = two[0]?.ending === undefined ? two.toReversed() : two
  assert.match(refused?.text ?? '', /^HTTP\/1\.1 503 /)
  assert.ok(waiting && waiting.ending === undefined && waiting.text === '')
  return waiting
}

function rejection(promise: Promise<unknown>): Promise<TunnelError> {
  const error = promise.then(
    () => assert.fail('expected a rejection'),
    (error: TunnelError) => error,
  )
  return within(error, 'a rejection')
}

test('the owner’s newest client has the name at once; the one before ends and does not fight back', async (t) => {
  const at = await scene(t)
  const starts: string[] = []
  at.server.on('start', (host) => starts.push(host))
  const first = await at.open(OURS.key)
  const second = await at.open(OURS.key)
  const told: unknown[] = []
  second.on('lost', (error) => told.push(error))
  assert.equal((await rejection(first.closed)).code, 'replaced')
  assert.equal((await ask(at)).body, 'hello')
  assert.deepEqual([starts.length, told], [2, []])
})

test('a client that was replaced does not get the name back while the newer one is away', async (t) => {
  const at = await scene(t)
  const older = await registrant(t, at.port, { ...OURS, client: 'older' })
  const newer = await registrant(t, at.port, { ...OURS, client: 'newer' })
  await older.ended()
  newer.socket.destroy()
  await newer.ended()
  assert.equal(await (await registrant(t, at.port, { ...OURS, client: 'older' })).answer(), '409 replaced')
  assert.equal(await (await registrant(t, at.port, { ...OURS, client: 'newer' })).answer(), '101')
})

test('whoever has another key, or none, is refused the name of a living client', async (t) => {
  const at = await scene(t)
  await at.open(OURS.key)
  assert.equal(await (await registrant(t, at.port, THEIRS)).answer(), '409 name-taken')
  assert.equal(await (await registrant(t, at.port, { name: 'myapp' })).answer(), '409 name-taken')
  assert.equal((await ask(at)).body, 'hello')
})

test('a name without a key is nobody’s proof: also no other client without a key gets it', async (t) => {
  const at = await scene(t)
  const client = await registrant(t, at.port, { name: 'myapp' })
  assert.equal(await (await registrant(t, at.port, { name: 'myapp' })).answer(), '409 name-taken')
  assert.equal(client.ending, undefined)
})

test('a visitor in the gap waits, and is served when the owner is back', async (t) => {
  const at = await dropped(t, { maxWaiting: 1, gapMs: 60_000 })
  const waiting = await waitingVisitor(at)
  await at.open(OURS.key)
  await waiting.got('hello')
})

test('a visitor in the gap who waits in vain is told 503 and when to try again', async (t) => {
  const at = await dropped(t, { gapMs: 200 })
  const askedAt = performance.now()
  const { status, headers } = await ask(at)
  const waitedMs = performance.now() - askedAt
  assert.ok(waitedMs > 190 && waitedMs < 2_000, `after ${waitedMs} ms`)
  assert.equal(status, 503)
  assert.equal(headers['x-groktunnel-error'], 'tunnel-away')
  assert.match(headers['retry-after'] ?? '', /^[1-9]\d*$/)
})

test('only so many visitors wait at once: more are told 503 at once', async (t) => {
  const at = await dropped(t, { maxWaiting: 3, gapMs: 60_000 })
  const five = Array.from({ length: 5 }, () => at.visit())
  await until(() => five.filter(({ ending }) => ending !== undefined).length === 2, 'two to be refused')
  for (const { text } of five.filter(({ ending }) => ending !== undefined))
    assert.match(text, /^HTTP\/1\.1 503 [^]*\r\nX-Groktunnel-Error: tunnel-away\r\nRetry-After: \d+\r\n/)
  await at.open(OURS.key)
  const waited = five.filter(({ ending }) => ending === undefined)
  assert.equal(waited.length, 3)
  for (const one of waited) await one.got('hello')
})

test('a visitor who leaves while it waits makes room for another', async (t) => {
  const at = await dropped(t, { maxWaiting: 1, gapMs: 60_000 })
  const first = await waitingVisitor(at)
  first.socket.resetAndDestroy()
  await waitingVisitor(at)
})

test('visitors of one away tunnel leave room for those who wait for another', async (t) => {
  const at = await dropped(t, { maxWaitingPerTunnel: 1, gapMs: 60_000 })
  const other = await registrant(t, at.port, { ...OURS, name: 'other' })
  const end = new Promise((resolve) => at.server.once('end', resolve))
  other.socket.destroy()
  await within(end, 'the end of the session')
  const waiting = await waitingVisitor(at)
  await waitingVisitor({
    ...at,
    visit: () => visitor(t, at).send('GET / HTTP/1.1\r\nHost: other.localhost\r\n\r\n'),
  })
  await at.open(OURS.key)
  await waiting.got('hello')
})

test('while it is held, a name is refused to everybody else, and then its owner has it back', async (t) => {
  const at = await dropped(t)
  assert.equal(await (await registrant(t, at.port, THEIRS)).answer(), '409 name-taken')
  assert.equal(await (await registrant(t, at.port, { name: 'myapp' })).answer(), '409 name-taken')
  const tunnel = await at.open(OURS.key)
  assert.equal(tunnel.url, `http://${at.host}`)
  assert.equal((await ask(at)).body, 'hello')
})

test('after its time a held name is nobody’s: 404 for visitors, and free for others', async (t) => {
  const at = await dropped(t, { holdMs: 300 })
  await at.visit().got('503 Service Unavailable')
  assert.equal((await ask(at)).status, 404)
  await at.open(THEIRS.key)
  assert.equal((await ask(at)).body, 'hello')
})

test('a goodbye frees the name at once', async (t) => {
  const at = await scene(t)
  const tunnel = await at.open(OURS.key)
  await tunnel.close()
  assert.equal((await ask(at)).status, 404)
  await at.open(THEIRS.key)
})

test('a name without a key is free at once when its client drops', async (t) => {
  const at = await dropped(t, {}, { name: 'myapp' } as typeof OURS)
  assert.equal((await ask(at)).status, 404)
  await at.open(THEIRS.key)
})

test('when more names are held than may be, the one that was dropped first is given up', async (t) => {
  const { server, port } = await scene(t, { maxHeld: 2 })
  const drop = async (client: Awaited<ReturnType<typeof registrant>>) => {
    const end = new Promise((resolve) => server.once('end', resolve))
    client.socket.destroy()
    await within(end, 'the end of the session')
  }
  const [one, two, three] = [
    await registrant(t, port, { key: OURS.key, name: 'one' }),
    await registrant(t, port, { key: OURS.key, name: 'two' }),
    await registrant(t, port, { key: OURS.key, name: 'three' }),
  ]
  for (const client of [three, two, one]) await drop(client)
  const answerTo = async (name: string) => (await registrant(t, port, { key: THEIRS.key, name })).answer()
  assert.equal(await answerTo('two'), '409 name-taken')
  assert.equal(await answerTo('one'), '409 name-taken')
  assert.equal(await answerTo('three'), '101')
})

test('the holder of a token has its names whatever the key, and they are held for it', async (t) => {
  const tokensFile = join(folder(t), 'tokens.toml')
  const [alice, bob] = ['alice-secret', 'bob-secret']
  writeFileSync(tokensFile, `[alice]\ntoken = "${alice}"\nnames = ["myapp"]\n[bob]\ntoken = "${bob}"\n`)
  const at = await scene(t, { tokensFile })
  const first = await registrant(t, at.port, { name: 'myapp', token: alice })
  assert.equal(await first.answer(), '101')
  const bobs = await registrant(t, at.port, { name: 'myapp', token: bob })
  assert.equal(await bobs.answer(), '403 forbidden')
  const second = await registrant(t, at.port, { name: 'myapp', token: alice, key: 'another-key' })
  assert.equal(await second.answer(), '101')
  await first.ended()
  second.socket.destroy()
  await second.ended()
  assert.equal(await (await registrant(t, at.port, { name: 'myapp', token: alice })).answer(), '101')
})

test('the program: a newer client of the same user takes the name, the older ends with 5', async (t) => {
  const app = await httpApp(t, (_, response) => response.end('hello'))
  const [port, state] = [await freePort(), folder(t)]
  const server = await startServerAt(t, port)
  const argv = ['-s', 'myapp', app.port]
  const older = await startClientOf(t, port, { argv, state })
  const newer = await startClientOf(t, port, { argv, state })
  assert.equal(await older.ended(), 5)
  assert.match(older.stderr, /^groktunnel: a newer client of yours [^\n]* myapp [^\n]*\n$/m)
  assert.equal((await ask({ port, host: newer.host })).body, 'hello')
  assert.equal(server.stderr.match(/start session/g)?.length, 2)
  assert.doesNotMatch(newer.stderr, /lost/)

  assert.match(await refusalOf(startClientOf(t, port, { argv })), /got 5: groktunnel: .*myapp is taken/)
})

test('the program: a killed client’s name is kept, and a visitor in the gap is served by the next', async (t) => {
  const app = await httpApp(t, (_, response) => response.end('hello'))
  const [port, state] = [await freePort(), folder(t)]
  const server = await startServerAt(t, port)
  const argv = ['-s', 'myapp', app.port]
  const killed = await startClientOf(t, port, { argv, state })
  killed.kill('SIGKILL')
  await server.said(/end session/)
  const waiting = visitor(t, { port }).send(`GET / HTTP/1.1\r\nHost: ${killed.host}\r\n\r\n`)
  assert.match(await refusalOf(startClientOf(t, port, { argv })), /got 5: /)
  assert.equal(waiting.text, '')
  const next = await startClientOf(t, port, { argv, state })
  assert.equal(next.url, killed.url)
  await waiting.got('hello')
})

test('a goodbye while a session retires gives the name back', async (t) => {
  const names = new Names({})
  const [near, far] = await tcpPair(t)
  const client = new Session(near, { side: 'client' })
  client.on('channel', (theirs) => theirs.on('error', () => undefined))
  const session = new Session(far, { side: 'server', lastId: 2 })
  names.take('app', { key: 'key-of-ours' }, session)
  const channel = await names.open('app', 'app.localhost', new Socket())
  channel.on('error', () => undefined).write('!')
  const isFree = () => {
    try {
      names.check('app', { key: 'key-of-others' })
      return true
    } catch {
      return false
    }
  }
  assert.equal(isFree(), false)
  client.leave(1_000)
  await until(isFree, 'the name to be free')
})

test('where a session has used up its ids, visitors wait for the next one of the same owner', async (t) => {
  const names = new Names({})
  const next = async (lastId: number) => {
    const [near, far] = await tcpPair(t)
    new Session(near, { side: 'client' })
    return new Session(far, { side: 'server', lastId })
  }
  const visit = async (): Promise<Channel> => {
    const channel = await names.open('app', 'app.localhost', new Socket())
    return channel.on('error', () => undefined)
  }
  const owner = { key: 'key-of-ours', client: 'one' }
  names.take('app', owner, await next(4))
  await visit()
  await visit()
  const waiting = visit()
  assert.equal(names.find('app'), undefined)
  assert.throws(() => names.check('app', { key: 'key-of-others' }), { code: 'name-taken' })
  names.check('app', owner)
  const fresh = await next(100)
  names.take('app', owner, fresh)
  assert.equal((await waiting).id, 2)
  assert.equal(names.find('app'), fresh)
})
