import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { RequestReader } from '../lib/http/reader.ts'
import { cutter, mutation, pipeline, type Sent } from './fixtures/http-arbitrary.ts'
import { decodeChunked, drip, follow } from './fixtures/http-follow.ts'

const seed = Number(process.env['FUZZ_SEED'] ?? Date.now() % 2 ** 31)
const numRuns = Number(process.env['FUZZ_RUNS'] ?? 500)
console.log(`FUZZ_SEED=${seed} FUZZ_RUNS=${numRuns}`)

function wire(sent: readonly Sent[]): Buffer {
  return Buffer.from(sent.map(({ head, body }) => head + body).join(''), 'latin1')
}

test('however a pipeline is cut, its messages and bytes are those that were sent', () => {
  const property = fc.property(pipeline, cutter, (sent, cut) => {
    const bytes = wire(sent)
    const { refusal, forwarded, bodies } = follow(new RequestReader(), cut(bytes))
    assert.equal(refusal, undefined)
    assert.ok(forwarded.equals(bytes))
    assert.deepEqual(
      bodies.map((body) => body.toString('latin1')),
      sent.map(({ body }) => body),
    )
    sent.forEach(({ framing, data, body }) => {
      if (framing === 'chunked') assert.equal(decodeChunked(Buffer.from(body, 'latin1')), data)
    })
  })
  fc.assert(property, { seed, numRuns })
})

test('however a damaged pipeline is cut, it is read or refused the same', () => {
  const property = fc.property(pipeline, mutation, cutter, (sent, mutate, cut) => {
    const bytes = Buffer.from(mutate(wire(sent).toString('latin1')), 'latin1')
    const whole = follow(new RequestReader(), [bytes])
    for (const pieces of [cut(bytes), drip(bytes)]) {
      const other = follow(new RequestReader(), pieces)
      assert.equal(other.verdict, whole.verdict)
      assert.equal(other.refusal?.message, whole.refusal?.message)
    }
    if (whole.refusal === undefined && !whole.verdict.endsWith('cut'))
      assert.ok(
        bytes
          .toString('latin1')
          .replaceAll('\r\n', '')
          .includes(whole.forwarded.toString('latin1').replaceAll('\r\n', '')),
      )
  })
  fc.assert(property, { seed, numRuns })
})

test('what passed once, passes again and is read the same', () => {
  const property = fc.property(pipeline, mutation, (sent, mutate) => {
    const bytes = Buffer.from(mutate(wire(sent).toString('latin1')), 'latin1')
    const first = follow(new RequestReader(), [bytes])
    if (first.refusal) return
    const second = follow(new RequestReader(), [first.forwarded])
    assert.equal(second.verdict.replace(/( && |^)cut$/, ''), first.verdict.replace(/( && |^)cut$/, ''))
  })
  fc.assert(property, { seed, numRuns })
})
