import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Server } from '../groktunnel.ts'
import { ask, openTunnel, tcpApp, until, visitor } from './helpers.ts'
import { type AnswerTo, get, ok, statuses, twoTunnels } from './two-tunnels.ts'

const evil = ok('EVIL', 'X-Evil: 1\r\n')
const more = 'HTTP/1.1 100 Continue\r\n\r\n'

/** What a hostile local service answers with, in one write or two, and the status the visitor must get for it. */
interface Deed {
  title: string
  first: string
  then?: string
  method?: string
  fields?: string
  /** 502: nothing of it goes out. 'cut': a reset in the middle. 'late': one whole answer, then a reset. */
  outcome: 502 | 'cut' | 'late'
}

const chunked = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n'
const deeds: Deed[] = [
  { title: 'two answers in one write', first: ok('x') + evil, outcome: 502 },
  { title: 'two answers in two writes', first: ok('x'), then: evil, outcome: 'late' },
  { title: 'a byte too many', first: ok('x') + 'y', outcome: 502 },
  { title: 'a byte too many, later', first: ok('x'), then: 'y', outcome: 'late' },
  { title: 'an empty line too many', first: ok('x'), then: '\r\n', outcome: 'late' },
  { title: 'junk behind chunks', first: `${chunked}\r\n1\r\nx\r\n0\r\n\r\n`, then: evil, outcome: 'late' },
  { title: 'junk behind chunks in one write', first: `${chunked}\r\n0\r\n\r\n${evil}`, outcome: 502 },
  { title: 'a bad chunk', first: `${chunked}\r\n`, then: `-1\r\n${evil}`, outcome: 'cut' },
  {
    title: 'a chunk longer than it says',
    first: `${chunked}\r\n`,
    then: `1\r\nxx\r\n${evil}`,
    outcome: 'cut',
  },
  {
    title: 'Content-Length with chunked',
    first: `${chunked}Content-Length: 3\r\n\r\n0\r\n\r\n${evil}`,
    outcome: 502,
  },
  {
    title: 'two Content-Lengths',
    first: 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 4\r\n\r\nEVIL',
    outcome: 502,
  },
  { title: 'a list of lengths', first: 'HTTP/1.1 200 OK\r\nContent-Length: 4, 4\r\n\r\nEVIL', outcome: 502 },
  { title: 'a negative length', first: `HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n${evil}`, outcome: 502 },
  {
    title: 'another coding',
    first: `HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n${evil}`,
    outcome: 502,
  },
  {
    title: 'HEAD with a body',
    method: 'HEAD',
    first: `HTTP/1.1 200 OK\r\nContent-Length: ${evil.length}\r\n\r\n${evil}`,
    outcome: 502,
  },
  {
    title: 'HEAD with a body, later',
    method: 'HEAD',
    first: `HTTP/1.1 200 OK\r\nContent-Length: ${evil.length}\r\n\r\n`,
    then: evil,
    outcome: 'late',
  },
  { title: '204 with a body', first: 'HTTP/1.1 204 No Content\r\n\r\n', then: evil, outcome: 'late' },
  {
    title: '204 with a length',
    first: `HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nEVIL`,
    outcome: 502,
  },
  {
    title: '304 with a body',
    first: `HTTP/1.1 304 Not Modified\r\nContent-Length: ${evil.length}\r\n\r\n`,
    then: evil,
    outcome: 'late',
  },
  {
    title: '101 unasked',
    first: `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: own\r\n\r\n${evil}`,
    outcome: 502,
  },
  {
    title: '101 unasked after 100',
    first: more,
    then: `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: own\r\n\r\n${evil}`,
    outcome: 'cut',
  },
  {
    title: '100 with a body',
    first: `HTTP/1.1 100 Continue\r\nContent-Length: ${evil.length}\r\n\r\n${evil}`,
    outcome: 502,
  },
  { title: 'endless 1xx in one write', first: more.repeat(10_000), outcome: 502 },
  { title: 'a bare LF', first: 'HTTP/1.1 200 OK\nContent-Length: 0\n\n' + evil, outcome: 502 },
  { title: 'a fold', first: 'HTTP/1.1 200 OK\r\nX: y\r\n Content-Length: 0\r\n\r\n' + evil, outcome: 502 },
  { title: 'no HTTP at all', first: `220 mail.example.com ESMTP\r\n${evil}`, outcome: 502 },
  { title: 'HTTP/0.9', first: '<html>\r\nEVIL', outcome: 502 },
  { title: 'HTTP/2', first: 'HTTP/2 200\r\n\r\nEVIL', outcome: 502 },
  { title: 'an endless head', first: `HTTP/1.1 200 OK\r\nX: ${'y'.repeat(100_000)}`, outcome: 502 },
  {
    title: 'a head of 1000 fields',
    first: `HTTP/1.1 200 OK\r\n${'X: y\r\n'.repeat(1000)}\r\n`,
    outcome: 502,
  },
]

