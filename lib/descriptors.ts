/**
 * How many files and sockets this process may have open. Limits that add up to less answer a crowd with a sentence;
 * a process that has run out of descriptors can only close what comes.
 */
import { readFileSync } from 'node:fs'

/** What a process has open for itself before anybody comes, and some to spare. */
const OWN = 32

/** Those that are left for connections. Read anew each time; Infinity where the system does not say (it does on Linux). */
export function descriptorLimit(): number {
  try {
    const limit = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]
    return limit === undefined ? Infinity : Math.max(0, Number(limit) - OWN)
  } catch {
    return Infinity
  }
}
