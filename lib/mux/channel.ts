/**
 * A channel: one yamux stream seen as a Node `Duplex`, with half-close and reset both ways. It emits 'goodbye' when the
 * peer is about to leave and waits for its channels to end.
 *
 * Its one hard idea is credit. The peer may send as much as it has been granted; bytes that came but were not
 * yet read by the consumer are not granted again. So a paused reader costs at most one window of memory, stops
 * its sender, and loses nothing. The window doubles when a quarter of it was read within one round trip: then it
 * is the window that holds the sender back, not the reader.
 *
 * It says what it 'received' and 'sent', so that whoever only looks on (lib/tap.ts) need not stand in the way.
 */
import { Duplex } from 'node:stream'
import { TunnelError } from '../errors.ts'
import { Flag } from './frames.ts'
import type { Gather } from './gather.ts'
import { runsOf } from './runs.ts'

/** The receive window every channel starts with, fixed by the spec. */
export const INITIAL_WINDOW_BYTES = 256 * 1024
/** However large the window, credit is given once so much was read, so that the sender need not stand still for it. */
const GRANT_BYTES = 512 * 1024
/** Small pieces that must wait for a slow reader are copied together, or their bookkeeping would outgrow them. */
const SMALL_BYTES = 2048

/** What a channel needs of a yamux stream. It is asked, not listened to: its events cost more than a small frame. */
export interface Stream {
  readonly streamId: number
  readonly status: string
  /** bytes given to it that its send window did not take yet */
  readonly writeBufferLength: number
  send(bytes: Uint8Array): boolean
  close(): Promise<void>
  abort(error: Error): void
  handleWindowUpdate(frame: { header: { type: 1; flag: number; streamID: number; length: number } }): void
}

/** What a channel needs of its session. */
export interface Carrier {
  readonly gather: Gather
  readonly rttMs: number
  readonly maxWindowBytes: number
  /** The channel has something to deliver when this read is done. */
  arrived(channel: Channel): void
  /** Grants the peer more bytes on a channel. */
  grant(id: number, bytes: number): void
  /** Takes from what windows may grow by in all; false when used up. A negative number gives back. */
  grow(bytes: number): boolean
  /** The stream has ended both ways or was reset; the peer may still have `credit` bytes on the way. */
  forget(id: number, credit: number): void
}

export class Channel extends Duplex {
  readonly id: number
  readonly #stream: Stream
  readonly #carrier: Carrier
  #window = INITIAL_WINDOW_BYTES
  #credit = INITIAL_WINDOW_BYTES
  /** Read since a quarter of the window was last read, and when that was. */
  #readBytes = 0
  #quarterAt = performance.now()
  /** announced, not yet delivered */
  #coming = 0
  #arrived: Buffer[] = []
  #small: Buffer[] = []
  #smallBytes = 0
  #isAcknowledged = false
  #remoteEnded = false
  #isLost = false
  #waiting: (() => void) | undefined

  constructor(stream: Stream, carrier: Carrier) {
    // What is buffered is bounded by credit; the high water mark only must never be reached.
    super({
      readableHighWaterMark: 2 * carrier.maxWindowBytes,
      writableHighWaterMark: 64 * 1024,
      decodeStrings: true,
    })
    this.id = stream.streamId
    this.#stream = stream
    this.#carrier = carrier
  }