describe('whatever a local service says, it is never the answer to another request:', () => {
  for (const deed of deeds) {
    for (const same of [true, false]) {
      test(`${deed.title}, the next request being for ${same ? 'the same' : 'another'} host`, async (t) => {
        const { method = 'GET', first, then, outcome } = deed
        const { server, one, two } = await twoTunnels(t, {}, { one: (_, socket) => void socket.write(first) })
        const client = visitor(t, server)
        client.send(`${method} /1 HTTP/1.1\r\nHost: ${one.host}\r\n\r\n`)
        if (then !== undefined) {
          await client.got(first)
          for (const socket of one.sockets) socket.write(then)
          // What comes after the next request to the same host would be its answer.
          if (same) await client.ended()
        }
        client.send(get(same ? one : two, '/2'))
        if (outcome === 'late' && !same)
          await until(() => client.ending !== undefined || client.text.endsWith('<two GET /2>'), 'an end')
        else assert.equal(await client.ended(), outcome === 502 ? 'end' : 'ECONNRESET')
        const came = client.text.replace(/<two GET \/2>$/, '')
        if (outcome === 502) assert.match(came, /^HTTP\/1\.1 502 [^]*\r\nX-Groktunnel-Error: bad-answer\r\n/)
        else if (outcome === 'cut') assert.ok(came === '' || came.startsWith(first) || first.startsWith(came))
        else assert.equal(came.replace(ok('<two GET /2>').slice(0, -12), ''), first)
        if (outcome !== 502) assert.ok(!came.includes('EVIL'), came)
        await neighbourServes(two)
      })
    }
  }
})

async function neighbourServes(two: { port: number; host: string }): Promise<void> {
  assert.equal((await ask(two, { path: '/neighbour' })).body, '<two GET /neighbour>')
}

test('bytes before any request cut that channel, and the next connection gets no part of them', async (t) => {
  const { server, one } = await twoTunnels(t, {}, { one: (_, socket) => void socket.write(ok('<one late>')) })
  const client = visitor(t, server).send(`POST / HTTP/1.1\r\nHost: ${one.host}\r\nContent-Length: 4\r\n\r\n`)
  await until(() => one.sockets.size === 1, 'a connection')
  // An answer before its request has ended is one. A second is not.
  for (const socket of one.sockets) socket.write(ok('<early>'))
  await client.got('<early>')
  for (const socket of one.sockets) socket.write(evil)
  assert.equal(await client.ended(), 'ECONNRESET')
  assert.ok(!client.text.includes('EVIL'))
})

test('a local service that speaks first, as many protocols do, is answered for with 502', async (t) => {
  const { server, one, two } = await twoTunnels(t)
  const greet = await greeting(t, server)
  const client = visitor(t, server).send(get(greet, '/1') + get(two, '/2'))
  await client.ended()
  assert.deepEqual(statuses(client.text), [502])
  assert.equal(two.came + one.came, '')
})

