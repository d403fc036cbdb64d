/**
 * Who has which name. The key of a registration proves its owner: the owner's newest registration wins at once,
 * whoever else asks is refused. When a session drops, the name stays its owner's for a while, and visitors wait a
 * moment for it to come back; after a goodbye it is free.
 *
 * A client that was replaced by a newer one of its owner does not get the name back: the two would throw each other
 * out for ever.
 */
import { createHash } from 'node:crypto'
import type { Socket } from 'node:net'
import { Deadline, LONGEST_MS, type Ticket } from '../deadline.ts'
import { TunnelError } from '../errors.ts'
import type { Channel, Session } from '../mux.ts'
import type { Held } from './held.ts'

export interface NameOptions {
  /** How long a name stays its owner's after a drop; default 60,000. */
  holdMs?: number
  /** How long a visitor waits for a dropped tunnel to come back; default 5,000. Then 503. */
  gapMs?: number
  /** Visitors that may wait so at once; default 1,000. */
  maxWaiting?: number
  /** Of them, for one tunnel; default 250. */
  maxWaitingPerTunnel?: number
  /** Names held at once; default 10,000. The oldest is given up for a new one. */
  maxHeld?: number
}

/** Who registers. */
export interface Owner {
  /** proves that a later registration is the same owner; without one a name cannot be kept */
  key?: string | undefined
  /** tells the clients of one owner apart */
  client?: string | undefined
  /** a token says that the name is theirs */
  isEntitled?: boolean
}

interface Place {
  readonly name: string
  proof: string | undefined
  isKept: boolean
  client: string | undefined
  session: Session | undefined
  /** it was the last to serve, and serves only what is open */
  retiring: Session | undefined
  replaced: string[]
  hold: Ticket
  readonly waiting: Set<(session?: Session) => void>
}

const REMEMBERED_CLIENTS = 8

export class Names {
  readonly #gapMs: number
  readonly #maxWaiting: number
  readonly #maxWaitingPerTunnel: number
  readonly #maxHeld: number
  readonly #places = new Map<string, Place>()
  readonly #holds: Deadline<Place>
  readonly #onChange: () => void
  #heldCount = 0
  #waitingCount = 0

  /** `onChange` is called when what `held` gives has changed. */
  constructor(options: NameOptions, onChange: () => void = () => undefined) {
    this.#gapMs = Math.min(options.gapMs ?? 5_000, LONGEST_MS)
    this.#maxWaiting = options.maxWaiting ?? 1_000
    this.#maxWaitingPerTunnel = options.maxWaitingPerTunnel ?? 250
    this.#maxHeld = options.maxHeld ?? 10_000
    this.#holds = new Deadline(options.holdMs ?? 60_000, (place) => this.#free(place))
    this.#onChange = onChange
  }

  /** The session that serves a name now. */
  find(name: string): Session | undefined {
    return this.#places.get(name)?.session
  }

  /** Throws `name-taken` or `replaced` unless `owner` may have the name. */
  check(name: string, owner: Owner): void {
    const place = this.#places.get(name)
    if (place === undefined) return
    const isOwner =
      owner.isEntitled === true || (owner.key !== undefined && place.proof === proofOf(owner.key))
    if (!isOwner)
      throw new TunnelError('name-taken', `expected a free name, ${name} is taken; ask for another`)
    if (owner.client === undefined || !place.replaced.includes(owner.client)) return
    throw new TunnelError('replaced', `a newer client of yours has ${name} now; stop it first`)
  }

