/**
 * How long requests took of late, in a memory that never grows: histograms of ten seconds each, of which those of the last
 * five minutes are kept. A bar is a tenth wider than the one before, so a percentile is right within 5 %; means are exact.
 */
const SLOT_MS = 10_000
const SLOTS = 30
const SLOTS_A_MINUTE = 6
const SHORTEST_MS = 0.01
const RATIO = 1.1
/** up to 2.7 hours */
const BARS = 218

/** Times in ms; undefined where there was no request. */
export interface Times {
  /** the mean of the last minute, and of the last five */
  rt1: number | undefined
  rt5: number | undefined
  /** what half, and nine of ten, of the last five minutes were within */
  p50: number | undefined
  p90: number | undefined
}

interface Slot {
  /** which ten seconds of the clock */
  id: number
  count: number
  sumMs: number
  bars: Uint32Array
}

export class Durations {
  readonly #now: () => number
  readonly #slots: Slot[] = Array.from({ length: SLOTS }, () => ({
    id: -1,
    count: 0,
    sumMs: 0,
    bars: new Uint32Array(BARS),
  }))

  /** `now` is a clock in ms that only goes forward. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  add(ms: number): void {
    const slot = this.#slot()
    slot.count += 1
    slot.sumMs += ms
    const bar = Math.min(BARS - 1, Math.max(0, Math.ceil(Math.log(ms / SHORTEST_MS) / Math.log(RATIO))))
    slot.bars[bar] = (slot.bars[bar] ?? 0) + 1
  }

  times(): Times {
    const five = this.#since(SLOTS)
    return {
      rt1: mean(this.#since(SLOTS_A_MINUTE)),
      rt5: mean(five),
      p50: percentile(five, 0.5),
      p90: percentile(five, 0.9),
    }
  }

  #slot(): Slot {
    const id = Math.floor(this.#now() / SLOT_MS)
    const slot = this.#slots[id % SLOTS] as Slot
    if (slot.id === id) return slot
    slot.bars.fill(0)
    return Object.assign(slot, { id, count: 0, sumMs: 0 })
  }

  /** The last `slots`, the one that is under way among them. */
  #since(slots: number): Slot[] {
    const id = Math.floor(this.#now() / SLOT_MS)
    return this.#slots.filter((slot) => slot.count > 0 && slot.id > id - slots)
  }
}

function countOf(slots: Slot[]): number {
  return slots.reduce((sum, { count }) => sum + count, 0)
}

function mean(slots: Slot[]): number | undefined {
  const count = countOf(slots)
  return count === 0 ? undefined : slots.reduce((sum, { sumMs }) => sum + sumMs, 0) / count
}

/** The middle of the bar in which the request stands that `part` of all are not slower than. */
function percentile(slots: Slot[], part: number): number | undefined {
  const rank = Math.ceil(countOf(slots) * part)
  if (rank === 0) return undefined
  for (let bar = 0, seen = 0; bar < BARS; bar++) {
    for (const { bars } of slots) seen += bars[bar] ?? 0
    if (seen >= rank) return SHORTEST_MS * RATIO ** (bar - 0.5)
  }
  return undefined
}
