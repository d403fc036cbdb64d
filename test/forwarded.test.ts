import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { visitor } from './helpers.ts'
import { appTunnel, asSent, get, serverWith, twoTunnels } from './two-tunnels.ts'

/** The fields that the server sets, as they came, in one object; a field that came twice is joined by `|`. */
function told(came: string): Record<string, string> {
  const fields: Record<string, string> = {}
  for (const [, name = '', value = ''] of came.matchAll(/^(x-forwarded-\w+|forwarded): (.*)\r$/gim))
    fields[name] = name in fields ? `${fields[name]}|${value}` : value
  return fields
}

const lies = [
  'X-Forwarded-For: 6.6.6.6\r\nx-forwarded-for: 7.7.7.7\r\n',
  'X-Forwarded-Proto: https\r\nX-FORWARDED-HOST: evil.example\r\nX-Forwarded-Port: 443\r\n',
  'Forwarded: for=6.6.6.6;host=evil.example;proto=https\r\nForwarded: for=7.7.7.7\r\n',
].join('')

test('a local service is told who asks, how, for which host and port; what the visitor claims is dropped', async (t) => {
  const { server, one } = await twoTunnels(t)
  for (const fields of ['', lies]) {
    one.came = ''
    const client = visitor(t, server)
    await client.send(get(one, '/', `A: 1\r\n${fields}B: 2\r\n`)).got('<one GET />')
    assert.deepEqual(told(one.came), {
      'X-Forwarded-For': '127.0.0.1',
      'X-Forwarded-Proto': 'http',
      'X-Forwarded-Host': one.host,
      'X-Forwarded-Port': String(server.port),
      Forwarded: `for=127.0.0.1;host="${one.host}";proto=http`,
    })
    assert.equal(asSent(one.came), get(one, '/', 'A: 1\r\nB: 2\r\n'))
  }
})

test('without a port in Host, it is the scheme’s own', async (t) => {
  const { server, one } = await twoTunnels(t)
  await visitor(t, server)
    .send(get({ host: 'one.localhost' }))
    .got('<one GET />')
  assert.equal(told(one.came)['X-Forwarded-Port'], '80')
})

test('on one connection each host is told of itself', async (t) => {
  const { server, one, two } = await twoTunnels(t)
  await visitor(t, server)
    .send(get(one) + get(two) + get(one))
    .got(/<one GET \/>[^]*<two GET \/>[^]*<one GET \/>/)
  assert.equal(told(one.came)['X-Forwarded-Host'], `${one.host}|${one.host}`)
  assert.equal(told(two.came)['X-Forwarded-Host'], two.host)
})

describe('of a trusted proxy', () => {
  const all =
    'X-Forwarded-For: 1.1.1.1, 2.2.2.2\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: public.example\r\nX-Forwarded-Port: 8443\r\nForwarded: for=1.1.1.1;proto=https\r\n'
  test('its word is taken and extended', async (t) => {
    for (const trustProxy of [['127.0.0.1'], ['10.0.0.0/8', '127.0.0.0/8'], ['::1', '0.0.0.0/0']]) {
      const { server, one } = await twoTunnels(t, { trustProxy })
      await visitor(t, server)
        .send(get(one, '/', all))
        .got('<one GET />')
      assert.deepEqual(told(one.came), {
        'X-Forwarded-For': '1.1.1.1, 2.2.2.2, 127.0.0.1',
        'X-Forwarded-Proto': 'https',
        'X-Forwarded-Host': 'public.example',
        'X-Forwarded-Port': '8443',
        Forwarded: `for=1.1.1.1;proto=https, for=127.0.0.1;host="${one.host}";proto=http`,
      })
    }
  })
  test('several lines become one list, in order', async (t) => {
    const { server, one } = await twoTunnels(t, { trustProxy: ['127.0.0.1'] })
    await visitor(t, server)
      .send(get(one, '/', 'X-Forwarded-For: 1.1.1.1\r\nA: b\r\nx-forwarded-for: 2.2.2.2\r\n'))
      .got('<one')
    assert.equal(told(one.came)['X-Forwarded-For'], '1.1.1.1, 2.2.2.2, 127.0.0.1')
  })
  test('what it does not say, the server says', async (t) => {
    const { server, one } = await twoTunnels(t, { trustProxy: ['127.0.0.1'] })
    await visitor(t, server).send(get(one)).got('<one GET />')
    assert.equal(told(one.came)['X-Forwarded-Host'], one.host)
    assert.equal(told(one.came)['X-Forwarded-Proto'], 'http')
  })
  test('another peer’s word is not', async (t) => {
    const { server, one } = await twoTunnels(t, { trustProxy: ['10.0.0.0/8', '127.0.0.2/32'] })
    await visitor(t, server)
      .send(get(one, '/', all))
      .got('<one GET />')
    assert.equal(told(one.came)['X-Forwarded-For'], '127.0.0.1')
  })
  for (const bad of [
    '',
    'localhost',
    '10.0.0.0/33',
    '10.0.0.0/-1',
    '10.0.0.0/',
    '::1/129',
    '1.2.3',
    '10.0.0.0/8/8',
  ])
    test(`is refused as a start of the server when it is ${JSON.stringify(bad)}`, async (t) => {
      await assert.rejects(serverWith(t, { trustProxy: [bad] }), { code: 'usage' })
    })
})

