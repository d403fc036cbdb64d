import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { RequestRecord } from '../lib/api.ts'
import { jsonLine, requestLine } from '../lib/log.ts'

const record: RequestRecord = {
  at: new Date(2026, 0, 1, 14, 5, 59),
  method: 'GET',
  path: '/a?b=c',
  status: 200,
  durationMs: 12.3,
  requestBytes: 0,
  answerBytes: 1536,
}

test('a request is one line, with the name of its tunnel where there are several', () => {
  assert.equal(requestLine(record), '14:05:59 GET /a?b=c 200 12 ms 1.5 kB')
  assert.equal(
    requestLine({ ...record, status: undefined }, 'api'),
    '14:05:59 api GET /a?b=c no answer 12 ms 1.5 kB',
  )
})

test('nothing in that line moves the cursor', () => {
  const line = requestLine({ ...record, path: '/\x1b[2J\r\n\x9b\u202e', method: 'A\x07' })
  assert.equal(line, '14:05:59 A\\x07 /\\x1b[2J\\x0d\\x0a\\x9b\\u{202e} 200 12 ms 1.5 kB')
})

test('no character of a JSON line can move a cursor, and each comes back as it was', () => {
  const all = Array.from({ length: 0x10000 }, (_, code) => String.fromCharCode(code)).join('') + '\u{e0001}🎉'
  const line = jsonLine({ event: 'closed', url: all })
  assert.doesNotMatch(line, /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u)
  assert.equal((JSON.parse(line) as { url: string }).url, all)
})
