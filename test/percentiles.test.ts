import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Durations } from '../lib/announce/display/percentiles.ts'

const MINUTE = 60_000

function clocked(): { durations: Durations; clock: { ms: number } } {
  const clock = { ms: 1_000_000 }
  return { durations: new Durations(() => clock.ms), clock }
}

/** Within a bar of the histogram. */
function assertNear(ms: number | undefined, expected: number): void {
  assert.ok(ms !== undefined && Math.abs(ms / expected - 1) < 0.05, `expected about ${expected}, got ${ms}`)
}

test('without a request there is nothing to say', () => {
  const { durations } = clocked()
  assert.deepEqual(durations.times(), { rt1: undefined, rt5: undefined, p50: undefined, p90: undefined })
})

test('the means are exact: of the last minute, and of the last five', () => {
  const { durations, clock } = clocked()
  durations.add(100)
  clock.ms += 2 * MINUTE
  durations.add(10)
  durations.add(40)
  const { rt1, rt5 } = durations.times()
  assert.equal(rt1, 25)
  assert.equal(rt5, 50)
})

test('a minute later the last minute is forgotten, and after five all is', () => {
  const { durations, clock } = clocked()
  durations.add(7)
  clock.ms += MINUTE
  assert.equal(durations.times().rt1, undefined)
  assert.equal(durations.times().rt5, 7)
  clock.ms += 4 * MINUTE
  assert.deepEqual(durations.times(), { rt1: undefined, rt5: undefined, p50: undefined, p90: undefined })
  durations.add(9)
  assert.equal(durations.times().rt5, 9)
})

test('a clock that jumps by hours leaves nothing old behind', () => {
  const { durations, clock } = clocked()
  for (let i = 0; i < 30; i++, clock.ms += 10_000) durations.add(1)
  clock.ms += 5 * 60 * MINUTE
  durations.add(1000)
  assert.equal(durations.times().rt5, 1000)
  assertNear(durations.times().p90, 1000)
})

test('percentiles are those of a sorted list, within 5 %', () => {
  const some = fc.array(fc.double({ min: 0.02, max: 3_600_000, noNaN: true }), {
    minLength: 1,
    maxLength: 200,
  })
  fc.assert(
    fc.property(some, (times) => {
      const { durations } = clocked()
      for (const ms of times) durations.add(ms)
      const sorted = times.toSorted((a, b) => a - b)
      const { p50, p90 } = durations.times()
      assertNear(p50, sorted[Math.ceil(times.length * 0.5) - 1] ?? 0)
      assertNear(p90, sorted[Math.ceil(times.length * 0.9) - 1] ?? 0)
    }),
  )
})

test('times no clock can tell from nothing, and those of days, are counted all the same', () => {
  const { durations } = clocked()
  durations.add(0)
  assert.ok((durations.times().p50 ?? 1) <= 0.01)
  for (let i = 0; i < 9; i++) durations.add(1e9)
  assert.ok((durations.times().p90 ?? 0) > 3_600_000)
})
