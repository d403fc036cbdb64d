/**
 * Two Duplexes become one. Each end of data is passed on alone (half-close), so a side may finish sending and
 * still read its answer. Anything else that ends one side is a cut, and the other side is told by a reset: a body
 * that was cut never looks whole.
 */
import type { Duplex } from 'node:stream'
import { cut, wasReset } from './lib/ending.ts'

/** Joins `a` and `b`, which it then owns. Settles when both are closed; never rejects. */
export function join(a: Duplex, b: Duplex): Promise<void> {
  return new Promise((resolve) => {
    let open = 2
    const onClosed = () => --open > 0 || resolve()
    flow(a, b)
    flow(b, a)
    watch(a, b, onClosed)
    watch(b, a, onClosed)
  })
}

function flow(from: Duplex, to: Duplex): void {
  from.on('data', (bytes: Buffer) => {
    if (!to.write(bytes)) from.pause()
  })
  to.on('drain', () => from.resume())
  const onEnd = () => (wasReset(from) ? cut(to) : to.end())
  if (from.readableEnded) onEnd()
  else from.on('end', onEnd)
  // It may come paused, from whoever had it before.
  if (!to.writableNeedDrain) from.resume()
}

/** Tells when `one` has closed; unless it had said and heard everything, `other` is cut then. */
function watch(one: Duplex, other: Duplex, onClosed: () => void): void {
  one.on('error', () => cut(other))
  const onClose = () => {
    if (!one.readableEnded || !one.writableFinished) cut(other)
    onClosed()
  }
  if (one.closed) onClose()
  else one.on('close', onClose)
}
