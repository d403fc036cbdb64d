/**
 * How a server stops: no new connections, requests under way finish, and only then the sessions end (some yamux peers
 * cut every channel at a goodbye). The clients redial at once, and find the server that comes after.
 */
import type { Server, Socket } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import { LONGEST_MS } from './deadline.ts'
import { dismiss } from './ending.ts'
import { onAbort } from './listen.ts'
import { visitorOf } from './vhost/visitor.ts'

export interface Drained {
  listener: Server
  door: { admitted: () => Socket[]; emptied: () => Promise<void> }
  /** Their own order: what waits, what is open, what is to be written. */
  names: { close(): void }
  sessions: ReadonlySet<{ close(): void }>
  state: { saved(): Promise<void> }
}

/** A connection that is not known or not secured yet. */
function nobody(socket: Socket): { dismiss(): void } {
  return { dismiss: () => socket.destroy() }
}

export interface DrainOptions {
  /** For requests under way to finish; default 10,000. */
  graceMs?: number | undefined
  /** Aborting it closes. */
  signal?: AbortSignal | undefined
}

/** `close` may be called again; both settle when everything has closed. */
export function drain(
  { listener, door, names, sessions, state }: Drained,
  { graceMs = 10_000, signal }: DrainOptions,
): { close: () => Promise<void>; closed: Promise<void> } {
  const closed = new Promise<void>((resolve) => listener.once('close', resolve)).then(() => state.saved())
  let closing: Promise<void> | undefined

  async function leave(): Promise<void> {
    // A connection that is not read keeps no process alive, and the end is still to be seen.
    const alive = setInterval(() => undefined, LONGEST_MS)
    void closed.finally(() => clearInterval(alive))
    listener.close()
    names.close()
    for (const socket of door.admitted()) (visitorOf(socket) ?? nobody(socket)).dismiss()
    await Promise.race([door.emptied(), setTimeout(Math.min(graceMs, LONGEST_MS), undefined, { ref: false })])
    for (const session of sessions) session.close()
    // Not before the visits have cut what is now only half an answer.
    setImmediate(() => door.admitted().forEach(dismiss))
    await closed
  }

  const close = () => (closing ??= leave())
  onAbort(signal, close, closed)
  return { close, closed }
}
