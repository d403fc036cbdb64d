/**
 * One visit: a run of requests for one host goes out on one channel, and each answer is followed to its end.
 *
 * An answer belongs to the one request that was passed on and is not yet answered. Bytes that come when there is
 * none, an upgrade nobody offered, an answer that cannot be read, or one cut short: each ends the connection by a
 * reset, so that it can never be taken for another request's answer, or for a whole one. Only where not a byte of
 * the answer has gone out yet do we say in our own words what went wrong.
 *
 * After a 101 there are no messages to follow: the two sockets are joined for good.
 */
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { join } from '../../join.ts'
import { cut, farewell } from '../ending.ts'
import { asTunnelError, TunnelError } from '../errors.ts'
import { forwardedHead, type Origin, upgradeOf } from '../http/forwarded.ts'
import { ResponseReader } from '../http/reader.ts'
import type { RequestHead } from '../http/request.ts'
import type { ResponseHead } from '../http/response.ts'

/** The visitor's side, as a visit sees it. */
export interface Asker {
  readonly socket: Socket
  readonly origin: Origin
  /** A request's head was read, its body not yet to the end. */
  readonly isSending: boolean
  /** The visitor has ended its side, or the socket was let go, and nothing waits. */
  readonly hasEnded: boolean
  /** The connection is to close after this answer. */
  readonly isLast: boolean
  /** From now on requests go to `visit`, beginning with the one that waits. */
  attach(visit: Visit): void
  /** The visit has ended; with what waits the next one begins, a moment later. */
  detach(): void
  /** Something has passed, so what waits may go on. */
  turn(): void
  /** Closes the connection: now where nothing is under way, else after the answer. */
  dismiss(): void
  /** Answers `asker` in our own words and closes the connection. */
  refuse(error: TunnelError, asker?: RequestHead): void
  /** Tells of a fault of ours. */
  report(error: TunnelError): void
  /** Lets go of the socket; what was read from it and not passed on is returned. */
  release(): Buffer
}

/** For a visitor that has its last answer and goes on sending: how long it may pause. */
const IDLE_MS = 60_000
/** 1xx answers to one request; more is an attack on the visitor. */
const MAX_INTERIM = 64

export class Visit {
  /** The head of its first request. */
  readonly head: RequestHead
  readonly #visitor: Asker
  readonly #reader = new ResponseReader(() => this.#asked?.method ?? 'GET')
  #channel: Duplex | undefined
  #asked: RequestHead | undefined
  #sent: { head: RequestHead; bytes: Buffer } | undefined
  #answers = 0
  #interims = 0
  /** bytes of the answer to `asked` have gone out; its final head has been read */
  #hasBegun = false
  #isFinal = false
  /** this was the connection's last answer */
  #isClosing = false
  #isOver = false
  #error: TunnelError | undefined

  constructor(head: RequestHead, visitor: Asker) {
    this.head = head
    this.#visitor = visitor
  }

  // One of these three is the server's decision.

