import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ask, until, visitor } from './helpers.ts'
import { type AnswerTo, asSent, get, ok, post, statuses, twoTunnels, whoAnswered } from './two-tunnels.ts'

test('one connection asks two hosts in turn: each answers for itself, in order', async (t) => {
  const { server, one, two } = await twoTunnels(t)
  const client = visitor(t, server)
  const expected: string[] = []
  for (let n = 0; n < 20; n++) {
    const app = n % 3 === 0 ? one : two
    client.send(n % 2 === 0 ? get(app, `/${n}`) : post(app, `/${n}`, 'GET / HTTP/1.1\r\n\r\n'))
    expected.push(`${app.name} ${n % 2 === 0 ? 'GET' : 'POST'} /${n}`)
    await client.got(`<${expected.at(-1)}>`)
  }
  assert.deepEqual(whoAnswered(client.text), expected)
})

test('a pipeline of two hosts in turn, in one write, is answered by each in order', async (t) => {
  const { server, one, two } = await twoTunnels(t)
  const apps = Array.from({ length: 60 }, (_, n) => ((n * 7 + (n >> 2)) % 2 ? one : two))
  const client = visitor(t, server).send(apps.map((app, n) => get(app, `/${n}`)).join(''))
  await client.got('/59>')
  assert.deepEqual(
    whoAnswered(client.text),
    apps.map(({ name }, n) => `${name} GET /${n}`),
  )
})

test('while the host stays the same, however it is spelt, so does the channel', async (t) => {
  const { server, one, two } = await twoTunnels(t)
  const client = visitor(t, server)
  for (let n = 0; n < 20; n++) {
    const host = n % 2 === 0 ? one.host : one.host.toUpperCase()
    await client.send(get({ host }, `/${n}`)).got(`<one GET /${n}>`)
  }
  assert.equal(one.connections, 1)
  await client.send(get(two, '/two')).got('<two GET /two>')
  await client.send(get(one, '/again')).got('<one GET /again>')
  assert.deepEqual([one.connections, two.connections], [2, 1])
})

describe('a Host names a tunnel', () => {
  const good = [
    'one.localhost',
    'ONE.LocalHost',
    'one.localhost:1',
    'one.localhost.',
    'one.localhost.:80',
    'one.localhost:',
  ]
  for (const host of good) {
    test(`as ${host}`, async (t) => {
      const { server } = await twoTunnels(t)
      await visitor(t, server).send(get({ host }, '/x')).got('<one GET /x>')
    })
  }
  const strange = [
    'three.localhost',
    'a.one.localhost',
    'onelocalhost',
    'one.localhost.example.com',
    'xlocalhost',
    'one',
    'one.localhost..',
    '-one.localhost',
    'one-.localhost',
    'o_e.localhost',
    '127.0.0.1',
    '[::1]:80',
    `${'a'.repeat(64)}.localhost`,
  ]
  test('no other name is a tunnel’s: 404, or 400 where it is no name at all', async (t) => {
    const { server, one, two } = await twoTunnels(t)
    for (const host of strange) {
      const client = visitor(t, server).send(get({ host }) + get(one))
      assert.equal(await client.ended(), 'end')
      assert.deepEqual(statuses(client.text), [host.includes('..') ? 400 : 404], host)
      assert.match(client.text, /\r\nX-Groktunnel-Error: (no-such-tunnel|bad-request)\r\n/)
    }
    assert.equal(one.came + two.came, '')
  })
  test('and the server’s own, which is a page, after which the connection ends', async (t) => {
    const { server, one } = await twoTunnels(t)
    for (const host of ['localhost', 'LOCALHOST:80', 'localhost.']) {
      const client = visitor(t, server).send(get({ host }) + get(one))
      assert.equal(await client.ended(), 'end')
      assert.deepEqual(statuses(client.text), [200])
      assert.match(client.text, /npx groktunnel/)
    }
    assert.equal(one.came, '')
  })
  test('also after a visit to a tunnel, on the same connection', async (t) => {
    const { server, one, two } = await twoTunnels(t)
    const client = visitor(t, server).send(get(one, '/1') + get({ host: 'localhost' }) + get(two))
    assert.equal(await client.ended(), 'end')
    assert.match(client.text, /<one GET \/1>[^]*npx groktunnel/)
    assert.equal(two.came, '')
  })
})

test('an unknown host in a pipeline is 404 in its turn, and what follows it goes nowhere', async (t) => {
  const { server, one, two } = await twoTunnels(t)
  const client = visitor(t, server).send(get(one, '/1') + get({ host: 'nobody.localhost' }) + get(two))
  assert.equal(await client.ended(), 'end')
  assert.deepEqual(statuses(client.text), [200, 404])
  assert.equal(two.came, '')
})

