/**
 * One time limit for many: all may take equally long, so the first to begin is the first to be late, and one timer
 * serves them all.
 */

/** As long as a timer can be; more would be no time at all. */
export const LONGEST_MS = 2 ** 31 - 1

/** What `begin` gives and `end` takes. */
export type Ticket = number

/** Places at the front that nobody has any more are given back so many at a time. */
const TRIM = 1_024
/** Who is late is told so many in a row; then others have their turn, and what the late ones held is given back. */
const IN_A_ROW = 100

export class Deadline<Owner extends object> {
  readonly #limitMs: number
  readonly #onLate: (owner: Owner) => void
  /** in the order of their tickets, and since when in whole ms; undefined has ended */
  #owners: (Owner | undefined)[] = []
  #since: number[] = []
  /** the ticket of the first place, and the first place that may not be empty */
  #firstTicket = 1
  #front = 0
  #timer: NodeJS.Timeout | undefined

  constructor(limitMs: number, onLate: (owner: Owner) => void) {
    this.#limitMs = Math.min(limitMs, LONGEST_MS)
    this.#onLate = onLate
  }

  /** `onLate(owner)` is called unless `end` is in time. */
  begin(owner: Owner): Ticket {
    this.#since.push(Math.ceil(performance.now()))
    this.#timer ??= setTimeout(this.#sweep, this.#limitMs).unref()
    return this.#firstTicket + this.#owners.push(owner) - 1
  }

  /** Harmless where it has ended before. */
  end(ticket: Ticket): void {
    const place = ticket - this.#firstTicket
    if (place < this.#front) return
    this.#owners[place] = undefined
    if (place === this.#front) this.#advance()
  }

  /** Who will be late next. */
  get oldest(): Owner | undefined {
    return this.#owners[this.#front]
  }

  #advance(): void {
    const { length } = this.#owners
    while (this.#front < length && this.#owners[this.#front] === undefined) this.#front += 1
    if (this.#front < TRIM) return
    this.#owners = this.#owners.slice(this.#front)
    this.#since = this.#since.slice(this.#front)
    this.#firstTicket += this.#front
    this.#front = 0
  }

  readonly #sweep = (): void => {
    this.#timer = undefined
    const now = performance.now()
    let told = 0
    for (let owner = this.oldest; owner !== undefined; owner = this.oldest) {
      const leftMs = (this.#since[this.#front] ?? now) + this.#limitMs - now
      if (leftMs > 0 || ++told > IN_A_ROW) {
        this.#timer ??= setTimeout(this.#sweep, leftMs).unref()
        return
      }
      this.end(this.#firstTicket + this.#front)
      this.#onLate(owner)
    }
  }
}
