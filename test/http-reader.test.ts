import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { RequestReader, ResponseReader } from '../lib/http/reader.ts'
import { type Case, isAccepted, requestCases, responseCases } from './fixtures/http-cases.ts'
import { drip, follow, splits } from './fixtures/http-follow.ts'

type MakeReader = () => RequestReader | ResponseReader

function check(oddity: Case, reader: MakeReader): void {
  const { title, rfc, verdict, bytes } = oddity
  const section = rfc.startsWith('RFC') ? rfc : `RFC 9112 ${rfc}`
  test(`${title} (${section}): ${verdict.slice(0, 60)}`, () => {
    const whole = follow(reader(), [bytes])
    assert.equal(whole.verdict, verdict, whole.refusal?.message)
    const dripped = follow(reader(), drip(bytes))
    assert.equal(dripped.verdict, verdict, `one byte at a time: ${dripped.refusal?.message}`)
    if (isAccepted(oddity)) assert.deepEqual(dripped.forwarded, whole.forwarded)
    assert.equal(dripped.refusal?.message, whole.refusal?.message)
    for (const pieces of splits(bytes)) {
      const split = follow(reader(), pieces)
      assert.equal(split.verdict, verdict, `split at ${pieces[0]?.length}: ${split.refusal?.message}`)
      if (isAccepted(oddity))
        assert.ok(split.forwarded.equals(whole.forwarded), `split at ${pieces[0]?.length}`)
    }
  })
}

describe('a request, whole, dripped and split at every offset', () => {
  for (const oddity of requestCases) check(oddity, () => new RequestReader())
})

describe('an answer, whole, dripped and split at every offset', () => {
  for (const oddity of responseCases) check(oddity, () => new ResponseReader(() => oddity.method))
})

test('of a refused head not one byte is forwarded', () => {
  for (const { title, verdict, bytes } of requestCases) {
    const { refusal, forwarded } = follow(new RequestReader(), drip(bytes))
    const inBody = forwarded.includes('chunked') || title.startsWith('a body without')
    if (verdict.startsWith('4') && !inBody) assert.equal(forwarded.length, 0, refusal?.message)
  }
})

test('what is accepted is forwarded byte for byte, only empty lines before requests are left out', () => {
  for (const { bytes } of requestCases.filter(isAccepted)) {
    const { forwarded } = follow(new RequestReader(), [bytes])
    const text = bytes.toString('latin1')
    const expected = text.replace(/^\r\n/, '').replace('hi\r\nGET', 'hiGET')
    assert.equal(forwarded.toString('latin1'), expected)
  }
})

test('a refusal is one line of visible ASCII, names its section and stays short', () => {
  const readers: [Case[], (method: string) => RequestReader | ResponseReader][] = [
    [requestCases, () => new RequestReader()],
    [responseCases, (method) => new ResponseReader(() => method)],
  ]
  for (const [cases, make] of readers) {
    for (const { title, method, bytes } of cases.filter((one) => !isAccepted(one))) {
      const message = follow(make(method), [bytes]).refusal?.message ?? ''
      assert.match(message, /^[\x20-\x7e]{20,600}$/, title)
      assert.match(message, /^expected .+, came '.*' \(RFC [0-9]{4} section [0-9.]+\)$/, title)
    }
  }
})

function requestHead(text: string) {
  const reader = new RequestReader()
  reader.read(Buffer.from(text))
  return reader.head
}

test('keepAlive follows version and Connection (RFC 9112 section 9.3)', () => {
  const alive = (version: string, field: string) =>
    requestHead(`GET / HTTP/${version}\r\nHost: a\r\n${field}\r\n`)?.keepAlive
  assert.equal(alive('1.1', ''), true)
  assert.equal(alive('1.1', 'Connection: close\r\n'), false)
  assert.equal(alive('1.1', 'Connection: keep-alive\r\nConnection: x, CLOSE\r\n'), false)
  assert.equal(alive('1.1', 'Connection: closed\r\n'), true)
  assert.equal(alive('1.0', ''), false)
  assert.equal(alive('1.0', 'Connection: Keep-Alive\r\n'), true)
  assert.equal(alive('1.0', 'Connection: keep-alive, close\r\n'), false)
})

test('an answer until close does not keep the connection, whatever it says', () => {
  const reader = new ResponseReader(() => 'GET')
  reader.read(Buffer.from('HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n'))
  assert.equal(reader.head?.keepAlive, false)
})

test('upgrade is the value of Upgrade when Connection lists it, in HTTP/1.1 (RFC 9110 section 7.8)', () => {
  const upgrade = (version: string, fields: string) =>
    requestHead(`GET / HTTP/${version}\r\nHost: a\r\n${fields}\r\n`)?.upgrade
  assert.equal(upgrade('1.1', 'Connection: Upgrade\r\nUpgrade: websocket\r\n'), 'websocket')
  assert.equal(
    upgrade('1.1', 'Connection: x\r\nConnection: y, upgrade\r\nUpgrade: h2c\r\nUpgrade: z\r\n'),
    'h2c, z',
  )
  assert.equal(upgrade('1.1', 'Upgrade: websocket\r\n'), undefined)
  assert.equal(upgrade('1.1', 'Connection: upgrade\r\n'), undefined)
  assert.equal(upgrade('1.0', 'Connection: Upgrade\r\nUpgrade: websocket\r\n'), undefined)
})

test('pending is true while the peer owes syntax, and only then', () => {
  const reader = new RequestReader()
  const pendingAfter = (text: string) => {
    const bytes = Buffer.from(text)
    for (let at = 0; at < bytes.length || reader.event === 'head';) at += reader.read(bytes, at)
    return reader.pending
  }
  assert.equal(reader.pending, false)
  assert.equal(pendingAfter('\r'), true, 'half an empty line')
  assert.equal(pendingAfter('\n'), true, 'an empty line before the first head: it was promised')
  assert.equal(pendingAfter('P'), true, 'a head')
  assert.equal(
    pendingAfter('OST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n'),
    false,
    'before a chunk',
  )
  assert.equal(pendingAfter('2'), true, 'a chunk line')
  assert.equal(pendingAfter('\r\n'), false, 'data')
  assert.equal(pendingAfter('hi'), false, 'after data')
  assert.equal(pendingAfter('\r'), true, 'half a line end')
  assert.equal(pendingAfter('\n0'), true, 'the last chunk line')
  assert.equal(pendingAfter('\r\n'), true, 'trailers')
  assert.equal(pendingAfter('\r\n'), false, 'between requests')
  assert.equal(reader.end(), true)
})

test('the methods asked are those of the requests that the heads answer', () => {
  const methods = ['HEAD', 'GET']
  const reader = new ResponseReader(() => methods.shift() ?? assert.fail('asked too often'))
  const answer = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n'
  assert.equal(follow(reader, [Buffer.from(`${answer}${answer}hi`)]).verdict, '200 none && 200 length hi')
})

test('limits are options', () => {
  const text = 'GET /aaaaaaaaaa HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n'
  const status = (limits: ConstructorParameters<typeof RequestReader>[0]) =>
    follow(new RequestReader(limits), [Buffer.from(text)]).refusal?.status
  assert.equal(status({ headBytes: text.length }), undefined)
  assert.equal(status({ headBytes: text.length - 1 }), 431)
  assert.equal(status({ fields: 1 }), 431)
  assert.equal(status({ requestLineBytes: 23 }), 414)
})