async function greeting(t: Parameters<typeof openTunnel>[0], server: Server): Promise<{ host: string }> {
  const local = await tcpApp(t, (socket) => void socket.write('SSH-2.0-OpenSSH_9.2\r\n'))
  return openTunnel(t, server, local.port, 'greeting')
}

test('an answer in advance, while the connection is idle, cuts it: the next request does not get it', async (t) => {
  const { server, one, two } = await twoTunnels(t)
  for (const next of [one, two]) {
    const client = visitor(t, server)
    await client.send(get(one, '/1')).got('<one GET /1>')
    for (const socket of one.sockets) socket.write(evil)
    if (next === one) assert.equal(await client.ended(), 'ECONNRESET')
    else client.send(get(two, '/2'))
    // Asked before the evil came, the other host may have answered.
    await until(
      () => client.ending !== undefined || client.text.endsWith('<two GET /2>'),
      'an end or an answer',
    )
    assert.ok(!client.text.includes('EVIL'))
  }
})

test('what a left local service still says is thrown away', async (t) => {
  const { server, one, two } = await twoTunnels(t)
  for (let n = 0; n < 20; n++) {
    const client = visitor(t, server)
    await client.send(get(one, '/1')).got('<one GET /1>')
    const left = [...one.sockets]
    await client.send(get(two, '/2')).got('<two GET /2>')
    for (const socket of left) socket.write(evil)
    await client.send(get(two, '/3')).got('<two GET /3>')
    await client.send(get(one, '/4')).got('<one GET /4>')
    assert.ok(!client.text.includes('EVIL'))
    client.socket.destroy()
  }
})

test('1xx without end, one at a time, is cut off', async (t) => {
  const { server, one, two } = await twoTunnels(t, {}, { one: () => more })
  const client = visitor(t, server).send(get(one) + get(two))
  let sent = 1
  while (client.ending === undefined && sent < 1000) {
    await until(() => statuses(client.text).length >= sent || client.ending !== undefined, `${sent} of them`)
    for (const socket of one.sockets) socket.write(more)
    sent += 1
  }
  assert.equal(client.ending, 'ECONNRESET')
  assert.ok(statuses(client.text).length <= 64)
  assert.equal(two.came, '')
})

test('an answer longer than it says, and one shorter: the next host’s is untouched on a new connection', async (t) => {
  const short: AnswerTo = (_, socket) =>
    void socket.end('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort')
  const { server, one, two } = await twoTunnels(t, {}, { one: short })
  const client = visitor(t, server).send(get(one) + get(two, '/2'))
  assert.equal(await client.ended(), 'ECONNRESET')
  assert.ok(!client.text.includes('<two'))
  assert.equal(two.came, '')
  await neighbourServes(two)
})

test('100 pipelined requests to a local service that cuts its answer end, and the server lives', async (t) => {
  const { server, one, two } = await twoTunnels(
    t,
    {},
    { one: (_, socket) => void socket.end('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell') },
  )
  for (const next of [one, two]) {
    const client = visitor(t, server).send(get(one) + get(next).repeat(100))
    assert.equal(await client.ended(), 'ECONNRESET')
    await neighbourServes(two)
  }
})

test('an upgrade that is granted by an answer in two pieces, its raw bytes first of all, loses none', async (t) => {
  const head = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: own\r\n\r\n'
  for (const at of [1, head.length - 1, head.length]) {
    const pieces: AnswerTo = (_, socket) =>
      void socket.write(head.slice(0, at), () => socket.write(`${head.slice(at)}raw`))
    const { server, one } = await twoTunnels(t, {}, { one: pieces })
    const client = visitor(t, server).send(get(one, '/', 'Connection: Upgrade\r\nUpgrade: own\r\n'))
    await client.got('raw')
    assert.equal(client.text, `${head}raw`)
  }
})
