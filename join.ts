/**
 * Two Duplexes become one. Each end of data is passed on alone (half-close), so a side may finish sending and
 * still read its answer. Anything else that ends one side is a cut, and the other side is told by a reset: a body
 * that was cut never looks whole.
 */
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'

const FAREWELL_MS = 5_000

/** Joins `a` and `b`, which it then owns. Settles when both are closed; never rejects. */
export async function join(a: Duplex, b: Duplex): Promise<void> {
  flow(a, b)
  flow(b, a)
  await Promise.all([closing(a, b), closing(b, a)])
}

function flow(from: Duplex, to: Duplex): void {
  from.on('data', (bytes: Buffer) => {
    if (!to.write(bytes)) from.pause()
  })
  to.on('drain', () => from.resume())
  if (from.readableEnded) to.end()
  else from.once('end', () => to.end())
}

/** Settles when `one` has closed; unless it had said and heard everything, `other` is cut then. */
function closing(one: Duplex, other: Duplex): Promise<void> {
  return new Promise((resolve) => {
    one.on('error', () => cut(other))
    one.once('close', () => {
      if (!one.readableEnded || !one.writableFinished) cut(other)
      resolve()
    })
  })
}

/** Ends a Duplex so that its peer can tell it from a clean end: RST on a TCP socket and on a channel. */
export function cut(end: Duplex): void {
  if (end instanceof Socket) end.resetAndDestroy()
  else end.destroy()
}

/**
 * Ends a Duplex cleanly: what was written arrives, what still comes is thrown away, and a peer that does not close
 * is cut after 5 s. Closing at once instead would make TCP reset the connection and lose the last answer
 * (RFC 9112 section 9.6).
 */
export function farewell(end: Duplex): void {
  if (end.destroyed) return
  const timer = setTimeout(() => end.destroy(), FAREWELL_MS).unref()
  end.once('close', () => clearTimeout(timer))
  end
    .removeAllListeners('data')
    .on('error', () => undefined)
    .resume()
    .end()
}
