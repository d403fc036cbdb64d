import assert from 'node:assert/strict'
import net from 'node:net'
import { describe, test, type TestContext } from 'node:test'
import type { Server } from '../groktunnel.ts'
import { tcpApp, visitor } from './helpers.ts'
import { type App, appTunnel, get, serverWith, twoTunnels } from './two-tunnels.ts'

interface Ways {
  server: Server
  one: App
  two: App
}

/** A server that expects PROXY headers of this machine, and two tunnels, whose clients come through such a proxy. */
async function behindProxy(t: TestContext, trustProxy = ['127.0.0.1']): Promise<Ways> {
  const server = await serverWith(t, { proxyProtocolIn: true, trustProxy })
  const proxy = await tcpApp(t, (socket) => {
    const upstream = net.connect(server.port, '127.0.0.1')
    upstream.write('PROXY UNKNOWN\r\n')
    socket
      .pipe(upstream)
      .on('error', () => socket.destroy())
      .pipe(socket)
  })
  const door = Object.assign(Object.create(server) as Server, { port: proxy.port })
  return { server, one: await appTunnel(t, door, 'one'), two: await appTunnel(t, door, 'two') }
}

const signature = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1')

/** A header of version 2, by the letter of the specification. */
function v2(versionAndCommand: number, family: number, payload: number[] | Buffer, length?: number): Buffer {
  const head = Buffer.from([versionAndCommand, family, 0, 0])
  head.writeUInt16BE(length ?? payload.length, 2)
  return Buffer.concat([signature, head, Buffer.from(payload)])
}

const ports = [0x30, 0x39, 0x01, 0xbb]
const ipv4 = [192, 0, 2, 7, 198, 51, 100, 1, ...ports]
const from6 = Buffer.from('20010db8000000000000000000000007', 'hex')
const ipv6 = [...from6, ...Buffer.alloc(15), 1, ...ports]
const tlv = [0x04, 0, 3, 1, 2, 3]

const good: [name: string, header: string | Buffer, address: RegExp][] = [
  ['version 1, TCP4', 'PROXY TCP4 192.0.2.7 198.51.100.1 12345 443\r\n', /^192\.0\.2\.7$/],
  ['version 1, TCP6', 'PROXY TCP6 2001:db8::7 ::1 12345 443\r\n', /^2001:db8:/],
  ['version 1, UNKNOWN', 'PROXY UNKNOWN\r\n', /^127\.0\.0\.1$/],
  ['version 1, UNKNOWN with more', 'PROXY UNKNOWN ff:ff::1 ff::2 65535 65535\r\n', /^127\.0\.0\.1$/],
  ['version 2, TCP4', v2(0x21, 0x11, ipv4), /^192\.0\.2\.7$/],
  ['version 2, TCP4 with TLVs', v2(0x21, 0x11, [...ipv4, ...tlv]), /^192\.0\.2\.7$/],
  ['version 2, TCP6', v2(0x21, 0x21, ipv6), /^2001:0?db8:/],
  ['version 2, TCP6 with TLVs', v2(0x21, 0x21, [...ipv6, ...tlv]), /^2001:0?db8:/],
  ['version 2, LOCAL', v2(0x20, 0, []), /^127\.0\.0\.1$/],
  ['version 2, LOCAL with an address to be ignored', v2(0x20, 0x11, ipv4), /^127\.0\.0\.1$/],
  ['version 2, PROXY of no family', v2(0x21, 0, []), /^127\.0\.0\.1$/],
  ['version 2, PROXY of a unix socket', v2(0x21, 0x31, Buffer.alloc(216)), /^127\.0\.0\.1$/],
]

describe('the PROXY header of a trusted peer, whole and one byte at a time:', () => {
  for (const [name, header, address] of good) {
    test(name, async (t) => {
      const { server, one } = await behindProxy(t)
      const request = get(one, '/', 'X-Forwarded-For: 6.6.6.6\r\n')
      const bytes = Buffer.concat([Buffer.from(header), Buffer.from(request)])
      for (const size of [bytes.length, 1]) {
        one.came = ''
        const client = visitor(t, server)
        for (let at = 0; at < bytes.length; at += size) client.send(bytes.subarray(at, at + size))
        await client.got('<one GET />')
        const [, said = ''] = /^X-Forwarded-For: (.*)\r$/m.exec(one.came) ?? []
        // The proxy itself is believed, the visitor it names is not.
        assert.match(said.replace('6.6.6.6, ', ''), address)
        assert.equal(said.startsWith('6.6.6.6, '), said.endsWith('127.0.0.1'))
        assert.ok(!one.came.includes('PROXY') && !one.came.includes('QUIT'))
        if (said.includes(':')) assert.match(one.came, /^Forwarded: for="\[2001:[0-9a-f:]+\]";/m)
      }
    })
  }
})

