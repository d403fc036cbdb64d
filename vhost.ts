/**
 * A public connection becomes visits. A visit is a run of requests that name the same host, and is followed request
 * by request and answer by answer. So a connection that many share (a pooling proxy in front, keep-alive,
 * pipelining) never carries a request, or an answer, to where it does not belong:
 *
 *   - a request is passed on only when the one before it and its answer have passed;
 *   - when it names another host, the visit ends and the next begins;
 *   - what cannot be read in one way only is refused, and not a byte of it is passed on (lib/http).
 *
 * This file follows the requests, lib/visit.ts the answers. Which host is whose is not decided here.
 */
import type { Socket } from 'node:net'
import { farewell } from './join.ts'
import { answer } from './lib/answer.ts'
import { TunnelError } from './lib/errors.ts'
import type { Origin } from './lib/http/forwarded.ts'
import { RequestReader } from './lib/http/reader.ts'
import type { RequestHead } from './lib/http/request.ts'
import { type Asker, Visit } from './lib/visit.ts'

export interface VisitOptions {
  /** For a head, a chunk's line or trailers, from its first byte on; default 10,000. Then 408. */
  headTimeoutMs?: number
  /** For the first byte of all; default 60,000. Then the connection is closed without a word. */
  firstByteTimeoutMs?: number
  /** How the visitor comes to us; default plain http from the socket's own address. */
  origin?: Partial<Origin>
}

/** What may come while nothing can be passed on (a pipelined request) before the visitor is held back. */
const HELD_BYTES = 64 * 1024

/** The visits of a public connection, one after the other. Each must be followed, refused or released. */
export async function* visits(socket: Socket, options: VisitOptions = {}): AsyncGenerator<Visit, void> {
  const visitor = new Visitor(socket, options)
  for (let head = await visitor.next(); head !== undefined; head = await visitor.next()) {
    const visit = new Visit(head, visitor)
    yield visit
    await visit.over
  }
}

/** The visitor's side of a public connection: its bytes cut into requests, each passed on when its turn comes. */
class Visitor implements Asker {
  readonly socket: Socket
  readonly origin: Origin
  isSending = false
  hasEnded = false
  readonly #headTimeoutMs: number
  readonly #reader = new RequestReader()
  /** read from the socket, not yet as requests */
  #held: Buffer = Buffer.alloc(0)
  /** the request that waits for its turn, or why it has none */
  #head: RequestHead | undefined
  #refusal: TunnelError | undefined
  #visit: Visit | undefined
  #wake: (() => void) | undefined
  #timer: NodeJS.Timeout | undefined
  #timedPart = -1

  constructor(socket: Socket, options: VisitOptions) {
    this.socket = socket
    this.origin = {
      address: socket.remoteAddress ?? 'unknown',
      proto: 'http',
      trusted: false,
      ...options.origin,
    }
    this.#headTimeoutMs = options.headTimeoutMs ?? 10_000
    this.#timer = setTimeout(() => farewell(socket), options.firstByteTimeoutMs ?? 60_000)
    socket.on('data', this.#onData).on('end', this.#onEnd).on('close', this.#onClose)
    socket.on('error', () => undefined) // 'close' follows and says the same
  }

  /** The head that begins the next visit; undefined when there will be none. */
  async next(): Promise<RequestHead | undefined> {
    this.#visit = undefined
    this.turn()
    while (this.#head === undefined && !this.hasEnded) await new Promise<void>((wake) => (this.#wake = wake))
    return this.#head
  }

  attach(visit: Visit): void {
    this.#visit = visit
    this.turn()
  }

  turn(): void {
    this.#offer()
    this.#pump()
  }

  refuse(error: TunnelError, asker = this.#head): void {
    this.release()
    this.socket.write(answer(error, asker))
    farewell(this.socket)
  }

  release(): Buffer {
    clearTimeout(this.#timer)
    this.socket.off('data', this.#onData).off('end', this.#onEnd).off('close', this.#onClose)
    const held = this.#head === undefined ? this.#held : Buffer.concat([this.#head.raw, this.#held])
    this.#end()
    return held
  }

  /** What waits goes on, or the visit ends for it, once everything before it has passed. */
  #offer(): void {
    if (this.#refusal !== undefined) return this.#offerRefusal(this.#refusal)
    const [visit, head] = [this.#visit, this.#head]
    if (head === undefined || visit?.isBusy === true) return
    if (visit === undefined) return this.#wake?.()
    if (visit.head.host !== head.host) return visit.leave()
    this.#head = undefined
    this.isSending = true
    visit.ask(head)
  }

  #offerRefusal(refusal: TunnelError): void {
    if (this.isSending) return this.#visit?.breakOff(refusal)
    if (this.#visit?.isBusy === true) return
    this.#visit?.leave()
    this.refuse(refusal)
  }

  /** Reads what is held, up to the next head. */
  #pump(): void {
    try {
      while (this.#mayRead()) this.#read()
    } catch (error) {
      this.#refusal = error as TunnelError
      this.#held = Buffer.alloc(0)
      this.#offer()
    }
    if (this.hasEnded) return
    this.#watch()
    if (this.#held.length > HELD_BYTES || this.#visit?.isFull === true) this.socket.pause()
    else if (this.socket.isPaused()) this.socket.resume()
    if (this.socket.readableEnded && this.#held.length === 0) this.#endIfRead()
  }

  #endIfRead(): void {
    if (this.#head !== undefined || this.#refusal !== undefined) return
    this.#end()
    if (this.#visit === undefined) farewell(this.socket)
    else this.#visit.onVisitorEnd()
  }

  #mayRead(): boolean {
    if (this.#head !== undefined || this.#refusal !== undefined) return false
    if (this.#visit?.isUndecided === true && !this.isSending) return false
    return this.#held.length > 0 || this.#reader.event === 'head'
  }

  #read(): void {
    const used = this.#reader.read(this.#held)
    const bytes = this.#held.subarray(0, used)
    this.#held = this.#held.subarray(used)
    if (this.#reader.event === 'more') return
    if (this.#reader.event === 'head') {
      this.#head = this.#reader.head
      return this.#offer()
    }
    if (bytes.length > 0) this.#visit?.pass(bytes)
    if (this.#reader.event !== 'end') return
    this.isSending = false
    this.#visit?.settle()
  }

  /** A visitor who has begun a head, a chunk's line or trailers must end it in time. */
  #watch(): void {
    if (this.#reader.pending && this.#timedPart === this.#reader.part) return
    clearTimeout(this.#timer)
    if (!this.#reader.pending) return
    this.#timedPart = this.#reader.part
    this.#timer = setTimeout(() => {
      const limit = `${this.#headTimeoutMs / 1000} s`
      this.#refusal = new TunnelError(
        'request-timeout',
        `the request was begun but not ended within ${limit}`,
      )
      this.#offer()
    }, this.#headTimeoutMs)
  }

  readonly #onData = (bytes: Buffer): void => {
    this.#held = this.#held.length === 0 ? bytes : Buffer.concat([this.#held, bytes])
    this.#pump()
  }

  readonly #onEnd = (): void => this.#pump()

  readonly #onClose = (): void => {
    clearTimeout(this.#timer)
    this.#end()
    this.#visit?.onVisitorGone()
  }

  #end(): void {
    this.hasEnded = true
    this.#head = undefined
    this.#held = Buffer.alloc(0)
    this.#wake?.()
  }
}