test('a refused request in a pipeline is 400 in its turn, after the answers before it', async (t) => {
  const held: (() => void)[] = []
  const hold: AnswerTo = (_, socket) => void held.push(() => socket.write(ok('<one late>')))
  const { server, one, two } = await twoTunnels(t, {}, { one: hold })
  const client = visitor(t, server).send(get(one) + 'GET / HTTP/1.1\r\nBad Name: x\r\n\r\n' + get(two))
  await until(() => held.length === 1, 'the first request')
  assert.equal(client.text, '')
  held[0]?.()
  assert.equal(await client.ended(), 'end')
  assert.match(client.text, /^HTTP\/1\.1 200 OK[^]*<one late>HTTP\/1\.1 400 Bad Request/)
  assert.equal(two.came, '')
})

describe('the next host is asked only when the last answer has passed:', () => {
  const chunks = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n'
  const answers: [name: string, method: string, answer: string][] = [
    ['a body by length', 'GET', ok('hello')],
    ['HEAD with a length', 'HEAD', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n'],
    ['HEAD with chunks announced', 'HEAD', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'],
    [
      '1xx before the answer',
      'GET',
      `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n${ok('hi')}`,
    ],
    ['204', 'DELETE', 'HTTP/1.1 204 No Content\r\n\r\n'],
    ['304 with a length', 'GET', 'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n'],
    ['chunks with trailers', 'GET', chunks],
    ['a length of 0', 'GET', ok('')],
  ]
  for (const [name, method, answer] of answers) {
    test(name, async (t) => {
      let rest: (() => void) | undefined
      const half = answer.length - 1
      const slow: AnswerTo = (_, socket) => {
        socket.write(answer.slice(0, half))
        rest = () => socket.write(answer.slice(half))
      }
      const { server, one, two } = await twoTunnels(t, {}, { one: slow })
      const client = visitor(t, server)
      client.send(`${method} / HTTP/1.1\r\nHost: ${one.host}\r\n\r\n${get(two, '/next')}`)
      await until(() => rest !== undefined, 'the request')
      // The way to the other tunnel is open, so what this client pipelined could have come too.
      for (let n = 0; n < 3; n++) await ask(two, { path: '/other' })
      assert.deepEqual(new Set(two.asked.map(({ head }) => head.target)), new Set(['/other']))
      rest?.()
      await client.got('<two GET /next>')
      assert.equal(client.text, `${answer}${ok('<two GET /next>')}`)
    })
  }
  test('an answer until the close is the connection’s last', async (t) => {
    const untilClose: AnswerTo = (_, socket) => void socket.end('HTTP/1.1 200 OK\r\n\r\nto the end')
    const { server, one, two } = await twoTunnels(t, {}, { one: untilClose })
    const client = visitor(t, server).send(get(one) + get(two))
    assert.equal(await client.ended(), 'end')
    assert.equal(client.text, 'HTTP/1.1 200 OK\r\n\r\nto the end')
    assert.equal(two.came, '')
  })
})

test('an answer that comes before its request has ended: the next host waits for the request', async (t) => {
  const { server, one, two } = await twoTunnels(t, {}, { one: () => undefined })
  const client = visitor(t, server)
  client.send(`POST /up HTTP/1.1\r\nHost: ${one.host}\r\nContent-Length: 10\r\n\r\n01234`)
  await until(() => one.came.endsWith('01234'), 'half a request')
  for (const socket of one.sockets) socket.write(ok('<early>'))
  await client.got('<early>')
  client.send('56789' + get(two, '/next'))
  await client.got('<two GET /next>')
  await until(() => one.came.endsWith('0123456789'), 'the whole request')
  assert.ok(!one.came.includes('/next'))
})

describe('Connection: close and HTTP/1.0', () => {
  const closing: [name: string, line: string, fields: string, answer: string][] = [
    ['asked by the visitor', 'HTTP/1.1', 'Connection: close\r\n', ok('x')],
    ['asked by the visitor among others', 'HTTP/1.1', 'Connection: foo, CLOSE\r\n', ok('x')],
    ['said by the local service', 'HTTP/1.1', '', ok('x', 'Connection: close\r\n')],
    ['meant by HTTP/1.0', 'HTTP/1.0', '', ok('x')],
    ['meant by an answer in HTTP/1.0', 'HTTP/1.1', '', ok('x').replace('1.1', '1.0')],
  ]
  for (const [name, version, fields, answer] of closing) {
    test(`the end, ${name}, comes after the answer, and a pipelined request goes nowhere`, async (t) => {
      const { server, one, two } = await twoTunnels(t, {}, { one: () => answer })
      const client = visitor(t, server)
      client.send(`GET / ${version}\r\nHost: ${one.host}\r\n${fields}\r\n${get(one)}${get(two)}`)
      assert.equal(await client.ended(), 'end')
      assert.equal(client.text, answer)
      assert.equal(one.asked.length, 1)
      assert.equal(two.came, '')
    })
  }
  test('HTTP/1.0 with keep-alive goes on to the next host', async (t) => {
    const { server, one, two } = await twoTunnels(t)
    const keep = (host: string) => `GET / HTTP/1.0\r\nHost: ${host}\r\nConnection: keep-alive\r\n\r\n`
    const client = visitor(t, server).send(keep(one.host) + keep(two.host))
    await client.got('<two GET />')
    assert.deepEqual(whoAnswered(client.text), ['one GET /', 'two GET /'])
  })
})

test('Expect: 100-continue passes to each host, the body after its own 100', async (t) => {
  const { server, one, two } = await twoTunnels(t)
  const client = visitor(t, server)
  for (const [n, app] of [one, two, two, one].entries()) {
    const before = app.came.length
    client.send(
      `POST /${n} HTTP/1.1\r\nHost: ${app.host}\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n`,
    )
    await until(() => app.came.length > before && app.came.endsWith('\r\n\r\n'), 'a head')
    const sent = client.text.length
    for (const socket of app.sockets) socket.write('HTTP/1.1 100 Continue\r\n\r\n')
    await until(() => client.text.length > sent, '100')
    assert.equal(client.text.slice(sent), 'HTTP/1.1 100 Continue\r\n\r\n')
    client.send(`bod${n}`)
    await client.got(`<${app.name} POST /${n}>bod${n}`)
  }
})

test('a visitor who has said its FIN still gets every answer of its pipeline, then the end', async (t) => {
  const { server, one, two } = await twoTunnels(t)
  const client = visitor(t, server)
  client.socket.end(get(one, '/1') + get(two, '/2') + post(one, '/3', 'x') + get(two, '/4'))
  assert.equal(await client.ended(), 'end')
  assert.deepEqual(whoAnswered(client.text), ['one GET /1', 'two GET /2', 'one POST /3', 'two GET /4'])
})

test('a FIN in the middle of a head is answered by the end, and nothing is passed on', async (t) => {
  const { server, one, two } = await twoTunnels(t)
  const client = visitor(t, server)
  client.socket.end(get(two, '/1') + get(one).slice(0, -1))
  assert.equal(await client.ended(), 'end')
  assert.deepEqual(whoAnswered(client.text), ['two GET /1'])
  assert.equal(one.came, '')
})

describe('a close in the middle of an answer is a reset, and the next host is not asked:', () => {
  const cuts: [name: string, bytes: string][] = [
    ['in a body by length', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell'],
    ['in chunk data', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel'],
    ['before the last chunk', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n'],
    ['in trailers', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n'],
    ['after an interim answer', 'HTTP/1.1 103 Early Hints\r\n\r\n'],
  ]
  for (const [name, bytes] of cuts) {
    for (const how of ['FIN', 'RST'] as const) {
      test(`${name}, by ${how}`, async (t) => {
        const { server, one, two } = await twoTunnels(t, {}, { one: () => bytes })
        const client = visitor(t, server).send(get(one) + get(two))
        await client.got(bytes)
        for (const socket of one.sockets) if (how === 'FIN') socket.end()
        for (const socket of one.sockets) if (how === 'RST') socket.resetAndDestroy()
        assert.equal(await client.ended(), 'ECONNRESET')
        assert.equal(client.text, bytes)
        assert.equal(two.came, '')
      })
    }
  }
})

test('what a local service is sent is what the visitor sent, whatever pieces it came in', async (t) => {
  const { server, one, two } = await twoTunnels(t)
  const sent = [
    post(one, '/1', 'x'.repeat(2000)),
    `PUT /2 HTTP/1.1\r\nhOsT:  ${one.host} \r\nTransfer-Encoding: chunked\r\n\r\n3;e=1\r\nabc\r\n0\r\nT: 1\r\n\r\n`,
    get(one, '/3', 'X:   odd \t\r\nx: again\r\n'),
  ]
  for (const size of [1, 2, 7, 100]) {
    const before = one.came.length
    const client = visitor(t, server)
    const all = sent.join('') + get(two, `/${size}`)
    for (let at = 0; at < all.length; at += size) client.send(all.slice(at, at + size))
    await client.got(`<two GET /${size}>`)
    assert.equal(asSent(one.came.slice(before)), sent.join(''))
  }
})
