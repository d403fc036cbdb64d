/**
 * Frames gathered until the event loop has served every socket of its turn, then written at once: a system call
 * a turn instead of one a frame, which is most of what a small request costs. Where channels share the session, little
 * waits for one turn more: that halves the calls again. Small pieces are copied into one buffer, large ones go as they
 * are.
 *
 * It also says when the peer has fallen behind, and whose turn it is once it has caught up (first come, first
 * served, so one greedy channel cannot starve the others).
 */
import type { Socket } from 'node:net'
import { runsOf } from './runs.ts'

const CONGESTED_ABOVE_BYTES = 512 * 1024
const COMPANY_MS = 5
const LITTLE_BYTES = 16 * 1024

export class Gather {
  /** How often the peer has caught up. */
  drains = 0
  readonly #socket: Socket
  readonly #isShared: () => boolean
  #pieces: Uint8Array[] = []
  #bytes = 0
  #isDue = false
  #late: NodeJS.Timeout | undefined
  readonly #waiting = new Map<object, () => void>()

  /** `isShared` says whether more than one channel may have something to send. */
  constructor(socket: Socket, isShared: () => boolean) {
    this.#socket = socket
    this.#isShared = isShared
    socket.on('drain', () => {
      this.drains += 1
      this.#release()
    })
  }

  /** True when what waits to be sent is more than one turn's worth; ask `whenClear` before sending data. */
  get congested(): boolean {
    return this.#bytes + this.#socket.writableLength > CONGESTED_ABOVE_BYTES
  }

  /** True when the peer has not taken all that was given to the socket; it has once `drains` counts on. */
  get isBehind(): boolean {
    return this.#socket.writableNeedDrain
  }

  /** Calls back once, when the peer has caught up; never, if the socket closes first or `owner` gives up its place. */
  whenClear(owner: object, callback: () => void): void {
    this.#waiting.set(owner, callback)
  }

  giveUp(owner: object): void {
    this.#waiting.delete(owner)
  }

  write(piece: Uint8Array): void {
    this.#add(piece)
    if (this.#isDue) return
    this.#isDue = true
    setImmediate(this.#onTurn)
  }

  readonly #onTurn = (): void => {
    if (this.#bytes < LITTLE_BYTES && this.#isShared()) setImmediate(this.flush)
    else this.flush()
  }

  /** For what nobody waits for: it goes with the next write, or alone after 5 ms. */
  writeLate(piece: Uint8Array): void {
    this.#add(piece)
    this.#late ??= setTimeout(this.flush, COMPANY_MS)
  }

  #add(piece: Uint8Array): void {
    this.#pieces.push(piece)
    this.#bytes += piece.length
  }

  /** Hands everything gathered to the socket now. */
  readonly flush = (): void => {
    this.#isDue = false
    clearTimeout(this.#late)
    this.#late = undefined
    const pieces = this.#pieces
    if (pieces.length === 0) return
    this.#pieces = []
    this.#bytes = 0
    if (this.#socket.destroyed) return
    this.#socket.cork()
    for (const run of runsOf(pieces)) this.#socket.write(run)
    this.#socket.uncork()
    // The socket never signals 'drain' for what it took at once.
    if (!this.#socket.writableNeedDrain) this.#release()
  }

  #release(): void {
    for (const [owner, callback] of this.#waiting) {
      if (this.congested) return
      this.#waiting.delete(owner)
      callback()
    }
  }
}
