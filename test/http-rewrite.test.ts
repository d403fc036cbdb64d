import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RequestReader, ResponseReader } from '../lib/http/reader.ts'
import { rewriteHead } from '../lib/http/rewrite.ts'

function read(text: string) {
  const reader = new RequestReader()
  reader.read(Buffer.from(text, 'latin1'))
  return reader.head ?? assert.fail('no head')
}

const keep = () => false
const odd = 'GET /?a=[] HTTP/1.1\r\nhOsT:a\r\nX-A:  b \t\r\nx-a:\r\nY: \xe4\r\n\r\n'

test('nothing dropped and nothing added is byte for byte what came', () => {
  assert.equal(rewriteHead(read(odd), keep, []).toString('latin1'), odd)
})

test('every field that is picked goes, whatever its case, and only those', () => {
  const rewritten = rewriteHead(read(odd), (name) => name === 'x-a', [])
  assert.equal(rewritten.toString('latin1'), 'GET /?a=[] HTTP/1.1\r\nhOsT:a\r\nY: \xe4\r\n\r\n')
})

test('fields are picked by their values too', () => {
  const rewritten = rewriteHead(read(odd), (_, value) => value === 'b', [])
  assert.equal(rewritten.toString('latin1'), odd.replace('X-A:  b \t\r\n', ''))
})

test('added fields stand at the end in their order', () => {
  const rewritten = rewriteHead(read('GET / HTTP/1.1\r\nHost: a\r\n\r\n'), keep, [
    ['X-B', '1'],
    ['X-A', '\xff'],
  ])
  assert.equal(rewritten.toString('latin1'), 'GET / HTTP/1.1\r\nHost: a\r\nX-B: 1\r\nX-A: \xff\r\n\r\n')
})

test('an added field cannot become two lines, nor a line feed by losing its high byte', () => {
  for (const value of ['a\r\nX: y', 'a\nb', 'a\rb', 'a\0b', '\u560a', '\u{1f600}'])
    assert.throws(
      () => rewriteHead(read('GET / HTTP/1.1\r\nHost: a\r\n\r\n'), keep, [['X', value]]),
      TypeError,
    )
})

test('an answer is rewritten the same way', () => {
  const reader = new ResponseReader(() => 'GET')
  reader.read(Buffer.from('HTTP/1.1 200\r\nServer: x\r\n\r\n'))
  const rewritten = rewriteHead(reader.head ?? assert.fail(), (name) => name === 'server', [['Via', '1.1 x']])
  assert.equal(rewritten.toString('latin1'), 'HTTP/1.1 200\r\nVia: 1.1 x\r\n\r\n')
})
