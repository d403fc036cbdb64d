import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { TunnelError } from '../lib/errors.ts'
import { encodeHeader, FrameReader } from '../lib/mux/frames.ts'
import type { Frame } from '../lib/mux/frames.ts'
import { data, frame, GOAWAY, PING, SYN, UPDATE } from './attacker.ts'

/** What a sink sees, with the pieces of each payload put together. */
class Seen {
  frames: Frame[] = []
  payloads: string[] = []
  ends = 0
  onFrame(came: Frame): void {
    assert.equal(this.ends, this.payloads.length, 'a header came before the payload before it had ended')
    this.frames.push({ ...came })
    if (came.type === 0) this.payloads.push('')
  }
  onPayload(_frame: Frame, bytes: Buffer, isLast: boolean): void {
    this.payloads[this.payloads.length - 1] += bytes.toString('latin1')
    if (isLast) this.ends++
  }
}

function read(...pieces: Uint8Array[]): Seen {
  const seen = new Seen()
  const reader = new FrameReader(seen)
  for (const piece of pieces) reader.read(Buffer.from(piece))
  return seen
}

const wire = Buffer.concat([
  frame(UPDATE, SYN, 2, 0),
  data(2, 'hello, frames'),
  data(2, ''),
  frame(PING, SYN, 0, 0xfffffffe),
  data(0xfffffffe, 'x', 4),
  frame(GOAWAY, 0, 0, 1),
])

test('reads a header the way the specification lays it out', () => {
  const [first] = read(Buffer.from('000200030000000400000005', 'hex')).frames
  assert.deepEqual(first, { type: 2, flags: 3, id: 4, length: 5 })
})

test('writes a header the way the specification lays it out', () => {
  assert.equal(encodeHeader(1, 0x0102, 0xffffffff, 0x80000000).toString('hex'), '00010102ffffffff80000000')
})

test('reads the same frames wherever the bytes are split in two', () => {
  const whole = read(wire)
  assert.equal(whole.frames.length, 6)
  assert.deepEqual(whole.payloads, ['hello, frames', '', 'x'])
  for (let at = 0; at <= wire.length; at++) {
    assert.deepEqual(read(wire.subarray(0, at), wire.subarray(at)), whole, `split at ${at}`)
  }
})

test('reads the same frames one byte at a time', () => {
  const bytes = [...wire].map((byte) => Buffer.of(byte))
  assert.deepEqual(read(...bytes), read(wire))
})

test('reads any frames the same however they are cut', () => {
  const anyFrame = fc
    .tuple(fc.integer({ min: 0, max: 3 }), fc.nat(0xffff), fc.nat(0xffffffff), fc.string({ maxLength: 40 }))
    .map(([type, flags, id, text]) =>
      type === 0 ? data(id, Buffer.from(text), flags) : frame(type, flags, id, text.length),
    )
  fc.assert(
    fc.property(fc.array(anyFrame, { maxLength: 8 }), fc.array(fc.nat(200)), (frames, cuts) => {
      const bytes = Buffer.concat(frames)
      const ends = [...cuts.filter((cut) => cut < bytes.length).sort((a, b) => a - b), bytes.length]
      const pieces = ends.map((end, index) => bytes.subarray(ends[index - 1] ?? 0, end))
      assert.deepEqual(read(...pieces), read(bytes))
    }),
  )
})

test('hands payload on as it comes, whatever length was claimed, and holds none of it', () => {
  const seen = new Seen()
  const reader = new FrameReader(seen)
  reader.read(frame(0, 0, 2, 0xffffffff))
  assert.deepEqual(seen.frames, [{ type: 0, flags: 0, id: 2, length: 0xffffffff }])
  for (let index = 0; index < 3; index++) {
    reader.read(Buffer.from('abc'))
    assert.equal(seen.payloads[0], 'abc'.repeat(index + 1))
  }
  assert.equal(seen.ends, 0)
})

test('a data frame without payload is told once, as complete', () => {
  const seen = read(data(2, '', 4))
  assert.deepEqual([seen.frames.length, seen.payloads, seen.ends], [1, [''], 1])
})

test('a version other than 0 is a protocol violation, also when the header came in pieces', () => {
  const bad = frame(PING, SYN, 0, 1)
  bad[0] = 1
  const violation = (error: unknown) => error instanceof TunnelError && error.code === 'protocol-violation'
  assert.throws(() => read(bad), violation)
  assert.throws(() => read(bad.subarray(0, 5), bad.subarray(5)), violation)
})
