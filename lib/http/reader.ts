/**
 * Follows the messages of one direction of one connection: finds each head, checks it, and knows where each
 * body ends, without copying or holding bodies. It decides nothing and forwards nothing:
 *
 *   for (let at = 0; at < bytes.length || reader.event === 'head'; ) {
 *     const from = at
 *     at += reader.read(bytes, at)
 *     ... reader.event says what to do with bytes[from..at)
 *   }
 */
import { TunnelError } from '../errors.ts'
import { type Body, bodyOf } from './body.ts'
import type { Framing } from './framing.ts'
import { defaultLimits, type Limits } from './limits.ts'
import { parseRequest, parseRequestLine, type RequestHead } from './request.ts'
import { parseResponse, parseStatusLine, type ResponseHead } from './response.ts'
import { refuse } from './refuse.ts'
import { Section, type SectionLimits, type SectionOwner } from './section.ts'

/**
 * What the last read found.
 * - more: an incomplete head; the bytes are held (or were an empty line before a request), forward nothing
 * - head: `head` is complete, its bytes are in `head.raw`; read on at once, even with no bytes left: a message
 *   without a body ends there
 * - body: forward the bytes as they are, the message goes on
 * - end: forward the bytes, maybe none; the message is complete
 */
export type Event = 'more' | 'head' | 'body' | 'end'

interface Grammar<Head> {
  /** Throws on a first line that must be refused. What it says is read with the head: nobody holds it till then. */
  checkLine(line: string): void
  parseHead(raw: Buffer): Head
  emptyLines: number
}

const NOTHING: Buffer = Buffer.alloc(0)

class MessageReader<Head extends { framing: Framing; raw: Buffer }> implements SectionOwner {
  event: Event = 'more'
  /** the last head read */
  head: Head | undefined
  readonly #grammar: Grammar<Head>
  readonly #limits: Limits
  #section: Section | undefined
  #emptyLines = 0
  #parts = 0
  #hasFirstLine = false
  #body: Body | undefined

  constructor(grammar: Grammar<Head>, limits: Partial<Limits> | undefined) {
    this.#grammar = grammar
    this.#limits = limits === undefined ? defaultLimits : { ...defaultLimits, ...limits }
  }

  /** In the middle of a head, a chunk's line or trailers: the peer owes us the rest, soon. */
  get pending(): boolean {
    if (this.#body !== undefined) return this.#body.pending
    return this.#section?.pending === true || (this.#emptyLines > 0 && this.head === undefined)
  }

  /** The beginning of a head that is not complete, or that was refused; nothing of one that came in one read. */
  get begun(): Buffer {
    return this.#section?.begun ?? NOTHING
  }

  /** A number that changes whenever a head, a chunk's line or a message has come to its end. */
  get part(): number {
    return this.#parts + (this.#body?.parts ?? 0)
  }

  /**
   * Reads up to the next boundary, sets `event`, returns how many bytes from `from` on it used. Throws a
   * TunnelError on what must be refused; the reader is then of no more use.
   */
  read(bytes: Buffer, from = 0): number {
    if (this.#body === undefined) return this.#readHead(bytes, from)
    const used = this.#body.read(bytes, from)
    if (this.#body.done) this.#endBody(this.#body)
    this.event = this.#body === undefined ? 'end' : 'body'
    return used
  }

  /** The peer ended its side; true when that cuts no message. */
  end(): boolean {
    return this.#body === undefined ? !this.pending : this.#body.mayEnd
  }

  #endBody(body: Body): void {
    this.#parts += body.parts + 1
    this.#body = undefined
  }

  /** Whether a head of these bytes means what the last one meant. */
  protected isRepeat(raw: Buffer): boolean {
    return this.head?.raw.equals(raw) === true
  }

  #readHead(bytes: Buffer, from: number): number {
    this.event = 'more'
    let at = from
    while (at < bytes.length && this.event === 'more') {
      const section = (this.#section ??= new Section(headLimits(this.#limits), this))
      const complete = section.take(bytes, at)
      at += section.used
      if (complete) this.#endSection(section.raw)
    }
    return at - from
  }

  onFirstLine(line: string): void {
    this.#grammar.checkLine(line)
    this.#hasFirstLine = true
  }

  #endSection(raw: Buffer): void {
    if (!this.#hasFirstLine) return this.#skipEmptyLine()
    // Polling clients repeat a head byte for byte, and so do their answers: then nothing is read anew.
    const last = this.isRepeat(raw) ? this.head : undefined
    this.head = last ?? this.#grammar.parseHead(lone(raw))
    this.#section = undefined
    this.#body = bodyOf(this.head.framing, this.#limits)
    this.#hasFirstLine = false
    this.#emptyLines = 0
    this.#parts++
    this.event = 'head'
  }

  /** Old clients send one after a body (RFC 9112 section 2.2). */
  #skipEmptyLine(): void {
    this.#section = undefined
    if (this.#emptyLines++ === this.#grammar.emptyLines)
      throw refuse('bad-request', 'a first line', '', 'RFC 9112 section 2.2')
  }
}

/** A reader stands at the door of every connection, so what all can share is made once. */
const defaultHeadLimits = headLimitsOf(defaultLimits)

function headLimits(limits: Limits): SectionLimits {
  return limits === defaultLimits ? defaultHeadLimits : headLimitsOf(limits)
}

function headLimitsOf({ headBytes, fields, requestLineBytes }: Limits): SectionLimits {
  return { bytes: headBytes, lines: fields + 1, firstLineBytes: requestLineBytes }
}

const requestGrammar = { checkLine: parseRequestLine, parseHead: parseRequest, emptyLines: 1 }

/** Reads requests. Throws errors whose status is the answer: 400, 405, 414, 431, 501, 505. */
export class RequestReader extends MessageReader<RequestHead> {
  constructor(limits?: Partial<Limits>) {
    super(requestGrammar, limits)
  }
}

/**
 * Reads answers. `methodOf` tells the method of the request that the next head answers; it is asked once a
 * head, also for 1xx. After a 101 everything is body for ever. Throws bad-answer (502).
 */
export class ResponseReader extends MessageReader<ResponseHead> {
  readonly #methodOf: () => string
  #method = ''

  constructor(methodOf: () => string, limits?: Partial<Limits>) {
    const parseHead = (raw: Buffer) => parseResponse(raw, this.#method)
    super({ checkLine: parseStatusLine, parseHead, emptyLines: 0 }, limits)
    this.#methodOf = methodOf
  }

  /** The same rules, but a breach is the local service's, not the visitor's. */
  override read(bytes: Buffer, from = 0): number {
    try {
      return super.read(bytes, from)
    } catch (error) {
      if (error instanceof TunnelError) throw new TunnelError('bad-answer', error.message, { cause: error })
      throw error
    }
  }

  /** An answer to HEAD ends where the same answer to GET has its body. */
  protected override isRepeat(raw: Buffer): boolean {
    const last = this.#method
    this.#method = this.#methodOf()
    return this.#method === last && super.isRepeat(raw)
  }
}

/** A head is kept as long as its connection, and as a view it would keep the whole read that it came in. */
function lone(raw: Buffer): Buffer {
  return raw.buffer.byteLength > 2 * raw.length ? Buffer.from(raw) : raw
}
