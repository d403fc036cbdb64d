import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { until, visitor } from './helpers.ts'
import { type AnswerTo, get, ok, statuses, twoTunnels, whoAnswered } from './two-tunnels.ts'

const upgrade = 'Connection: Upgrade\r\nUpgrade: own\r\n'
const switching = `HTTP/1.1 101 Switching Protocols\r\n${upgrade}\r\n`
const switches: AnswerTo = ({ head }) => (head.upgrade === undefined ? ok('plain') : switching)

test('after a 101 everything is raw: bytes that look like requests and answers of others go through', async (t) => {
  const { server, one, two } = await twoTunnels(t, {}, { one: switches })
  const client = visitor(t, server).send(get(one, '/', upgrade))
  await client.got(switching)
  const raw = `${get(two, '/stolen')}GET / HTTP/1.1\r\nHost: a, b\r\nBad Name: x\r\n\r\n\0\x16\xff`
  client.send(Buffer.from(raw, 'latin1'))
  await until(() => one.came.endsWith(raw), 'the raw bytes')
  const back = `${ok('x')}${ok('y')}HTTP/9 junk\r\n\0`
  for (const socket of one.sockets) socket.write(back)
  await client.got(back)
  client.socket.end(get(two, '/last'))
  assert.equal(await client.ended(), 'end')
  assert.equal(client.text, switching + back)
  assert.equal(two.came, '')
})

test('what was pipelined behind an upgrade is raw after a 101, and reaches only the upgraded', async (t) => {
  const { server, one, two } = await twoTunnels(t, {}, { one: switches })
  const client = visitor(t, server).send(get(one, '/', upgrade) + get(two, '/stolen'))
  await until(() => one.came.endsWith(get(two, '/stolen')), 'the raw bytes')
  assert.equal(client.text, switching)
  assert.equal(two.came, '')
})

test('what was pipelined behind a refused upgrade is a request again, to whom it names', async (t) => {
  const { server, one, two } = await twoTunnels(t)
  const client = visitor(t, server)
  client.send(get(one, '/a', upgrade) + get(two, '/b') + get(two, '/c', upgrade) + get(one, '/d'))
  await client.got('<one GET /d>')
  assert.deepEqual(whoAnswered(client.text), ['one GET /a', 'two GET /b', 'two GET /c', 'one GET /d'])
  assert.ok(!one.came.includes('/b') && !one.came.includes('/c'))
  assert.ok(!two.came.includes('/a') && !two.came.includes('/d'))
})

test('an upgrade with a body is offered, its body passed, and what follows waits for the verdict', async (t) => {
  const { server, one, two } = await twoTunnels(t)
  const client = visitor(t, server)
  const body = get(two, '/in-the-body')
  client.send(
    `POST /1 HTTP/1.1\r\nHost: ${one.host}\r\n${upgrade}Content-Length: ${body.length}\r\n\r\n${body}`,
  )
  client.send(get(two, '/next'))
  await client.got('<two GET /next>')
  assert.deepEqual(whoAnswered(client.text), ['one POST /1', 'two GET /next'])
  assert.ok(!two.came.includes('/in-the-body'))
})

test('a refused request behind an upgrade that is refused is 400 in its turn', async (t) => {
  const { server, one, two } = await twoTunnels(t)
  const client = visitor(t, server).send(`${get(one, '/1', upgrade)}GET  / HTTP/1.1\r\n\r\n${get(two)}`)
  assert.equal(await client.ended(), 'end')
  assert.deepEqual(statuses(client.text), [200, 400])
  assert.equal(two.came, '')
})

test('a 101 after interim answers, and an answer after an upgrade in HTTP/1.0, which offers none', async (t) => {
  const { server, one } = await twoTunnels(
    t,
    {},
    { one: () => `HTTP/1.1 103 Early Hints\r\n\r\n${switching}raw` },
  )
  await visitor(t, server)
    .send(get(one, '/', upgrade))
    .got(/103 Early Hints\r\n\r\nHTTP\/1\.1 101 [^]*raw$/)
  const old = visitor(t, server).send(`GET / HTTP/1.0\r\nHost: ${one.host}\r\n${upgrade}\r\n`)
  await old.ended()
  assert.ok(!old.text.includes(' 101 '))
})

describe('an offer of HTTP/2 is not passed on, and so never accepted:', () => {
  const offers: [name: string, fields: string, kept: string][] = [
    [
      'alone',
      'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n',
      '',
    ],
    ['in other letters', 'connection: upgrade,http2-settings\r\nUPGRADE: H2C\r\nhttp2-settings: AA\r\n', ''],
    [
      'among others',
      'Connection: keep-alive, Upgrade\r\nUpgrade: websocket, h2c\r\nX: y\r\n',
      'X: y\r\nConnection: keep-alive\r\n',
    ],
    ['in several fields', 'Upgrade: websocket\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n', ''],
    ['with a version', 'Connection: Upgrade\r\nUpgrade: h2c/14\r\n', ''],
  ]
  for (const [name, fields, kept] of offers) {
    test(name, async (t) => {
      const { server, one, two } = await twoTunnels(t)
      const client = visitor(t, server).send(get(one, '/1', fields) + get(two, '/2'))
      await client.got('<two GET /2>')
      const head = one.came.replace(/^(X-)?Forwarded.*\r\n/gm, '')
      assert.doesNotMatch(head, /h2c|http2|upgrade/i)
      const [line, host] = get(one, '/1').split('\r\n')
      assert.deepEqual(
        head.split('\r\n').sort(),
        [line, host, ...kept.split('\r\n').slice(0, -1), '', ''].sort(),
      )
    })
  }
  test('a local service that goes on in HTTP/2 all the same is cut off', async (t) => {
    const h2c: AnswerTo = () =>
      'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n'
    const { server, one, two } = await twoTunnels(t, {}, { one: h2c })
    for (const fields of [offers[0]?.[1] ?? '', 'Upgrade: h2c\r\n']) {
      const client = visitor(t, server).send(get(one, '/1', fields) + get(two, '/2'))
      await client.ended()
      assert.ok(!client.text.includes(' 101 '))
    }
    assert.equal(two.came, '')
  })
})
