/**
 * The yamux frame: a header of 12 bytes, then, for data only, as many bytes as the header says.
 * Spec: https://github.com/hashicorp/yamux/blob/master/spec.md
 *
 * The reader hands payload on as it arrives and so holds at most one incomplete header, whatever length a header
 * claims. It knows nothing of channels and windows; what a frame may do is its sink's business.
 */
import { TunnelError } from '../errors.ts'

export const HEADER_BYTES = 12
export const FrameType = { data: 0, windowUpdate: 1, ping: 2, goAway: 3 } as const
export const Flag = { syn: 1, ack: 2, fin: 4, rst: 8 } as const
export const GoAway = { normal: 0, protocolError: 1, internalError: 2 } as const

export interface Frame {
  type: number
  flags: number
  /** 0 is the session, odd numbers the client's channels, even ones the server's. */
  id: number
  /** Data: bytes that follow. Window update: bytes granted. Ping: an opaque value. Go away: the reason. */
  length: number
}

export interface FrameSink {
  /** A header is complete; the payload of a data frame is still to come. */
  onFrame(frame: Frame): void
  /** The next bytes of the payload of `frame`; called once with an empty buffer when it has none. */
  onPayload(frame: Frame, bytes: Buffer, isLast: boolean): void
}

export function encodeHeader(type: number, flags: number, id: number, length: number): Buffer {
  const header = Buffer.allocUnsafe(HEADER_BYTES)
  header[0] = 0
  header[1] = type
  header.writeUInt16BE(flags, 2)
  header.writeUInt32BE(id, 4)
  header.writeUInt32BE(length, 8)
  return header
}

function decodeHeader(bytes: Buffer, at: number): Frame {
  if (bytes[at] !== 0) {
    throw new TunnelError('protocol-violation', `expected yamux version 0, got ${String(bytes[at])}`)
  }
  return {
    type: bytes.readUInt8(at + 1),
    flags: bytes.readUInt16BE(at + 2),
    id: bytes.readUInt32BE(at + 4),
    length: bytes.readUInt32BE(at + 8),
  }
}

export class FrameReader {
  readonly #sink: FrameSink
  readonly #partial = Buffer.alloc(HEADER_BYTES)
  #partialBytes = 0
  #frame: Frame | undefined
  #payloadLeft = 0

  constructor(sink: FrameSink) {
    this.#sink = sink
  }

  /** Headers read so far. */
  frames = 0

  /** Reads the next bytes of the connection. Throws `protocol-violation` on an unknown version, or what the sink throws. */
  read(bytes: Buffer): void {
    let at = 0
    while (at < bytes.length) {
      at = this.#frame === undefined ? this.#readHeader(bytes, at) : this.#readPayload(this.#frame, bytes, at)
    }
  }

  #readHeader(bytes: Buffer, from: number): number {
    if (this.#partialBytes === 0 && bytes.length - from >= HEADER_BYTES) {
      this.#begin(decodeHeader(bytes, from))
      return from + HEADER_BYTES
    }
    const copied = bytes.copy(this.#partial, this.#partialBytes, from)
    this.#partialBytes += copied
    if (this.#partialBytes === HEADER_BYTES) {
      this.#partialBytes = 0
      this.#begin(decodeHeader(this.#partial, 0))
    }
    return from + copied
  }

  #begin(frame: Frame): void {
    this.frames += 1
    this.#sink.onFrame(frame)
    if (frame.type !== FrameType.data) return
    if (frame.length === 0) {
      this.#sink.onPayload(frame, Buffer.alloc(0), true)
      return
    }
    this.#frame = frame
    this.#payloadLeft = frame.length
  }

  #readPayload(frame: Frame, bytes: Buffer, from: number): number {
    const to = Math.min(from + this.#payloadLeft, bytes.length)
    this.#payloadLeft -= to - from
    const isLast = this.#payloadLeft === 0
    if (isLast) this.#frame = undefined
    this.#sink.onPayload(frame, bytes.subarray(from, to), isLast)
    return to
  }
}
