/**
 * The chunked coding (RFC 9112 section 7.1): lines are read byte by byte, data is jumped over. Only trailers
 * are held, up to their limit, so that they are checked by the rules of every other field.
 *
 *   a size that is not 1 to 13 hex digits (sign, 0x, spaces, empty)   400   RFC 9112 section 7.1
 *   anything but CR LF after the line and after the data              400   RFC 9112 section 7.1
 *   extensions that are not ;name, ;name=token or ;name="text"        400   RFC 9112 section 7.1.1
 *   extensions longer than their limit                                400   RFC 9112 section 7.1.1
 *   Host, Content-Length, Transfer-Encoding in trailers               400   RFC 9110 section 6.5.1
 */
import { type Field, parseFields } from './fields.ts'
import type { Limits } from './limits.ts'
import { refuse } from './refuse.ts'
import { Section } from './section.ts'

const nothing: Buffer = Buffer.alloc(0)

type State = 'size' | 'extension' | 'line-lf' | 'data' | 'data-cr' | 'data-lf' | 'trailers' | 'done'

const CR = 0x0d
const LF = 0x0a
const SEMICOLON = 0x3b
/** 13 digits stay below 2^53, so sizes are exact */
const mostDigits = 13
// no white space round ; and =, which is allowed but "bad"; linear: no part can match where another does
const extensions =
  /^(?:;[!#-'*+\-.^_`|~\w]+(?:=(?:[!#-'*+\-.^_`|~\w]+|"(?:[\t !#-[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"))?)*$/

/** A body in chunks. Throws 400, and 431 for trailers beyond their limit. */
export class ChunkedBody {
  parts = 0
  readonly #limits: Limits
  #state: State = 'size'
  #digits = 0
  #extension = nothing
  #extensionBytes = 0
  #left = 0
  #trailers: Section | undefined

  constructor(limits: Limits) {
    this.#limits = limits
  }

  get done(): boolean {
    return this.#state === 'done'
  }

  get mayEnd(): boolean {
    return this.done
  }

  /** Waiting for a next chunk is no debt, being in the middle of its line is. */
  get pending(): boolean {
    if (this.#state === 'size') return this.#digits > 0
    return this.#state !== 'data' && this.#state !== 'data-cr' && this.#state !== 'done'
  }

  /** How many bytes from `from` on belong to the body. */
  read(bytes: Buffer, from: number): number {
    let at = from
    while (at < bytes.length && this.#state !== 'done') {
      if (this.#state === 'data') at += this.#skip(bytes.length - at)
      else if (this.#state === 'trailers') at += this.#readTrailers(bytes, at)
      else this.#step(bytes[at++] as number)
    }
    return at - from
  }

  #skip(available: number): number {
    const used = Math.min(this.#left, available)
    this.#left -= used
    if (this.#left === 0) this.#state = 'data-cr'
    return used
  }

  #step(byte: number): void {
    if (this.#state === 'size') this.#stepSize(byte)
    else if (this.#state === 'extension') this.#stepExtension(byte)
    else if (this.#state === 'data-cr') this.#expect(CR, byte, 'data-lf')
    else if (this.#state === 'data-lf') this.#expect(LF, byte, 'size')
    else this.#endLine(byte)
  }

  #stepSize(byte: number): void {
    const digit = hexDigit(byte)
    if (digit >= 0 && this.#digits < mostDigits) {
      this.#digits++
      this.#left = this.#left * 16 + digit
    } else if (this.#digits > 0 && byte === CR) this.#state = 'line-lf'
    else if (this.#digits > 0 && byte === SEMICOLON) this.#stepExtension(byte)
    else throw badChunk(`a size of 1 to ${mostDigits} hex digits`, byte)
  }

  #stepExtension(byte: number): void {
    this.#state = byte === CR ? 'line-lf' : 'extension'
    if (byte === CR) return
    const { chunkExtensionBytes } = this.#limits
    if (this.#extensionBytes === chunkExtensionBytes)
      throw badChunk(`an extension of at most ${chunkExtensionBytes} bytes`, byte)
    if (this.#extensionBytes === 0) this.#extension = Buffer.allocUnsafeSlow(chunkExtensionBytes)
    this.#extension[this.#extensionBytes++] = byte
  }

  #endLine(byte: number): void {
    this.parts++
    this.#expect(LF, byte, this.#left > 0 ? 'data' : 'trailers')
    const extension = this.#extension.toString('latin1', 0, this.#extensionBytes)
    if (extension !== '' && !extensions.test(extension))
      throw refuse('bad-request', 'chunk extensions ;name=value', extension, 'RFC 9112 section 7.1.1')
    this.#digits = 0
    this.#extension = nothing
    this.#extensionBytes = 0
  }

  #expect(wanted: number, byte: number, next: State): void {
    if (byte !== wanted) throw badChunk(wanted === CR ? 'CR' : 'LF', byte)
    this.#state = next
  }

  #readTrailers(bytes: Buffer, from: number): number {
    const { trailerBytes, fields } = this.#limits
    const limits = { bytes: trailerBytes, lines: fields, firstLineBytes: trailerBytes }
    this.#trailers ??= new Section(limits)
    if (this.#trailers.take(bytes, from)) {
      checkTrailers(parseFields(this.#trailers.raw.toString('latin1'), 0))
      this.#state = 'done'
    }
    return this.#trailers.used
  }
}

function checkTrailers(fields: readonly Field[]): void {
  for (const { name } of fields) {
    if (/^(?:host|content-length|transfer-encoding)$/i.test(name))
      throw refuse('bad-request', 'no routing or framing in trailers', name, 'RFC 9110 section 6.5.1')
  }
}

/** The value of a hex digit, or -1. */
function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30
  const lower = byte | 0x20
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1
}

function badChunk(expected: string, byte: number): Error {
  return refuse('bad-request', `in a chunk ${expected}`, String.fromCharCode(byte), 'RFC 9112 section 7.1')
}
