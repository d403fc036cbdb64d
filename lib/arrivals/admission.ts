/** Which public connections there are, and how many there may be, in all and from one address. */
import type { Socket } from 'node:net'
import { isLoopback } from '../address.ts'
import { descriptorLimit } from '../descriptors.ts'
import { TunnelError } from '../errors.ts'
import { NumberMap } from '../number-map.ts'

export interface AdmissionOptions {
  /** Public connections at once; default 20,000, or three quarters of the descriptors. */
  maxConnections?: number
  /** Of them, from one address; default 2,000, and no limit for loopback and trusted proxies. */
  maxConnectionsPerAddress?: number
  /** Told when there are more than 1,000 public connections, and when there are not half as many. */
  onCrowd?: (isCrowd: boolean) => void
}

const CROWD = 1_000

export interface Admission {
  /** Counts a new connection until it closes, or says why it must be refused. */
  admit: (socket: Socket) => TunnelError | undefined
  /** `secured` takes the place of the socket that it wraps. */
  replace: (socket: Socket, secured: Socket) => void
  /** No longer a public connection: it became a session. */
  release: (socket: Socket) => void
  /** The connections that were admitted and have not closed. */
  admitted: () => Socket[]
  /** Settles when there are none. */
  emptied: () => Promise<void>
}

/** A socket knows its number, so that all can share one listener. */
const NUMBER = Symbol('number')
type Numbered = Socket & { [NUMBER]?: number }

export function admission(options: AdmissionOptions, trusts: (address: string) => boolean): Admission {
  const { maxConnectionsPerAddress, onCrowd } = options
  const maxConnections = options.maxConnections ?? Math.min(20_000, Math.floor(descriptorLimit() * 0.75))
  const sockets = new NumberMap<Socket>()
  const counts = new Map<string, number>()
  let newest = 0
  let isCrowd = false
  let onEmpty: (() => void) | undefined

  const mostFrom = (address: string) =>
    maxConnectionsPerAddress ?? (isLoopback(address) || trusts(address) ? Infinity : 2_000)

  const admit = (socket: Numbered) => {
    const address = socket.remoteAddress ?? ''
    const count = counts.get(address) ?? 0
    if (sockets.size >= maxConnections) return full('the server has', maxConnections)
    if (count >= mostFrom(address)) return full(`${address} has`, count)
    socket[NUMBER] = ++newest
    sockets.set(newest, socket.on('close', leave))
    counts.set(address, count + 1)
    if (sockets.size > CROWD && !isCrowd) onCrowd?.((isCrowd = true))
    return undefined
  }

  function leave(this: Socket): void {
    release(this)
  }

  function release(socket: Numbered): void {
    if (!sockets.delete(socket[NUMBER] ?? 0)) return
    const address = socket.remoteAddress ?? ''
    const left = (counts.get(address) ?? 1) - 1
    if (left > 0) counts.set(address, left)
    else counts.delete(address)
    if (sockets.size < CROWD / 2 && isCrowd) onCrowd?.((isCrowd = false))
    if (sockets.size === 0) onEmpty?.()
  }

  const emptied = async () => {
    if (sockets.size > 0) await new Promise<void>((resolve) => (onEmpty = resolve))
  }

  const replace = (socket: Numbered, secured: Numbered) => {
    if (socket === secured) return
    const number = socket[NUMBER] ?? 0
    secured[NUMBER] = number
    sockets.set(number, secured)
  }

  return { admit, replace, release, admitted: () => sockets.values(), emptied }
}

function full(who: string, connections: number): TunnelError {
  return new TunnelError(
    'server-full',
    `${who} ${connections} connections, and may have no more; try again later`,
  )
}
