/**
 * The visitor's side of a public connection: bytes are cut into requests by the strict reader (lib/http), and each is
 * passed on when its turn comes. One request is under way at a time; a pipelined one waits here, read but not passed
 * on, and behind it the visitor is held back. What cannot be read waits for its turn in the same way, as a refusal.
 */
import type { Socket } from 'node:net'
import { answer, askerIn } from '../answer.ts'
import { Deadline, type Ticket } from '../deadline.ts'
import { farewell } from '../ending.ts'
import { asTunnelError, TunnelError } from '../errors.ts'
import type { Origin } from '../http/forwarded.ts'
import { RequestReader } from '../http/reader.ts'
import type { RequestHead } from '../http/request.ts'
import type { Asker, Visit } from './visit.ts'

export interface VisitOptions {
  /** For a head, a chunk's line or trailers, from its first byte on; default 10,000. Then 408. */
  headTimeoutMs?: number
  /** For the first byte of all; default 60,000. Then the connection is closed without a word. */
  firstByteTimeoutMs?: number
}

/** What all visitors of a server share: their time limits, and who hears of them. */
export interface Reception {
  readonly head: Deadline<Visitor>
  readonly firstByte: Deadline<Visitor>
  /** A visit begins with this head. `detach` ends it. */
  readonly onHead: (head: RequestHead, visitor: Visitor) => void
  /** A fault of ours has ended a connection. */
  readonly onFault: (error: TunnelError) => void
}

export function receptionOf(
  { headTimeoutMs = 10_000, firstByteTimeoutMs = 60_000 }: VisitOptions,
  hears: Pick<Reception, 'onHead' | 'onFault'>,
): Reception {
  const onLate = (visitor: Visitor) => visitor.onLate()
  return {
    ...hears,
    head: new Deadline(headTimeoutMs, onLate),
    firstByte: new Deadline(firstByteTimeoutMs, onLate),
  }
}

/** What may come while nothing can be passed on (a pipelined request) before the visitor is held back. */
const HELD_BYTES = 64 * 1024
const NOTHING: Buffer = Buffer.alloc(0)

/** A socket knows its visitor, so that its listeners can be shared: closures for each are most of what it would cost. */
const VISITOR = Symbol('visitor')
type Visited = Socket & { [VISITOR]?: Visitor }

const late = new TunnelError('request-timeout', 'expected the rest of the request sooner')

/** Follows the requests of one public connection, which it owns until `release`. Its errors are heard by who made it. */
export class Visitor implements Asker {
  readonly socket: Socket
  readonly origin: Origin
  isSending = false
  hasEnded = false
  isLast = false
  readonly #reception: Reception
  /** the part that is under way and must end in time */
  #part: number | undefined
  #partDue: Ticket = 0
  readonly #firstByteDue: Ticket
  readonly #reader = new RequestReader()
  /** what came from the socket and was not read yet */
  #held = NOTHING
  /** the request, or the refusal of what came instead, that waits for its turn */
  #next: RequestHead | TunnelError | undefined
  /** the head that was refused: it may tell what kind of answer its sender reads */
  #refused = NOTHING
  #visit: Visit | undefined
  /** a visit has begun, or is about to */
  #isVisiting = false

  constructor(socket: Visited, origin: Origin, reception: Reception) {
    this.socket = socket
    this.origin = origin
    this.#reception = reception
    this.#firstByteDue = reception.firstByte.begin(this)
    socket[VISITOR] = this
    socket.on('data', onData).on('end', onEnd).on('close', onClose)
    socket.resume()
  }

  attach(visit: Visit): void {
    this.#visit = visit
    this.turn()
  }

  detach(): void {
    queueMicrotask(() => {
      this.#visit = undefined
      this.#isVisiting = false
      this.#offer()
    })
  }

  turn(): void {
    this.#offer()
    this.#pump()
  }

