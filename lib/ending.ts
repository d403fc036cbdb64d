/** The ways to end a Duplex so that its peer knows which it was: a cut, or a farewell. */
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { Deadline } from './deadline.ts'

const FAREWELL_MS = 5_000
const TURNED_AWAY_MS = 1_000
/** What a peer may still send after its farewell: what was on its way, not all it has. */
const DISCARDED_BYTES = 1024 * 1024

/** Ends a Duplex so that its peer can tell it from a clean end: RST on a TCP socket and on a channel. */
export function cut(end: Duplex): void {
  // While its FIN is on the way libuv refuses to reset a socket, and Node then never closes it. All was said by then.
  const isEnding = end.writableEnded && end.writableLength === 0 && !end.writableFinished
  if (end instanceof Socket && !isEnding) end.resetAndDestroy()
  else end.destroy()
}

/**
 * Whether a socket that tells of its end was in truth reset. libuv takes a reset that comes together with the last data
 * for an end; but then the system no longer knows the peer. It cannot be told once our own end was sent, after which the
 * system forgets the peer anyway, nor where somebody asked for the address before, which Node remembers. A unix socket
 * has no address on either side.
 */
export function wasReset(end: Duplex): boolean {
  if (!(end instanceof Socket) || end.writableEnded) return false
  return end.remoteAddress === undefined && end.localAddress !== undefined
}

/**
 * Ends a Duplex cleanly: what was written arrives, what still comes is thrown away, up to 1 MiB, and a peer that has it all
 * and does not close is cut after 5 s. Closing at once instead would make TCP reset the connection and lose the last answer
 * (RFC 9112 section 9.6).
 */
export function farewell(end: Duplex, lastWords?: Buffer): void {
  if (end.destroyed) return
  end.removeAllListeners('data').on('error', ignore)
  if (end.writableFinished) beginLeaving.call(end)
  else end.on('finish', beginLeaving)
  end.on('data', discard).resume().end(lastWords)
}

/** How much was thrown away; it stands with the end, so that all share one listener. */
const DISCARDED = Symbol('discarded')

function discard(this: Duplex & { [DISCARDED]?: number }, { length }: Buffer): void {
  this[DISCARDED] = (this[DISCARDED] ?? 0) + length
  if (this[DISCARDED] > DISCARDED_BYTES) this.pause()
}

/** A farewell to a peer that may also not read: after 5 s it is cut, whatever was not taken. */
export function dismiss(end: Duplex): void {
  if (end.destroyed) return
  beginLeaving.call(end)
  farewell(end)
}

/** The end of a peer that broke the rules: it has a second to read why, and nothing that it sends is read any more. */
export function turnAway(end: Duplex): void {
  if (end.destroyed) return
  end.removeAllListeners('data').on('error', ignore).pause().end()
  // A socket that is not read keeps no process alive, and this end is not the last thing that somebody waits for.
  const timer = setTimeout(() => end.destroy(), TURNED_AWAY_MS)
  end.on('close', () => clearTimeout(timer))
}

const leaving = new Deadline<Duplex>(FAREWELL_MS, (end) => end.destroy())

function beginLeaving(this: Duplex): void {
  const ticket = leaving.begin(this)
  this.on('close', () => leaving.end(ticket))
}

const ignore = () => undefined