const bad: [name: string, header: string | Buffer][] = [
  ['none', 'GET / HTTP/1.1\r\nHost: one.localhost\r\n\r\n'],
  ['another word', 'PROXIED TCP4 192.0.2.7 198.51.100.1 1 2\r\n'],
  ['no addresses', 'PROXY TCP4\r\n'],
  ['no address at all', 'PROXY TCP4 evil 198.51.100.1 1 2\r\n'],
  ['a field in the address', 'PROXY TCP4 1.2.3.4\rX:y 198.51.100.1 1 2\r\n'],
  ['the other family', 'PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n'],
  ['another family', 'PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n'],
  ['an octet of 256', 'PROXY TCP4 192.0.2.256 198.51.100.1 1 2\r\n'],
  ['a port of 65536', 'PROXY TCP4 192.0.2.7 198.51.100.1 65536 2\r\n'],
  ['a line too long', `PROXY TCP4 ${'1'.repeat(200)}\r\n`],
  ['lower case', 'proxy TCP4 192.0.2.7 198.51.100.1 1 2\r\n'],
  ['version 3', v2(0x31, 0x11, ipv4)],
  ['version 1 in binary', v2(0x11, 0x11, ipv4)],
  ['an unknown command', v2(0x22, 0x11, ipv4)],
  ['addresses too short', v2(0x21, 0x11, ipv4.slice(0, 5))],
  ['no addresses in binary', v2(0x21, 0x11, [])],
  ['IPv6 too short', v2(0x21, 0x21, ipv4)],
  ['64 KiB', v2(0x21, 0x11, ipv4, 65535)],
  ['a broken signature', Buffer.concat([signature.subarray(0, 11), Buffer.from('X'), v2(0x21, 0x11, ipv4)])],
  ['a header after an empty line', '\r\nPROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\n'],
  ['UNKNOWN glued to more', 'PROXY UNKNOWNTCP4 192.0.2.7\r\n'],
]

describe('a bad PROXY header of a trusted peer ends its connection, and nothing is passed on:', () => {
  for (const [name, header] of bad) {
    test(name, async (t) => {
      const { server, one } = await behindProxy(t)
      const client = visitor(t, server).send(Buffer.concat([Buffer.from(header), Buffer.from(get(one))]))
      await client.ended()
      assert.doesNotMatch(client.text, /<one/)
      assert.equal(one.came, '')
    })
  }
})

test('a PROXY header of a peer that is not trusted is a bad request', async (t) => {
  for (const trustProxy of [[], ['10.0.0.0/8']]) {
    const { server, one } = await twoTunnels(t, { proxyProtocolIn: true, trustProxy })
    for (const [name, header] of good) {
      const client = visitor(t, server).send(Buffer.concat([Buffer.from(header), Buffer.from(get(one))]))
      assert.equal(await client.ended(), 'end')
      assert.match(client.text, /^HTTP\/1\.1 [45]\d\d /, name)
    }
    assert.equal(one.came, '')
    await visitor(t, server).send(get(one)).got('<one GET />')
    assert.match(one.came, /^X-Forwarded-For: 127\.0\.0\.1\r$/m)
  }
})

test('without the option, a PROXY header is a bad request also of a trusted peer', async (t) => {
  const { server, one } = await twoTunnels(t, { trustProxy: ['127.0.0.1'] })
  const client = visitor(t, server).send(`PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\n${get(one)}`)
  await client.ended()
  assert.match(client.text, /^HTTP\/1\.1 400 /)
})

test('a header is read once: a second one is a bad request', async (t) => {
  const { server, one } = await behindProxy(t)
  const line = 'PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\n'
  const client = visitor(t, server).send(line + line + get(one))
  await client.ended()
  assert.match(client.text, /^HTTP\/1\.1 400 /)
})

test('a whole pipeline, or a FIN, may come with the header', async (t) => {
  const { server, one, two } = await behindProxy(t)
  const line = 'PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\n'
  const client = visitor(t, server)
  client.socket.end(line + get(one, '/1') + get(two, '/2'))
  assert.equal(await client.ended(), 'end')
  assert.match(client.text, /<one GET \/1>[^]*<two GET \/2>$/)
  const landing = visitor(t, server)
  landing.socket.end(line + get({ host: 'localhost' }))
  assert.equal(await landing.ended(), 'end')
  assert.match(landing.text, /npx groktunnel/)
  const nothing = visitor(t, server)
  nothing.socket.end('PROXY ')
  assert.equal(await nothing.ended(), 'end')
})

test('a visitor named by a proxy who is one himself, is believed as one', async (t) => {
  const { server, one } = await behindProxy(t, ['127.0.0.1', '192.0.2.0/24'])
  const line = 'PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\n'
  await visitor(t, server)
    .send(line + get(one, '/', 'X-Forwarded-For: 5.5.5.5\r\n'))
    .got('<one GET />')
  assert.match(one.came, /^X-Forwarded-For: 5\.5\.5\.5, 192\.0\.2\.7\r$/m)
})
