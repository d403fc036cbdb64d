export interface Late {
  onLate(): void
}

const tell = (owner: Late): void => owner.onLate()

/** A time limit on the part of something that is under way: it begins anew with each part. */
export class Deadline {
  readonly #owner: Late
  #timer: NodeJS.Timeout | undefined
  #part: number | undefined

  constructor(owner: Late) {
    this.#owner = owner
  }

  /** `part` is under way and must end within `limitMs` of when it was first named here. */
  watch(part: number, limitMs: number): void {
    if (part === this.#part) return
    this.stop()
    this.#part = part
    this.#timer = setTimeout(tell, limitMs, this.#owner)
  }

  /** Nothing is under way. */
  stop(): void {
    clearTimeout(this.#timer)
    this.#part = undefined
  }
}
