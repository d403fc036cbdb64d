/**
 * One time limit for many: all may take equally long, so the first to begin is the first to be late, and one timer
 * serves them all.
 */
import { NumberMap } from './number-map.ts'

/** What `begin` gives and `end` takes. */
export type Ticket = number

export class Deadline<Owner> {
  readonly #limitMs: number
  readonly #onLate: (owner: Owner) => void
  readonly #owners = new NumberMap<Owner>()
  /** since when, in whole ms */
  readonly #since = new NumberMap<number>()
  #oldest = 1
  #newest = 0
  #timer: NodeJS.Timeout | undefined

  constructor(limitMs: number, onLate: (owner: Owner) => void) {
    this.#limitMs = limitMs
    this.#onLate = onLate
  }

  /** `onLate(owner)` is called unless `end` is in time. */
  begin(owner: Owner): Ticket {
    const ticket = ++this.#newest
    this.#owners.set(ticket, owner)
    this.#since.set(ticket, Math.ceil(performance.now()))
    this.#timer ??= setTimeout(this.#sweep, this.#limitMs).unref()
    return ticket
  }

  /** Who will be late next. */
  get oldest(): Owner | undefined {
    for (; this.#oldest <= this.#newest; this.#oldest++) {
      const owner = this.#owners.get(this.#oldest)
      if (owner !== undefined) return owner
    }
    return undefined
  }

  /** Harmless where it has ended before. */
  end(ticket: Ticket): void {
    this.#owners.delete(ticket)
    this.#since.delete(ticket)
  }

  readonly #sweep = (): void => {
    this.#timer = undefined
    const now = performance.now()
    for (let owner = this.oldest; owner !== undefined; owner = this.oldest) {
      const leftMs = (this.#since.get(this.#oldest) ?? now) + this.#limitMs - now
      if (leftMs > 0) {
        this.#timer ??= setTimeout(this.#sweep, leftMs).unref()
        return
      }
      this.end(this.#oldest)
      this.#onLate(owner)
    }
  }
}
