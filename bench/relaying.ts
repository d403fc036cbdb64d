/** The relay, a process of its own: `relaying.js TARGET_PORT DELAY_MS BYTES_PER_MS`. Prints the port it listens on. */
import { startRelay } from './relay.ts'

const [target = NaN, delayMs = NaN, bytesPerMs = NaN] = process.argv.slice(2).map(Number)
console.log((await startRelay(target, { delayMs, bytesPerMs })).port)
