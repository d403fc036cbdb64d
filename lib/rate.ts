/** A token bucket: `burst` at once, then `perSecond`. Made for what a peer may ask of us for nothing. */
export class Rate {
  readonly #burst: number
  readonly #perSecond: number
  #left: number
  #at = performance.now()

  constructor(burst: number, perSecond: number) {
    this.#burst = burst
    this.#perSecond = perSecond
    this.#left = burst
  }

  /** Takes one; false when there is none. The clock is read only then. */
  take(): boolean {
    if (this.#left < 1) this.#refill()
    if (this.#left < 1) return false
    this.#left -= 1
    return true
  }

  /** Takes one in any case. Returns the ms until that is made good. */
  borrow(): number {
    if (this.#left < 1) this.#refill()
    this.#left -= 1
    return (Math.max(0, -this.#left) / this.#perSecond) * 1000
  }

  #refill(): void {
    const now = performance.now()
    this.#left = Math.min(this.#burst, this.#left + ((now - this.#at) / 1000) * this.#perSecond)
    this.#at = now
  }
}