test('everything else passes byte for byte: order, letters, spaces, doubles, high bytes', async (t) => {
  const { server, one } = await twoTunnels(t)
  const fields = [
    'user-AGENT:x',
    'X-Empty:',
    'X-Spaces:  \t two  words \t ',
    'x-empty: again',
    'Cookie: a=1; b="c, d"',
    'cookie: c=2',
    'X-High: \xe9\xff\x80',
    'X-Forwarded: not ours',
    'X-Forwarded-Fo: r',
    'X_Forwarded_For: u',
    'Via: 1.1 proxy',
    'TE: trailers',
    'Accept: text/html, */*;q=0.1',
    'Keep-Alive: timeout=5',
    'Connection: Keep-Alive , TE ,, ',
    "!#$%&'*+-.^_`|~: token",
  ]
  const sent = `REPORT /%41/../?q=|"{}'\\^ HTTP/1.1\r\n${fields.slice(0, 8).join('\r\n')}\r\nHOST:\x20\x20${one.host}  \r\n${fields.slice(8).join('\r\n')}\r\n\r\n`
  await visitor(t, server).send(Buffer.from(sent, 'latin1')).got('<one REPORT')
  assert.equal(asSent(one.came), sent)
})

describe('Connection cannot make a proxy before the local service drop what the server says:', () => {
  const names = ['X-Forwarded-For', 'x-forwarded-proto', 'X-FORWARDED-HOST', 'X-Forwarded-Port', 'Forwarded']
  for (const name of names) {
    test(name, async (t) => {
      const { server, one } = await twoTunnels(t)
      const client = visitor(t, server)
      await client.send(get(one, '/1', `Connection: ${name}\r\n`)).got('<one GET /1>')
      assert.doesNotMatch(one.came, /^connection/im)
      await client
        .send(get(one, '/2', `Connection: keep-alive, ${name} ,foo\r\nconnection:,${name}\r\n`))
        .got('<one GET /2>')
      assert.match(one.came, /\r\nConnection: keep-alive, foo(, )?\r\n/)
      assert.doesNotMatch(one.came, new RegExp(`^connection:.*${name}`, 'im'))
      assert.equal(Object.keys(told(one.came)).length, 5)
    })
  }
})

test('a head as large as the limit is told of the visitor too', async (t) => {
  const server = await serverWith(t, {})
  const app = await appTunnel(t, server, 'app')
  const bare = get(app, '/', 'X: \r\n').length
  await visitor(t, server)
    .send(get(app, '/', `X: ${'y'.repeat(65536 - bare)}\r\n`))
    .got('<app GET />')
  assert.equal(Object.keys(told(app.came)).length, 5)
})