  /** The peer announces `bytes` of payload. Throws `protocol-violation` when it was not granted that much. */
  spend(bytes: number): void {
    if (bytes > this.#credit) {
      throw new TunnelError(
        'protocol-violation',
        `channel ${this.id}: ${bytes} bytes came, ${this.#credit} were granted`,
      )
    }
    if (this.#remoteEnded)
      throw new TunnelError('protocol-violation', `channel ${this.id}: data after its end`)
    this.#credit -= bytes
    this.#coming += bytes
  }

  /** Whether these flags of the peer are its first acknowledgement of the channel. */
  acknowledge(flags: number): boolean {
    const isFirst = (flags & Flag.ack) !== 0 && !this.#isAcknowledged
    this.#isAcknowledged ||= isFirst
    return isFirst
  }

  /** Payload that was announced. It is delivered at the end of the read that it came in. */
  receive(bytes: Buffer): void {
    if (this.destroyed || bytes.length === 0) return
    if (this.#arrived.push(bytes) === 1) this.#carrier.arrived(this)
  }

  /** Hands on what has come, small pieces joined. */
  deliver(): void {
    const arrived = this.#arrived
    if (arrived.length === 0) return
    this.#arrived = []
    for (const bytes of runsOf(arrived)) {
      this.#coming -= bytes.length
      this.emit('received', bytes)
      if (this.readableFlowing === true && this.readableLength === 0) this.push(bytes)
      else this.#keep(bytes)
    }
    this.#giveCredit()
  }

  /** Flags and send window that came from the peer. */
  control(flags: number, granted: number): void {
    this.deliver()
    this.#stream.handleWindowUpdate({
      header: { type: 1, flag: flags, streamID: this.id, length: granted },
    })
    // The stream sends what waited in a microtask of its own, which this one comes after.
    if (this.#waiting !== undefined) queueMicrotask(this.#onSent)
    if (flags & Flag.fin && !this.#remoteEnded) this.#onRemoteEnd()
    if (flags & Flag.rst)
      this.destroy(new TunnelError('channel-reset', `channel ${this.id} was reset by the peer`))
  }

  /** The session is gone. What the peer had finished sending is still read to its end, then nothing more is written. */
  cut(error: Error): void {
    if (!this.#remoteEnded) return void this.destroy(error)
    this.#isLost = true
    if (this.readableEnded) this.destroy(error)
    else this.once('end', () => this.destroy(error))
  }

  override read(size?: number): Buffer | null {
    const chunk = super.read(size) as Buffer | null
    if (this.#smallBytes > 0 && this.readableLength === 0) this.#releaseSmall()
    this.#giveCredit()
    return chunk
  }

  override _read(): void {
    // Data is pushed as it comes; read() gives the credit.
  }

  override _write(chunk: Buffer, _encoding: string, callback: (error?: Error) => void): void {
    const { gather } = this.#carrier
    if (this.#isLost) return
    if (gather.congested) gather.whenClear(this, () => this.#send(chunk, callback))
    else this.#send(chunk, callback)
  }

  override _final(callback: (error?: Error) => void): void {
    this.#stream.close().then(() => callback(), callback)
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    if (this.#stream.status === 'open') this.#stream.abort(dropped)
    this.#arrived = []
    this.#small = []
    this.#carrier.gather.giveUp(this)
    this.#carrier.forget(this.id, this.#remoteEnded ? 0 : this.#credit)
    this.#carrier.grow(INITIAL_WINDOW_BYTES - this.#window)
    callback(error)
  }

  #send(chunk: Buffer, callback: (error?: Error) => void): void {
    if (this.destroyed) return
    try {
      this.#stream.send(chunk)
    } catch (error) {
      return callback(error as Error)
    }
    this.emit('sent', chunk)
    if (this.#stream.writeBufferLength === 0) callback()
    else this.#waiting = callback
  }

  readonly #onSent = (): void => {
    const waiting = this.#waiting
    if (waiting === undefined || this.#stream.writeBufferLength > 0) return
    this.#waiting = undefined
    waiting()
  }

  #onRemoteEnd(): void {
    this.#remoteEnded = true
    this.#releaseSmall()
    this.push(null)
  }

  /** For a reader that is busy. A slice would keep alive all of the read that it came in, so it is copied out of it. */
  #keep(bytes: Buffer): void {
    const own = bytes.length * 2 < bytes.buffer.byteLength ? Buffer.from(bytes) : bytes
    if (bytes.length >= SMALL_BYTES) {
      this.#releaseSmall()
      this.push(own)
      return
    }
    this.#small.push(own)
    this.#smallBytes += own.length
    if (this.readableLength === 0 || this.#smallBytes >= SMALL_BYTES || this.#small.length >= 64)
      this.#releaseSmall()
  }

  #releaseSmall(): void {
    if (this.#smallBytes === 0) return
    const bytes = Buffer.concat(this.#small)
    this.#small = []
    this.#smallBytes = 0
    this.push(bytes)
  }

  #giveCredit(): void {
    if (this.#remoteEnded || this.destroyed) return
    const held = this.readableLength + this.#smallBytes + this.#coming
    const read = this.#window - this.#credit - held
    if (read < Math.min(this.#window / 4, GRANT_BYTES)) return
    this.#readBytes += read
    const grown = this.#readBytes < this.#window / 4 ? 0 : this.#growth()
    this.#window += grown
    this.#credit += read + grown
    this.#carrier.grant(this.id, read + grown)
  }

  /** By how much the window grows, now that a quarter of it was read. */
  #growth(): number {
    const now = performance.now()
    const isHeldBack = now - this.#quarterAt < this.#carrier.rttMs
    this.#quarterAt = now
    this.#readBytes = 0
    if (!isHeldBack) return 0
    const bytes = Math.min(this.#window, this.#carrier.maxWindowBytes - this.#window)
    return bytes > 0 && this.#carrier.grow(bytes) ? bytes : 0
  }
}

const dropped = new TunnelError('channel-reset', 'the channel was dropped by this side')
