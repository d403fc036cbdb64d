/**
 * One time limit for many: all may take equally long, so the first to begin is the first to be late, and one timer
 * serves them all.
 */
export class Deadline<Owner> {
  readonly #limitMs: number
  readonly #onLate: (owner: Owner) => void
  /** who is under way, and since when in whole ms, the oldest first */
  readonly #since = new Map<Owner, number>()
  #timer: NodeJS.Timeout | undefined

  constructor(limitMs: number, onLate: (owner: Owner) => void) {
    this.#limitMs = limitMs
    this.#onLate = onLate
  }

  /** `owner` begins, or begins anew; `onLate` is called unless it ends in time. */
  begin(owner: Owner): void {
    this.#since.delete(owner)
    this.#since.set(owner, Math.ceil(performance.now()))
    this.#timer ??= setTimeout(this.#sweep, this.#limitMs).unref()
  }

  end(owner: Owner): void {
    this.#since.delete(owner)
  }

  readonly #sweep = (): void => {
    this.#timer = undefined
    const now = performance.now()
    for (const [owner, since] of this.#since) {
      const leftMs = since + this.#limitMs - now
      if (leftMs > 0) {
        this.#timer ??= setTimeout(this.#sweep, leftMs).unref()
        return
      }
      this.#since.delete(owner)
      this.#onLate(owner)
    }
  }
}
