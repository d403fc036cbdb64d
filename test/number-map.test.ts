import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { NumberMap } from '../lib/number-map.ts'

const number = fc.nat({ max: 20 })
const step = fc.oneof(
  fc.record({ act: fc.constant('set' as const), key: number, value: fc.option(number, { nil: undefined }) }),
  fc.record({ act: fc.constant('delete' as const), key: number }),
  fc.record({ act: fc.constant('get' as const), key: number }),
  fc.record({ act: fc.constant('clear' as const) }),
)

test('it gives what a Map would give, whatever comes and goes', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
      const [map, oracle] = [new NumberMap<number | undefined>(), new Map<number, number | undefined>()]
      for (const step of steps) {
        if (step.act === 'set') {
          map.set(step.key, step.value)
          oracle.set(step.key, step.value)
        } else if (step.act === 'delete') assert.equal(map.delete(step.key), oracle.delete(step.key))
        else if (step.act === 'get') assert.equal(map.get(step.key), oracle.get(step.key))
        else {
          map.clear()
          oracle.clear()
        }
        assert.equal(map.size, oracle.size)
      }
      const byNumber = [...oracle].sort(([one], [other]) => one - other)
      assert.deepEqual(
        map.values(),
        byNumber.map(([, value]) => value),
      )
    }),
  )
})

test('numbers as large as an id can be are told apart', () => {
  const map = new NumberMap<string>()
  const ids = [0, 1, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 2, 2 ** 32 - 1, Number.MAX_SAFE_INTEGER]
  for (const id of ids) map.set(id, `${id}`)
  for (const id of ids) assert.equal(map.get(id), `${id}`)
  assert.equal(map.size, ids.length)
  for (const id of ids) assert.equal(map.delete(id), true)
  assert.deepEqual(map.values(), [])
})

test('it may be changed while its values are walked', () => {
  const map = new NumberMap<number>()
  for (let n = 0; n < 5; n++) map.set(n, n)
  const seen = []
  for (const value of map.values()) {
    seen.push(value)
    map.delete(value)
    map.delete(value + 1)
    map.set(value + 10, value)
  }
  assert.deepEqual(seen, [0, 1, 2, 3, 4])
  assert.deepEqual(map.values(), [0, 1, 2, 3, 4])
})

test('what it does not have it does not give', () => {
  const map = new NumberMap<string>()
  assert.deepEqual([map.get(1), map.delete(1), map.size, map.values()], [undefined, false, 0, []])
})