  /** Gives the name to `session`, for as long as that lives; the session before it ends. Check first. */
  take(name: string, owner: Owner, session: Session): void {
    const place = this.#places.get(name) ?? this.#newPlace(name)
    this.#endHold(place)
    const before = place.session
    if (place.client !== undefined && place.client !== owner.client) place.replaced.push(place.client)
    place.replaced.splice(0, place.replaced.length - REMEMBERED_CLIENTS)
    place.session = session
    place.client = owner.client
    place.proof = owner.key === undefined ? undefined : proofOf(owner.key)
    place.isKept = owner.key !== undefined || owner.isEntitled === true
    place.retiring = undefined
    session.on('goodbye', () => (place.session ?? place.retiring) === session && this.#free(place))
    session.on('close', () => place.session === session && this.#drop(place))
    session.on('spent', () => {
      if (place.session !== session) return
      this.#drop(place)
      place.retiring = session
    })
    before?.close()
    this.#tell(place, session)
    this.#onChange()
  }

  /**
   * A channel to whoever serves `host`, if need be when its client is back. Rejects with `no-such-tunnel`,
   * `tunnel-away`, or as `Session.open` does.
   */
  open(name: string | undefined, host: string, visitor: Socket): Promise<Channel> {
    const place = this.#places.get(name ?? '')
    if (place === undefined)
      return Promise.reject(new TunnelError('no-such-tunnel', `no tunnel is open at ${host}`))
    return place.session?.open() ?? this.#wait(place, visitor).then((session) => session.open())
  }

  async #wait(place: Place, visitor: Socket): Promise<Session> {
    const isFull = this.#waitingCount >= this.#maxWaiting || place.waiting.size >= this.#maxWaitingPerTunnel
    if (isFull || visitor.destroyed) throw away
    this.#waitingCount += 1
    const session = await this.#comeback(place, visitor)
    this.#waitingCount -= 1
    if (session === undefined) throw away
    return session
  }

  /** Settles when the owner is back, the visitor leaves, or the gap has lasted too long. */
  #comeback(place: Place, visitor: Socket): Promise<Session | undefined> {
    return new Promise((resolve) => {
      const settle = (session?: Session) => {
        clearTimeout(timer)
        visitor.off('close', onGone)
        place.waiting.delete(settle)
        resolve(session)
      }
      const onGone = () => settle()
      const timer = setTimeout(onGone, this.#gapMs)
      visitor.on('close', onGone)
      place.waiting.add(settle)
    })
  }

  /** The names that have an owner, for a server that starts anew. */
  held(): Held {
    const kept = [...this.#places.values()].filter(({ proof }) => proof !== undefined)
    return Object.fromEntries(
      kept.map(({ name, proof = '', client, replaced }) => [name, { proof, client, replaced }]),
    )
  }

  /** Holds names for the owners they had in another life. */
  hold(held: Held): void {
    for (const [name, kept] of Object.entries(held)) {
      if (!this.#places.has(name)) this.#hold(Object.assign(this.#newPlace(name), kept))
    }
  }

  /** Nobody need wait any more. */
  close(): void {
    for (const place of this.#places.values()) this.#tell(place, undefined)
  }

  #newPlace(name: string): Place {
    const place: Place = {
      name,
      proof: undefined,
      isKept: true,
      client: undefined,
      session: undefined,
      retiring: undefined,
      replaced: [],
      hold: 0,
      waiting: new Set(),
    }
    this.#places.set(name, place)
    return place
  }

  /** The session has gone without a goodbye. */
  #drop(place: Place): void {
    place.session = undefined
    if (place.isKept) this.#hold(place)
    else this.#free(place)
  }

  #hold(place: Place): void {
    const { oldest } = this.#holds
    if (oldest !== undefined && this.#heldCount >= this.#maxHeld) this.#free(oldest)
    this.#heldCount += 1
    place.hold = this.#holds.begin(place)
  }

  #endHold(place: Place): void {
    if (place.hold === 0) return
    this.#holds.end(place.hold)
    this.#heldCount -= 1
    place.hold = 0
  }

  #free(place: Place): void {
    this.#endHold(place)
    place.session = undefined
    this.#places.delete(place.name)
    this.#tell(place, undefined)
    this.#onChange()
  }

  #tell(place: Place, session: Session | undefined): void {
    for (const tell of [...place.waiting]) tell(session)
  }
}

const away = new TunnelError('tunnel-away', 'the client of this tunnel is away; try again in a moment')

/** Equal hashes tell nothing of the key, however long the comparison takes. */
function proofOf(key: string): string {
  return createHash('sha256').update(key).digest('base64url')
}
