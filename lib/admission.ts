/** How many public connections there may be, in all and from one address. */
import type { Socket } from 'node:net'
import { TunnelError } from './errors.ts'

export interface AdmissionOptions {
  /** Public connections at once; default 20,000. */
  maxConnections?: number
  /** Of them, from one address; default 2,000, and no limit for loopback and trusted proxies. */
  maxConnectionsPerAddress?: number
}

export interface Admission {
  /** Counts a new connection, or says why it must be refused. */
  admit: (socket: Socket) => TunnelError | undefined
  /** An admitted connection has closed. */
  leave: (socket: Socket) => void
}

export function admission(options: AdmissionOptions, trusts: (address: string) => boolean): Admission {
  const { maxConnections = 20_000, maxConnectionsPerAddress } = options
  const counts = new Map<string, number>()
  let total = 0

  const mostFrom = (address: string) =>
    maxConnectionsPerAddress ?? (/^(::ffff:)?127\.|^::1$/.test(address) || trusts(address) ? Infinity : 2_000)

  const admit = ({ remoteAddress: address = '' }: Socket) => {
    const count = counts.get(address) ?? 0
    if (total >= maxConnections) return full('the server has', maxConnections)
    if (count >= mostFrom(address)) return full(`${address} has`, count)
    total += 1
    counts.set(address, count + 1)
    return undefined
  }

  const leave = ({ remoteAddress: address = '' }: Socket) => {
    const left = (counts.get(address) ?? 1) - 1
    total -= 1
    if (left > 0) counts.set(address, left)
    else counts.delete(address)
  }

  return { admit, leave }
}

function full(who: string, connections: number): TunnelError {
  return new TunnelError(
    'server-full',
    `${who} ${connections} connections, and may have no more; try again later`,
  )
}
