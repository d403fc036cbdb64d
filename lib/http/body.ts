/**
 * Where a body ends, followed without copying or holding it. A body is told of the bytes that came and says
 * how many are its own; they are forwarded as they are.
 */
import { ChunkedBody } from './chunked.ts'
import type { Framing } from './framing.ts'
import type { Limits } from './limits.ts'

export interface Body {
  /** How many bytes from `from` on belong to the body. */
  read(bytes: Buffer, from: number): number
  /** the last byte has been read */
  readonly done: boolean
  /** in the middle of syntax: a chunk's line or the trailers */
  readonly pending: boolean
  /** how many parts of it (a chunk's line, its data) have come to their end */
  readonly parts: number
  /** the sender may end the connection here (RFC 9112 section 8) */
  readonly mayEnd: boolean
}

/** The body that a head announces. */
export function bodyOf(framing: Framing, limits: Limits): Body {
  if (framing.kind === 'chunked') return new ChunkedBody(limits)
  if (framing.kind === 'until-close') return new CountedBody(Infinity)
  return new CountedBody(framing.kind === 'length' ? framing.bytes : 0)
}

class CountedBody implements Body {
  readonly pending = false
  readonly parts = 0
  #left: number

  constructor(bytes: number) {
    this.#left = bytes
  }

  read(bytes: Buffer, from: number): number {
    const used = Math.min(this.#left, bytes.length - from)
    this.#left -= used
    return used
  }

  get done(): boolean {
    return this.#left === 0
  }

  get mayEnd(): boolean {
    return this.#left === 0 || this.#left === Infinity
  }
}
