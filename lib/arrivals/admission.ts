/**
 * Which public connections there are, and how many there may be, in all and from one address. Beyond that a connection is
 * a guest (guests.ts): it may ask, so that a client can register in any crowd, but a visit is refused.
 */
import type { Socket } from 'node:net'
import { isLoopback, networkOf } from '../address.ts'
import { descriptorLimit } from '../descriptors.ts'
import { TunnelError } from '../errors.ts'
import { NumberMap } from '../number-map.ts'
import { Guests } from './guests.ts'

export interface AdmissionOptions {
  /** Public connections at once; default 20,000, or three quarters of the descriptors. Then 503. */
  maxConnections?: number
  /** Of them, from one address (IPv6: /64); default 2,000, and no limit for loopback and trusted proxies. Then 503. */
  maxConnectionsPerAddress?: number
  /** Told when there are more than 1,000 public connections, and when there are not half as many. */
  onCrowd?: (isCrowd: boolean) => void
}

const CROWD = 1_000
/** For want of room in all; and as many for want of room for their address, so that these do not crowd out those. */
const GUESTS = 256

export interface Admission {
  /** Counts a new connection until it closes. */
  admit: (socket: Socket) => void
  /** Why it may not visit; undefined where it may. */
  refusal: (socket: Socket) => TunnelError | undefined
  /** `secured` takes the place of the socket that it wraps. */
  replace: (socket: Socket, secured: Socket) => void
  /** No longer a public connection: it became a session. */
  release: (socket: Socket) => void
  /** The connections that have not closed, guests too. */
  admitted: () => Socket[]
  /** Settles when there are none but guests. */
  emptied: () => Promise<void>
}

/** A socket knows its number, so that all can share one listener. */
const NUMBER = Symbol('number')
type Numbered = Socket & { [NUMBER]?: number }

/** With `isTls` nobody can be told anything before the connection is secured. */
export function admission(
  options: AdmissionOptions,
  trusts: (address: string) => boolean,
  isTls: boolean,
): Admission {
  const { maxConnectionsPerAddress, onCrowd } = options
  const descriptors = descriptorLimit()
  const maxConnections = options.maxConnections ?? Math.min(20_000, Math.floor(descriptors * 0.75))
  const maxGuests = Math.min(GUESTS, Math.ceil(descriptors * 0.02))
  const [crowd, neighbours] = [new Guests(maxGuests, isTls), new Guests(maxGuests, isTls)]
  const sockets = new NumberMap<Socket>()
  const counts = new Map<string, number>()
  let newest = 0
  let isCrowd = false
  let onEmpty: (() => void) | undefined

  const mostFrom = (address: string) =>
    maxConnectionsPerAddress ?? (isLoopback(address) || trusts(address) ? Infinity : 2_000)

  const admit = (socket: Numbered) => {
    const network = networkOf(socket.remoteAddress ?? '')
    const count = counts.get(network) ?? 0
    socket.on('close', leave)
    if (count >= mostFrom(socket.remoteAddress ?? ''))
      return neighbours.add(socket, full(`${network} has`, count))
    if (sockets.size >= maxConnections) return crowd.add(socket, full('the server has', maxConnections))
    socket[NUMBER] = ++newest
    sockets.set(newest, socket)
    counts.set(network, count + 1)
    if (sockets.size > CROWD && !isCrowd) onCrowd?.((isCrowd = true))
  }

  function leave(this: Socket): void {
    release(this)
  }

  function release(socket: Numbered): void {
    if (isGuest(socket)) return void (crowd.delete(socket) || neighbours.delete(socket))
    if (!sockets.delete(socket[NUMBER] ?? 0)) return
    const network = networkOf(socket.remoteAddress ?? '')
    const left = (counts.get(network) ?? 1) - 1
    if (left > 0) counts.set(network, left)
    else counts.delete(network)
    if (sockets.size < CROWD / 2 && isCrowd) onCrowd?.((isCrowd = false))
    if (sockets.size === 0) onEmpty?.()
  }

  const emptied = async () => {
    if (sockets.size > 0) await new Promise<void>((resolve) => (onEmpty = resolve))
  }

  const replace = (socket: Numbered, secured: Numbered) => {
    if (socket === secured || crowd.replace(socket, secured) || neighbours.replace(socket, secured)) return
    const number = socket[NUMBER] ?? 0
    secured[NUMBER] = number
    sockets.set(number, secured)
  }

  const refusal = (socket: Socket) =>
    isGuest(socket) ? (crowd.ask(socket) ?? neighbours.ask(socket)) : undefined
  const admitted = () => [...sockets.values(), ...crowd.all(), ...neighbours.all()]
  return { admit, refusal, replace, release, admitted, emptied }
}

/** Guests have no number. */
function isGuest(socket: Numbered): boolean {
  return socket[NUMBER] === undefined
}

function full(who: string, connections: number): TunnelError {
  return new TunnelError(
    'server-full',
    `${who} ${connections} connections, and may have no more; try again later`,
  )
}
