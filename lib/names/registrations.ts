/**
 * How many tunnels there may be, and how fast they may come. A registration is half open until the client has spoken
 * yamux: of those only so many are kept, and the oldest makes room for the next, as an honest client speaks at once.
 */
import { isLoopback, networkOf } from '../address.ts'
import { descriptorLimit } from '../descriptors.ts'
import { TunnelError } from '../errors.ts'
import type { Session } from '../mux.ts'
import { Rate } from '../rate.ts'

export interface RegistrationOptions {
  /** Tunnels at once; default 10,000, or a fifth of the descriptors. */
  maxTunnels?: number
  /** Of them, from one address; default 100, and no limit for loopback. */
  maxTunnelsPerAddress?: number
  /** Registrations of one address; default 300 a minute, and no limit for loopback. */
  registrationsPerMinute?: number
  /** Clients that have registered and not spoken yet; default 1,000. */
  maxHalfOpen?: number
}

export interface Registrant {
  address: string
  /** a token's name, and how many tunnels it may have */
  name?: string | undefined
  maxTunnels?: number | undefined
}

const REMEMBERED_ADDRESSES = 10_000

export class Registrations {
  readonly #options: RegistrationOptions
  readonly #maxTunnels: number
  readonly #counts = new Map<string, number>()
  /** what a session is counted in */
  readonly #keys = new WeakMap<Session, string[]>()
  readonly #rates = new Map<string, Rate>()
  readonly #halfOpen = new Set<Session>()
  #total = 0

  constructor(options: RegistrationOptions) {
    this.#options = options
    this.#maxTunnels = options.maxTunnels ?? Math.min(10_000, Math.floor(descriptorLimit() / 5))
  }

  /** Somebody asks for a tunnel. Throws `too-many-registrations`. */
  knock(address: string): void {
    if (this.#rateOf(address).take()) return
    throw new TunnelError('too-many-registrations', `${address} registers too often; try again in a minute`)
  }

  /** Throws `server-full` when one more is too many; `before` is replaced by it. */
  check({ address, name, maxTunnels = Infinity }: Registrant, before: Session | undefined): void {
    const { maxTunnelsPerAddress } = this.#options
    const mostHere = maxTunnelsPerAddress ?? (isLoopback(address) ? Infinity : 100)
    if (before === undefined && this.#total >= this.#maxTunnels) throw full('the server', this.#maxTunnels)
    // What is replaced makes room where it was counted, and nowhere else.
    const freed = (before && this.#keys.get(before)) ?? []
    const isFull = (key: string, most: number) => !freed.includes(key) && this.#count(key) >= most
    if (isFull(addressKey(address), mostHere)) throw full(networkOf(address), mostHere)
    if (isFull(tokenKey(name), maxTunnels)) throw full(`the token ${name}`, maxTunnels)
  }

  /** Counts a session until it closes, or until another takes its place: its connection may be slow to close. */
  add(session: Session, { address, name }: Registrant, before: Session | undefined): void {
    if (before !== undefined) this.#forget(before)
    const keys = [addressKey(address), tokenKey(name)]
    this.#keys.set(session, keys)
    this.#total += 1
    for (const key of keys) this.#counts.set(key, this.#count(key) + 1)
    this.#await(session)
    session.on('close', () => this.#forget(session))
  }

  #forget(session: Session): void {
    const keys = this.#keys.get(session)
    if (keys === undefined) return
    this.#keys.delete(session)
    this.#total -= 1
    for (const key of keys) this.#leave(key)
  }

  /** Makes room among the half open, and waits for the answer to the first ping. */
  #await(session: Session): void {
    const [oldest] = this.#halfOpen
    if (oldest !== undefined && this.#halfOpen.size >= (this.#options.maxHalfOpen ?? 1_000))
      oldest.destroy(crowded)
    this.#halfOpen.add(session)
    const settle = () => this.#halfOpen.delete(session)
    session.on('close', settle)
    void session.ping().then(settle)
  }

  #count(key: string): number {
    return this.#counts.get(key) ?? 0
  }

  #leave(key: string): void {
    const left = this.#count(key) - 1
    if (left > 0) this.#counts.set(key, left)
    else this.#counts.delete(key)
  }

  #rateOf(address: string): Rate {
    const { registrationsPerMinute } = this.#options
    const perMinute = registrationsPerMinute ?? (isLoopback(address) ? Infinity : 300)
    const network = networkOf(address)
    const rate = this.#rates.get(network) ?? new Rate(perMinute, perMinute / 60)
    // The network that is heard of longest ago is forgotten first.
    this.#rates.delete(network)
    this.#rates.set(network, rate)
    const [oldest] = this.#rates.keys()
    if (oldest !== undefined && this.#rates.size > REMEMBERED_ADDRESSES) this.#rates.delete(oldest)
    return rate
  }
}

function addressKey(address: string): string {
  return `address ${networkOf(address)}`
}

/** Who comes without one is counted too, and may have any number. */
function tokenKey(name: string | undefined): string {
  return name === undefined ? '' : `token ${name}`
}

const crowded = new TunnelError('session-lost', 'the client registered and did not speak, and others came')

function full(who: string, tunnels: number): TunnelError {
  return new TunnelError(
    'server-full',
    `${who} has ${tunnels} tunnels, and may have no more; try again later`,
  )
}