  refuse(error: TunnelError, asker?: RequestHead): void {
    this.report(error)
    this.release()
    farewell(this.socket, answer(error, asker ?? askerIn(this.#refused)))
  }

  /** A fault of ours: told, and the end of this connection. */
  fail(error: unknown): void {
    this.#reception.onFault(asTunnelError(error))
    this.socket.destroy()
  }

  report(error: TunnelError): void {
    if (error.code === 'unexpected') this.#reception.onFault(error)
  }

  release(): Buffer {
    this.socket.off('data', onData).off('end', onEnd).off('close', onClose)
    const next = this.#next
    const held =
      next === undefined || next instanceof TunnelError ? this.#held : Buffer.concat([next.raw, this.#held])
    this.#end()
    return held
  }

  dismiss(): void {
    this.isLast = true
    const isIdle = this.#next === undefined && !this.isSending && !this.#reader.pending
    if (this.hasEnded || !isIdle || this.#visit?.isBusy === true) return
    this.#visit?.leave()
    this.release()
    farewell(this.socket)
  }

  /** What waits goes on, or the visit ends for it, once everything before it has passed. */
  #offer(): void {
    const [visit, next] = [this.#visit, this.#next]
    if (next instanceof TunnelError && this.isSending) return visit?.breakOff(next)
    if (next === undefined || visit?.isBusy === true) return
    if (next instanceof TunnelError) {
      visit?.leave()
      return this.refuse(next)
    }
    if (visit === undefined) return this.#announce()
    if (visit.head.host !== next.host) return visit.leave()
    this.#next = undefined
    this.isSending = true
    visit.ask(next)
  }

  /** Reads what is held, up to the next head. */
  #pump(): void {
    try {
      while (this.#mayRead()) this.#read()
    } catch (error) {
      this.#reject(asTunnelError(error))
    }
    if (this.hasEnded) return
    this.#hold(this.#held.length > HELD_BYTES || this.#visit?.isFull === true)
    if (this.socket.readableEnded && this.#held.length === 0 && this.#next === undefined) this.#onRead()
  }

  /** Holds the visitor back, or lets it go on; what it owes is due only while it may send. */
  #hold(isHeld: boolean): void {
    if (isHeld) this.socket.pause()
    else if (this.socket.isPaused()) this.socket.resume()
    const owes = this.#reader.pending && !(this.#next instanceof TunnelError)
    this.#watch(owes && !isHeld ? this.#reader.part : undefined)
  }

  #watch(part: number | undefined): void {
    if (part === this.#part) return
    this.#part = part
    this.#reception.head.end(this.#partDue)
    if (part !== undefined) this.#partDue = this.#reception.head.begin(this)
  }

  #mayRead(): boolean {
    if (this.#next !== undefined || (this.#visit?.isUndecided === true && !this.isSending)) return false
    return this.#held.length > 0 || this.#reader.event === 'head'
  }

  #read(): void {
    const used = this.#reader.read(this.#held)
    const bytes = this.#held.subarray(0, used)
    this.#held = this.#held.subarray(used)
    if (this.#reader.event === 'more') return
    if (this.#reader.event === 'head') {
      this.#next = this.#reader.head
      return this.#offer()
    }
    if (bytes.length > 0) this.#visit?.pass(bytes)
    if (this.#reader.event !== 'end') return
    this.isSending = false
    this.#visit?.settle()
  }

  /** The visitor has ended its side, and everything it sent was read. */
  #onRead(): void {
    this.#end()
    if (this.#visit === undefined) farewell(this.socket)
    else this.#visit.onVisitorEnd()
  }

  #reject(error: TunnelError): void {
    this.#next = error
    this.#refused = Buffer.concat([this.#reader.begun, this.#held])
    this.#held = NOTHING
    this.#offer()
  }

  #announce(): void {
    if (this.#isVisiting) return
    this.#isVisiting = true
    // Whoever follows the visit may end it, or this connection: not in the middle of reading it.
    queueMicrotask(() => {
      const head = this.#next
      if (head === undefined || head instanceof TunnelError || this.socket.destroyed) return
      try {
        this.#reception.onHead(head, this)
      } catch (error) {
        this.fail(error)
      }
    })
  }

  onLate(): void {
    if (this.#reader.pending) this.#reject(late)
    else farewell(this.socket)
  }

  onData(bytes: Buffer): void {
    if (this.#reader.head === undefined) this.#reception.firstByte.end(this.#firstByteDue)
    this.#held = this.#held.length === 0 ? bytes : Buffer.concat([this.#held, bytes])
    this.#pump()
  }

  onEnd(): void {
    this.#pump()
  }

  onClose(): void {
    this.#end()
    this.#visit?.onVisitorGone()
  }

  #end(): void {
    this.hasEnded = true
    this.#reception.firstByte.end(this.#firstByteDue)
    this.#watch(undefined)
    this.#next = undefined
    this.#held = NOTHING
  }
}

/** Who visits on a socket, or did before it was let go. */
export function visitorOf(socket: Visited): Visitor | undefined {
  return socket[VISITOR]
}

function onData(this: Visited, bytes: Buffer): void {
  this[VISITOR]?.onData(bytes)
}

function onEnd(this: Visited): void {
  this[VISITOR]?.onEnd()
}

function onClose(this: Visited): void {
  this[VISITOR]?.onClose()
}
