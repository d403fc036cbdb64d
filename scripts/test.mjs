// Runs the built tests: first those that may share the cores, then those that load the machine or watch the clock, two
// files at a time, and last, one after the other, those that measure time or memory to the last tenth.
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'

const inPairs = /^(heartbeat|latency|limits|mux-attacks|netns|vhost-attacks)\.test\.js$/
const alone = /^(http-hostile|leaks|storm)\.test\.js$/
const files = readdirSync('build/test').filter((file) => file.endsWith('.test.js'))

function run(concurrency, some) {
  const args = ['--test', `--test-concurrency=${concurrency}`, ...some.map((file) => `build/test/${file}`)]
  return spawnSync(process.execPath, args, { stdio: 'inherit' }).status === 0
}

const sharing = files.filter((file) => !inPairs.test(file) && !alone.test(file))
const results = [
  run(3, sharing),
  run(
    2,
    files.filter((file) => inPairs.test(file)),
  ),
  run(
    1,
    files.filter((file) => alone.test(file)),
  ),
]
process.exitCode = results.every(Boolean) ? 0 : 1
