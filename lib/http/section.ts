/**
 * Lines up to an empty line: a head, or the trailers of a chunked body. Each byte is looked at once, however
 * the section is cut into reads, and a verdict depends on the bytes alone, never on the cuts.
 *
 *   bare LF, bare CR                              400   RFC 9112 section 2.2
 *   NUL and other controls but HTAB               400   RFC 9110 section 5.5
 *   a first line longer than its limit            414   RFC 9112 section 3
 *   more bytes or more field lines than allowed   431   RFC 6585 section 5
 */
import { refuse } from './refuse.ts'

const HTAB = 0x09
const LF = 0x0a
const CR = 0x0d
const smallestHold = 64

/** 1 for a byte that may stand inside a line: HTAB, visible ASCII, space and obs-text */
const plain = Uint8Array.from({ length: 256 }, (_, byte) =>
  byte === HTAB || (byte >= 0x20 && byte !== 0x7f) ? 1 : 0,
)

export interface SectionLimits {
  bytes: number
  lines: number
  firstLineBytes: number
}

export interface SectionOwner {
  /** Called as soon as the first line that is not empty has ended; may throw. */
  onFirstLine(line: string): void
}

const nothing: Buffer = Buffer.alloc(0)

/** One section, used once. In the common case it came in one read and `raw` is a view of that read. */
export class Section {
  /** the whole section with its empty line, once `take` said true */
  raw = nothing
  /** how many bytes of the last read belong to the section */
  used = 0
  readonly #limits: SectionLimits
  readonly #owner: SectionOwner | undefined
  #held: Buffer | undefined
  #heldBytes = 0
  #scanned = 0
  #lineStart = 0
  #lines = 0
  #afterCR = false

  constructor(limits: SectionLimits, owner?: SectionOwner) {
    this.#limits = limits
    this.#owner = owner
  }

  /** Has begun: the peer owes us the rest. */
  get pending(): boolean {
    return this.#scanned > 0
  }

  /** What is held of it, for whoever must refuse it: all of it, unless it came in one read. */
  get begun(): Buffer {
    return this.#held?.subarray(0, this.#heldBytes) ?? nothing
  }

  /** Reads on, true when the empty line came. What is incomplete is copied, within the limit. */
  take(bytes: Buffer, from: number): boolean {
    const before = this.#scanned
    if (before > 0) this.#hold(bytes, from)
    const buffer = this.#held ?? bytes
    const base = this.#held ? 0 : from
    if (this.#scan(buffer, base, this.#held ? this.#heldBytes : bytes.length)) {
      this.raw = buffer.subarray(base, base + this.#scanned)
      this.used = this.#scanned - before
      return true
    }
    if (before === 0) this.#hold(bytes, from)
    this.used = bytes.length - from
    return false
  }

  /** The one loop over every byte of a head. */
  #scan(buffer: Buffer, base: number, end: number): boolean {
    let at = base + this.#scanned
    for (let stop = this.#stop(base, end); at < stop; at++) {
      const byte = buffer[at] as number
      if (plain[byte] === 1 && !this.#afterCR) continue
      if (byte !== LF || !this.#afterCR) {
        this.#notAtLineEnd(byte)
        continue
      }
      this.#afterCR = false
      const start = base + this.#lineStart
      this.#lineStart = at + 1 - base
      if (at - 1 === start) {
        this.#scanned = this.#lineStart
        return true
      }
      this.#countLine(buffer, start, at - 1)
      stop = this.#stop(base, end)
    }
    this.#scanned = at - base
    this.#checkSize()
    return false
  }

  /** Within the first line only as far as that line may reach. */
  #stop(base: number, end: number): number {
    const { bytes, firstLineBytes } = this.#limits
    return Math.min(end, base + (this.#lines === 0 ? Math.min(bytes, firstLineBytes + 2) : bytes))
  }

  #notAtLineEnd(byte: number): void {
    const came = String.fromCharCode(byte)
    if (this.#afterCR) throw refuse('bad-request', 'LF after CR', came, 'RFC 9112 section 2.2')
    if (byte === LF) throw refuse('bad-request', 'CR before LF', came, 'RFC 9112 section 2.2')
    if (byte !== CR) throw refuse('bad-request', 'no control characters', came, 'RFC 9110 section 5.5')
    this.#afterCR = true
  }

  #countLine(buffer: Buffer, start: number, end: number): void {
    if (this.#lines++ === 0) this.#owner?.onFirstLine(buffer.toString('latin1', start, end))
    const { lines } = this.#limits
    if (this.#lines > lines)
      throw refuse('head-too-large', `at most ${lines} lines`, 'more', 'RFC 6585 section 5')
  }

  #checkSize(): void {
    const { bytes, firstLineBytes } = this.#limits
    if (this.#lines === 0 && this.#scanned >= firstLineBytes + 2)
      throw refuse('uri-too-long', `a first line of ${firstLineBytes} bytes`, 'more', 'RFC 9112 section 3')
    if (this.#scanned >= bytes)
      throw refuse('head-too-large', `at most ${bytes} bytes`, 'more', 'RFC 6585 section 5')
  }

  /** Grows by doubling, so that a dripped section is copied in linear time, and never past the limit. */
  #hold(bytes: Buffer, from: number): void {
    const { bytes: limit } = this.#limits
    const end = Math.min(this.#heldBytes + bytes.length - from, limit)
    const held = this.#held ?? nothing
    if (end > held.length) {
      // Small ones share a slab: a buffer with memory of its own costs 300 bytes more, and slow heads come in thousands
      this.#held = Buffer.allocUnsafe(Math.min(limit, Math.max(end, smallestHold, 2 * held.length)))
      held.copy(this.#held, 0, 0, this.#heldBytes)
    }
    bytes.copy(this.#held ?? held, this.#heldBytes, from, from + end - this.#heldBytes)
    this.#heldBytes = end
  }
}
