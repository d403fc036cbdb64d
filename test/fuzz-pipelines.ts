/** Random pipelines for as long as you like: `npm run fuzz -- --runs 1000000 --seed 1`. */
import { parseArgs } from 'node:util'
import { fuzz, startGround } from './fuzz.ts'

const { values } = parseArgs({ options: { runs: { type: 'string' }, seed: { type: 'string' } } })
const runs = Number(values.runs ?? 100_000)
const slice = 25_000

const ground = await startGround()
let [asked, seed] = [0, Number(values.seed ?? Date.now() % 2 ** 31)]
for (; asked < runs; seed += 1000) {
  console.log(`--seed ${seed}: ${asked} of ${runs} requests asked, 0 wrong`)
  asked += await fuzz(ground, Math.min(slice, runs - asked), seed)
}
console.log(`${asked} requests asked, 0 wrong`)
await ground.close()