  /** Passes the requests on through `channel`, which it then owns, and the answers back. */
  follow(channel: Duplex): void {
    if (channel.destroyed) return this.refuse(awayError)
    this.#channel = channel
    channel.on('data', this.#onAnswer).on('drain', this.#onChannelDrain)
    channel.on('error', this.#onChannelError).on('end', this.#onChannelEnd).on('close', this.#onChannelClose)
    channel.on('goodbye', this.#onGoodbye)
    this.#visitor.socket.on('drain', this.#onVisitorDrain)
    if (this.#visitor.socket.destroyed) this.breakOff(cutError)
    else this.#visitor.attach(this)
  }

  /** Answers in our own words and closes the public connection. */
  refuse(error: TunnelError): void {
    this.#visitor.refuse(error, this.head)
    this.#end()
  }

  /** Gives the public connection away, as if nothing had been read from it. */
  release(): Socket {
    const { socket } = this.#visitor
    const held = this.#visitor.release()
    socket.pause()
    socket.unshift(held)
    this.#end()
    return socket
  }

  // What the visitor's side asks and says.

  /** A request was passed on and is not yet answered. */
  get isBusy(): boolean {
    return this.#asked !== undefined || this.#isClosing || this.#isOver
  }

  /** An upgrade was offered: what comes next is a request or something else entirely, and only the answer tells. */
  get isUndecided(): boolean {
    return this.#asked !== undefined && upgradeOf(this.#asked) !== undefined
  }

  get isFull(): boolean {
    return this.#channel?.writableNeedDrain === true
  }

  ask(head: RequestHead): void {
    this.#asked = head
    this.#hasBegun = false
    this.#isFinal = false
    this.#interims = 0
    // The reader gives the same head again where a visitor repeats it.
    if (head !== this.#sent?.head) this.#sent = { head, bytes: forwardedHead(head, this.#visitor.origin) }
    this.pass(this.#sent.bytes)
  }

  pass(bytes: Buffer): void {
    if (!this.#isOver) this.#channel?.write(bytes)
  }

  /** Ends the visit cleanly; the public connection goes on. */
  leave(): void {
    if (this.#channel !== undefined && !this.#isOver) farewell(this.#channel)
    this.#end()
  }

  /** Ends visit and connection because of `error`: told where the answer has not begun, by a reset elsewhere. */
  breakOff(error: TunnelError): void {
    const asked = this.#hasBegun ? undefined : this.#asked
    if (this.#channel !== undefined) cut(this.#channel)
    this.#end()
    if (asked !== undefined) return this.#visitor.refuse(error, asked)
    this.#visitor.report(error)
    this.#visitor.release()
    cut(this.#visitor.socket)
  }

  /** A request or an answer has come to its end. */
  settle(): void {
    if (this.#asked !== undefined || this.#isOver) return
    const isClosing = this.#isClosing || this.#visitor.isLast
    if (isClosing && this.#visitor.isSending && !this.#visitor.hasEnded) {
      this.#awaitRest()
    } else if (isClosing || this.#visitor.hasEnded) {
      this.leave()
      this.#visitor.release()
      farewell(this.#visitor.socket)
    } else {
      this.#visitor.turn()
    }
  }

  /** The visitor has its answer, and may send the rest of its question to the end. */
  #awaitRest(): void {
    const { socket } = this.#visitor
    if (!socket.writableEnded) socket.setTimeout(IDLE_MS, this.#onIdle).end()
  }

  /** It may be we who hold it back. */
  readonly #onIdle = (): void => {
    const { socket } = this.#visitor
    if (this.isFull || socket.isPaused()) socket.setTimeout(IDLE_MS, this.#onIdle)
    else if (!this.#isOver) this.breakOff(idleError)
  }

  onVisitorEnd(): void {
    if (!this.#isOver) this.#channel?.end()
    this.settle()
  }

  onVisitorGone(): void {
    if (this.#isOver) return
    if (this.#asked === undefined && !this.#visitor.isSending) return this.leave()
    if (this.#channel !== undefined) cut(this.#channel)
    this.#end()
  }

  // The channel.

  readonly #onAnswer = (bytes: Buffer): void => {
    try {
      this.#read(bytes)
    } catch (error) {
      this.breakOff(asTunnelError(error))
    }
  }

  /** Passes on what was asked for, in as few writes as the bytes came in. */
  #read(bytes: Buffer): void {
    const reader = this.#reader
    let [from, at] = [0, 0]
    while ((at < bytes.length || reader.event === 'head') && !this.#isOver) {
      if (this.#asked === undefined) throw unasked
      const start = at
      at += reader.read(bytes, at)
      if (reader.event === 'more') {
        this.#answer(bytes.subarray(from, start))
        from = at
      } else if (reader.event === 'head' && reader.head !== undefined) {
        this.#onHead(reader.head)
        if (at - start < reader.head.raw.length) {
          this.#answer(reader.head.raw)
          from = at
        }
        if (reader.head.status === 101) return this.#join(bytes.subarray(from))
      } else if (reader.event === 'end' && this.#isFinal) {
        if (at < bytes.length) throw unasked
        this.#answer(bytes.subarray(from, at))
        from = at
        this.#onAnswered()
      }
    }
    if (!this.#isOver) this.#answer(bytes.subarray(from, at))
  }

  #onHead(head: ResponseHead): void {
    this.#isFinal = head.status >= 200
    if (this.#isFinal) this.#isClosing = !head.keepAlive || this.#asked?.keepAlive !== true
    if (head.status === 101 && !this.isUndecided)
      throw new TunnelError('bad-answer', 'an upgrade nobody offered came')
    if (!this.#isFinal && ++this.#interims > MAX_INTERIM)
      throw new TunnelError('bad-answer', 'too many 1xx answers')
  }

  #answer(bytes: Buffer): void {
    if (bytes.length === 0) return
    this.#hasBegun = true
    if (!this.#visitor.socket.write(bytes)) this.#channel?.pause()
  }

  #onAnswered(): void {
    this.#asked = undefined
    this.#answers += 1
    this.settle()
  }

  /** 101: whatever comes now, either way, is no longer HTTP. */
  #join(firstBytes: Buffer): void {
    const { socket } = this.#visitor
    const held = this.#visitor.release()
    const channel = this.#channel
    if (channel === undefined) return
    this.#answer(firstBytes)
    this.#letGo()
    if (held.length > 0) channel.write(held)
    void join(socket, channel).then(() => this.#end())
  }

  /** The client leaves: it waits for answers under way, and for nothing else. */
  readonly #onGoodbye = (): void => this.#visitor.dismiss()
  readonly #onChannelDrain = (): void => this.#visitor.turn()
  readonly #onVisitorDrain = (): void => void this.#channel?.resume()
  readonly #onChannelError = (error: Error): void => {
    if (error instanceof TunnelError) this.#error = error
  }

  readonly #onChannelEnd = (): void => {
    const isWhole = this.#asked === undefined || (this.#isFinal && this.#reader.end())
    if (!isWhole) return this.#onChannelClose()
    this.#isClosing = true
    if (this.#asked !== undefined) this.#onAnswered()
    else this.settle()
  }

  /** It broke, or ended without a whole answer. */
  readonly #onChannelClose = (): void => {
    if (this.#isOver) return
    const isLost = this.#error?.code === 'session-closed' || this.#error?.code === 'session-lost'
    if (this.#asked === undefined) return this.#onIdleClose()
    // On a connection that served before, a reset lets the visitor's client try again by itself.
    if (this.#answers > 0 && !isLost) this.#hasBegun = true
    this.breakOff(isLost ? awayError : cutError)
  }

  /** Between answers nothing is lost; a request still on its way has had its answer. */
  #onIdleClose(): void {
    this.#end()
    this.#visitor.release()
    farewell(this.#visitor.socket)
  }

  #end(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#asked = undefined
    this.#letGo()
    this.#visitor.detach()
  }

  #letGo(): void {
    this.#visitor.socket.off('drain', this.#onVisitorDrain)
    const channel = this.#channel?.off('data', this.#onAnswer).off('drain', this.#onChannelDrain)
    channel?.off('end', this.#onChannelEnd).off('close', this.#onChannelClose).off('goodbye', this.#onGoodbye)
  }
}

const unasked = new TunnelError('bad-answer', 'the local service sent bytes that nobody asked for')
const awayError = new TunnelError(
  'session-closed',
  'the client of this tunnel went away; try again in a moment',
)
const idleError = new TunnelError('request-timeout', 'the rest of the request did not come')
const cutError = new TunnelError('bad-answer', 'the local service closed the connection without an answer')
