/**
 * A small model of a terminal: it shows what a user would see of the bytes written to it. It knows what the program may
 * write, and throws on any other control: whatever else reaches a terminal is a fault.
 */
import { widthOf } from '../lib/text.ts'

interface Buffer {
  cells: string[][]
  row: number
  column: number
}

export class TestScreen {
  columns: number
  rows: number
  isCursorShown = true
  wraps = true
  /** the second screen is shown */
  isSecond = false
  /** the last colours set */
  style = ''
  /** what was asked to be put into the clipboard */
  copied: string | undefined
  #first: Buffer
  #second: Buffer
  #held = ''

  constructor(columns: number, rows: number) {
    this.columns = columns
    this.rows = rows
    this.#first = this.#empty()
    this.#second = this.#empty()
  }

  /** What is on the screen, trailing spaces and empty rows left out. */
  get text(): string {
    return this.lines.join('\n').trimEnd()
  }

  get lines(): string[] {
    return this.#shown.cells.map((row) => row.join('').trimEnd())
  }

  resize(columns: number, rows: number): void {
    this.columns = columns
    this.rows = rows
    for (const buffer of [this.#first, this.#second]) {
      buffer.cells = buffer.cells.slice(-rows).map((row) => row.slice(0, columns))
      while (buffer.cells.length < rows) buffer.cells.push([])
      buffer.row = Math.min(buffer.row, rows - 1)
      buffer.column = Math.min(buffer.column, columns - 1)
    }
  }

  /** Shows what came; half a sequence at the end is held until the rest comes. */
  write(text: string): void {
    let rest = this.#held + text
    this.#held = ''
    while (rest !== '') {
      const used = rest.startsWith('\x1b') ? this.#control(rest) : this.#character(rest)
      if (used === 0) this.#held = rest
      rest = used === 0 ? '' : rest.slice(used)
    }
  }

  get #shown(): Buffer {
    return this.isSecond ? this.#second : this.#first
  }

  #empty(): Buffer {
    return { cells: Array.from({ length: this.rows }, () => []), row: 0, column: 0 }
  }

  #character(text: string): number {
    const character = String.fromCodePoint(text.codePointAt(0) ?? 0)
    const buffer = this.#shown
    if (character === '\r') buffer.column = 0
    else if (character === '\n') this.#feed()
    else if (character === '\b') buffer.column = Math.max(0, buffer.column - 1)
    else if (character === '\x07') return 1
    else if (character < ' ' || (character >= '\x7f' && character < '\xa0'))
      throw new Error(`control character ${JSON.stringify(character)}`)
    else this.#put(character)
    return character.length
  }

  #put(character: string): void {
    const buffer = this.#shown
    const width = widthOf(character)
    if (buffer.column + width > this.columns) {
      buffer.column = this.wraps ? 0 : this.columns - width
      if (this.wraps) this.#feed()
    }
    const row = (buffer.cells[buffer.row] ??= [])
    while (row.length < buffer.column) row.push(' ')
    row.splice(buffer.column, width, character, ...Array<string>(width - 1).fill(''))
    buffer.column += width
  }

  #feed(): void {
    const buffer = this.#shown
    if (buffer.row < this.rows - 1) buffer.row += 1
    else {
      buffer.cells.shift()
      buffer.cells.push([])
    }
  }

  /** How long a control sequence is; 0 when its end has not come. */
  #control(text: string): number {
    const osc = /^\x1b\](\d+);([^\x07\x1b]*)\x07/.exec(text)
    if (osc !== null) return this.#command(osc[0], osc[1], osc[2])
    const csi = /^\x1b\[([?\d;]*)([A-Za-z])/.exec(text)
    if (csi !== null) return this.#sequence(csi[0], csi[1] ?? '', csi[2] ?? '')
    if (/^\x1b(\[[?\d;]*|\][^\x07\x1b]*)?$/.test(text)) return 0
    throw new Error(`unknown control ${JSON.stringify(text.slice(0, 20))}`)
  }

  #command(all: string, command = '', value = ''): number {
    if (command !== '52') throw new Error(`unknown command ${JSON.stringify(all)}`)
    this.copied = globalThis.Buffer.from(value.replace(/^c;/, ''), 'base64').toString()
    return all.length
  }

  #sequence(all: string, values: string, final: string): number {
    const known = `${values.startsWith('?') ? values : ''}${final}`
    const act = this.#sequences[known]
    if (act === undefined) throw new Error(`unknown sequence ${JSON.stringify(all)}`)
    act(values.split(';').map(Number))
    if (final === 'm') this.style = values
    return all.length
  }

  readonly #sequences: Record<string, (values: number[]) => void> = {
    H: ([row = 1, column = 1]) => {
      this.#shown.row = Math.min(this.rows, Math.max(1, row)) - 1
      this.#shown.column = Math.min(this.columns, Math.max(1, column)) - 1
    },
    // From the cursor on; behind a full row the cursor still stands on its last character.
    K: () => this.#shown.cells[this.#shown.row]?.splice(Math.min(this.#shown.column, this.columns - 1)),
    J: () => {
      this.#sequences['K']?.([])
      for (let row = this.#shown.row + 1; row < this.rows; row++) this.#shown.cells[row] = []
    },
    m: () => undefined,
    '?7h': () => (this.wraps = true),
    '?7l': () => (this.wraps = false),
    '?25h': () => (this.isCursorShown = true),
    '?25l': () => (this.isCursorShown = false),
    // It saves the cursor of the first screen: some terminals lose that when they are asked on the second.
    '?1049h': () => {
      if (this.isSecond) throw new Error('the second screen was entered twice')
      this.isSecond = true
      this.#second = this.#empty()
    },
    '?1049l': () => (this.isSecond = false),
    // An interactive shell says whether it wants pasted text marked.
    '?2004h': () => undefined,
    '?2004l': () => undefined,
  }
}
