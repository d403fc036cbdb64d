import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { availableParallelism } from 'node:os'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'

const seed = Number(process.env['FUZZ_SEED'] ?? Date.now() % 2 ** 31)
const count = Number(process.env['FUZZ_REQUESTS'] ?? 100_000)
const processes = Math.min(4, availableParallelism())

test(`of ${count} requests in random pipelines to two tunnels none gets a foreign answer`, async (t) => {
  t.diagnostic(`FUZZ_SEED=${seed} FUZZ_REQUESTS=${count}`)
  const began = performance.now()
  const share = Math.ceil(count / processes)
  const seeds = Array.from({ length: processes }, (_, n) => seed + n * 1_000_000)
  const counts = await Promise.all(seeds.map((seed) => fuzzInProcess(t, share, seed)))
  const asked = counts.reduce((sum, one) => sum + one)
  const seconds = (performance.now() - began) / 1000
  t.diagnostic(`${asked} requests in ${seconds.toFixed(1)} s, 0 wrong`)
  assert.ok(asked >= count)
})

/** Runs fuzz-pipelines.ts, says how many requests it asked; rejects with what it said when one went wrong. */
async function fuzzInProcess(t: TestContext, runs: number, seed: number): Promise<number> {
  const file = fileURLToPath(new URL(`./fuzz-pipelines${import.meta.url.slice(-3)}`, import.meta.url))
  const child = fork(file, ['--runs', String(runs), '--seed', String(seed)], { silent: true })
  t.after(() => child.kill('SIGKILL'))
  let said = ''
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding('utf8').on('data', (text: string) => (said += text))
  const [code] = (await once(child, 'close')) as [number | null]
  assert.equal(code, 0, `--runs ${runs} --seed ${seed}:\n${said}`)
  return Number(/(\d+) requests asked, 0 wrong\s*$/.exec(said)?.[1])
}
