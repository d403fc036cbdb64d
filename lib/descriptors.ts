/**
 * How many files and sockets this process may have open. Limits that add up to less answer a crowd with a sentence;
 * a process that has run out of descriptors can only close what comes.
 */
import { readFileSync } from 'node:fs'

/** Read anew each time; Infinity where the system does not say (it does on Linux). */
export function descriptorLimit(): number {
  try {
    const limit = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]
    return limit === undefined ? Infinity : Number(limit)
  } catch {
    return Infinity
  }
}
