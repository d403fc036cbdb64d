import assert from 'node:assert/strict'
import { test } from 'node:test'
import { confirmRequest, confirmResponse } from '../lib/http/parser.ts'

const raw = Buffer.from('GET /x HTTP/1.1\r\nHost: a\r\n\r\n')
const host = { name: 'Host', value: 'a' }
const disagreement = { code: 'bad-request', message: /two parsers read alike/ }

test('a head that http-parser-js reads alike is confirmed', () => {
  confirmRequest(raw, { method: 'GET', target: '/x', fields: [host] })
  confirmResponse(Buffer.from('HTTP/1.1 204 x\r\n\r\n'), { status: 204, fields: [] })
})

test('a head that http-parser-js reads in another way is refused', () => {
  const refused = (head: Parameters<typeof confirmRequest>[1]) =>
    assert.throws(() => confirmRequest(raw, head), disagreement)
  refused({ method: 'PUT', target: '/x', fields: [host] })
  refused({ method: 'GET', target: '/y', fields: [host] })
  refused({ method: 'GET', target: '/x', fields: [] })
  refused({ method: 'GET', target: '/x', fields: [host, host] })
  refused({ method: 'GET', target: '/x', fields: [{ name: 'host', value: 'a' }] })
  refused({ method: 'GET', target: '/x', fields: [{ name: 'Host', value: 'b' }] })
  const answer = Buffer.from('HTTP/1.1 204 x\r\n\r\n')
  assert.throws(() => confirmResponse(answer, { status: 200, fields: [] }), disagreement)
})

test('after a head that http-parser-js cannot read, the next is read as if nothing had been', () => {
  for (const bad of [
    'GET /x HTTP/1.1\r\nHost: a\r\n',
    'x\r\n\r\n',
    'GET /x HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n',
  ]) {
    const head = { method: 'GET', target: '/x', fields: [host] }
    assert.throws(() => confirmRequest(Buffer.from(bad), head), disagreement)
    confirmRequest(raw, head)
  }
})
