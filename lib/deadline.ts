/** A time limit on the part of something that is under way: it begins anew with each part. */
export class Deadline {
  readonly #onLate: () => void
  #timer: NodeJS.Timeout | undefined
  #part: number | undefined

  constructor(onLate: () => void) {
    this.#onLate = onLate
  }

  /** `part` is under way and must end within `limitMs` of when it was first named here. */
  watch(part: number, limitMs: number): void {
    if (part === this.#part) return
    this.stop()
    this.#part = part
    this.#timer = setTimeout(this.#onLate, limitMs)
  }

  /** Nothing is under way. */
  stop(): void {
    clearTimeout(this.#timer)
    this.#part = undefined
  }
}
