// Runs the built tests: first those that may share the cores, then, one file after the other, those that measure time or
// memory and must have the machine for themselves.
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'

const alone =
  /^(mux-attacks|vhost-attacks|http-hostile|leaks|storm|latency|limits|netns|heartbeat)\.test\.js$/
const files = readdirSync('build/test').filter((file) => file.endsWith('.test.js'))

function run(concurrency, some) {
  const args = ['--test', `--test-concurrency=${concurrency}`, ...some.map((file) => `build/test/${file}`)]
  return spawnSync(process.execPath, args, { stdio: 'inherit' }).status === 0
}

const results = [
  run(
    2,
    files.filter((file) => !alone.test(file)),
  ),
  run(
    1,
    files.filter((file) => alone.test(file)),
  ),
]
process.exitCode = results.every(Boolean) ? 0 : 1
