/**
 * A terminal's second screen, on which frames are drawn over one another; the first one, with what the user had on it, comes
 * back when this is left.
 *
 * Its one hard idea: a terminal may stop reading (Ctrl-S, a frozen ssh), and a write to it then blocks the whole process,
 * tunnels and all. So it is opened anew, without blocking; what it does not take waits, and of frames only the newest.
 * Only to get the first screen back it is waited for, not long. After a `kill -9` nobody gives it back: `reset` does.
 */
import { closeSync, constants, openSync, writeSync } from 'node:fs'
import { WriteStream } from 'node:tty'
import colors from 'picocolors'
import type { Color, Row, Size } from './layout.ts'

/** What is needed of `tty.WriteStream`. */
export interface TerminalStream {
  readonly fd: number
  readonly columns: number
  readonly rows: number
}

/** The second screen, no cursor, and no going on in the next row where this believes a character narrower than it is. */
const ENTER = '\x1b[?1049h\x1b[?25l\x1b[?7l'
const LEAVE = '\x1b[?7h\x1b[?25h\x1b[?1049l'
/** What is typed is echoed where the cursor is: from here on that moves nothing, and the next frame is over it. */
const PARK = '\x1b[2;1H'
const RETRY_MS = 100
/** For a terminal that is behind to take the words with which it is left. */
const LEAVE_MS = 1000
/** of a terminal that does not say */
const USUAL: Size = { columns: 80, rows: 24 }

export class Screen {
  readonly #stream: TerminalStream
  readonly #fd: number
  readonly #paint: Record<Color, (text: string) => string>
  #size: Size = USUAL
  #isEntered = false
  #shown = ''
  /** what the terminal did not take yet, and the frame that goes after it */
  #rest: Buffer = Buffer.alloc(0)
  #next = ''
  #timer: NodeJS.Timeout | undefined

  constructor(stream: TerminalStream, hasColor: boolean) {
    this.#stream = stream
    this.#fd = openAgain(stream.fd)
    const { bgWhiteBright, black, ...plain } = colors.createColors(hasColor)
    this.#paint = { ...plain, ink: (text) => bgWhiteBright(black(text)) }
  }

  /** As it was when last entered. */
  get size(): Size {
    return this.#size
  }

  /** From now on frames are drawn, until it is left; the next one whatever the terminal made of those before. */
  enter(): void {
    this.#shown = ''
    const { columns, rows } = sizeOf(this.#stream)
    this.#size = columns > 0 && rows > 0 ? { columns, rows } : USUAL
    // Entering twice, it would forget where the cursor was on the first screen.
    if (!this.#isEntered) this.#write(ENTER)
    this.#isEntered = true
  }

  /** Draws `rows`, if they are others than those that are shown. */
  draw(rows: Row[]): void {
    if (!this.#isEntered) return
    // Erased first: after a full row the cursor stands on its last character.
    const frame = rows.map((row, at) => `\x1b[${at + 1};1H\x1b[K${this.#painted(row)}`).join('')
    if (frame === this.#shown) return
    this.#shown = frame
    const whole = `${frame}${rows.length < this.size.rows ? `\x1b[${rows.length + 1};1H\x1b[J` : ''}${PARK}`
    if (this.#rest.length > 0) this.#next = whole
    else this.#write(whole)
  }

  /** Back to the first screen at once; `words` stay on it. */
  leave(words = ''): void {
    if (!this.#isEntered) return
    this.#isEntered = false
    this.#next = ''
    this.#write(LEAVE + words)
    const end = performance.now() + LEAVE_MS
    // Its process is about to end or to stop, so this waits here.
    while (this.#rest.length > 0 && performance.now() < end) {
      Atomics.wait(clockwork, 0, 0, 5)
      this.#flush()
    }
  }

  /** Of no use any more. */
  close(): void {
    clearTimeout(this.#timer)
    if (this.#fd !== this.#stream.fd) closeSync(this.#fd)
  }

  #painted(row: Row): string {
    return row.map(({ text, color }) => (color === undefined ? text : this.#paint[color](text))).join('')
  }

  #write(text: string): void {
    this.#rest = Buffer.concat([this.#rest, Buffer.from(text)])
    this.#flush()
  }

  readonly #flush = (): void => {
    clearTimeout(this.#timer)
    this.#rest = this.#rest.subarray(this.#taken())
    if (this.#rest.length > 0) {
      this.#timer = setTimeout(this.#flush, RETRY_MS).unref()
    } else if (this.#next !== '') {
      const next = this.#next
      this.#next = ''
      this.#write(next)
    }
  }

  /** How much of the rest the terminal took; of one that is gone, all. */
  #taken(): number {
    let taken = 0
    try {
      while (taken < this.#rest.length) taken += writeSync(this.#fd, this.#rest, taken)
      return taken
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === 'EAGAIN' ? taken : this.#rest.length
    }
  }
}

/** Nobody ever wakes who waits for it. */
const clockwork = new Int32Array(new SharedArrayBuffer(4))

/** What the terminal says now: who was not in the foreground when it changed was not told, and neither was Node. */
function sizeOf({ fd, columns, rows }: TerminalStream): Size {
  const again = openAgain(fd)
  if (again === fd) return { columns, rows }
  try {
    const fresh = new WriteStream(again)
    fresh.destroy()
    return { columns: fresh.columns, rows: fresh.rows }
  } catch {
    closeSync(again)
    return { columns, rows }
  }
}

/** The same terminal with a state of its own, so that nobody else's writes change how they block. */
function openAgain(fd: number): number {
  for (const path of [`/proc/self/fd/${fd}`, '/dev/tty']) {
    try {
      return openSync(path, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY)
    } catch {
      // not on this system, or not ours to open
    }
  }
  return fd
}
