/** Asking again and again, where an answer is to change in a moment. */
import assert from 'node:assert/strict'
import type { RequestOptions } from 'node:http'
import { ask } from './helpers.ts'

const DEADLINE_MS = 10_000

/** Asks until the answer has this status; gives what was told before, statuses and codes of errors. */
export async function askUntil(
  status: number,
  way: { port: number; host: string },
  options: RequestOptions = {},
): Promise<(number | string)[]> {
  const told: (number | string)[] = []
  for (const from = performance.now(); performance.now() - from < DEADLINE_MS;) {
    const answer = await ask(way, options).catch(
      (error: NodeJS.ErrnoException) => error.code ?? error.message,
    )
    const came = typeof answer === 'string' ? answer : answer.status
    if (came === status) return told
    told.push(came)
  }
  throw new assert.AssertionError({ message: `expected ${status}, got ${[...new Set(told)].join(', ')}` })
}
