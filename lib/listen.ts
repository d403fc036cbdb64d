/** Listening, and what is common to things that listen and can be closed. */
import { once } from 'node:events'
import type { AddressInfo, Server } from 'node:net'
import { codeOf, TunnelError } from './errors.ts'

/** Connections that wait to be accepted: the clients of a server that starts anew come all at once. */
const BACKLOG = 4_096

/**
 * What connections are that may be silent for days: an end of one side ends only that, and a peer whose network is gone is
 * noticed 40 s after its last word, by TCP itself (RFC 9293 section 3.8.4).
 */
export const lasting = {
  allowHalfOpen: true,
  noDelay: true,
  keepAlive: true,
  keepAliveInitialDelay: 30_000,
}

/** Settles when `listener` listens; rejects with `cannot-listen`, which says what to do, or `usage`. */
export async function listen(listener: Server, port: number, bind: string): Promise<AddressInfo> {
  if (!Number.isInteger(port) || port < 0 || port > 65535)
    throw new TunnelError('usage', `expected a port from 0 to 65535, got ${JSON.stringify(port)}`)
  listener.listen({ port, host: bind.replace(/^\[(.*)\]$/, '$1'), backlog: BACKLOG })
  try {
    await once(listener, 'listening')
  } catch (error) {
    const message = `expected to listen on ${bind}:${port}, got ${codeOf(error)}; ${cures[codeOf(error)] ?? 'try another -b'}`
    throw new TunnelError('cannot-listen', message, { cause: error })
  }
  return listener.address() as AddressInfo
}

const cures: Record<string, string> = {
  EADDRINUSE: 'it is in use: stop what uses it, or choose another port with -p',
  EACCES: 'ports below 1024 need rights: choose a higher one with -p',
  EADDRNOTAVAIL: 'no such address on this machine: choose another with -b',
  ENOTFOUND: 'no such address: choose another with -b',
}

/** Calls `close` when `signal` aborts, at once if it has; forgets the signal when `closed` settles. */
export function onAbort(
  signal: AbortSignal | undefined,
  close: () => unknown,
  closed: Promise<unknown>,
): void {
  if (signal === undefined) return
  if (signal.aborted) close()
  signal.addEventListener('abort', close, { once: true })
  const forget = () => signal.removeEventListener('abort', close)
  closed.then(forget, forget)
}
