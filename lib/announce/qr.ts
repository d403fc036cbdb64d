/**
 * A URL as a QR code for a terminal: half-block characters, two modules above each other in one, which come out square.
 * The only importer of uqr. It writes no colours: who prints it says what the ink is.
 */
import { encode } from 'uqr'

export interface QrOptions {
  /** What the terminal has room for; default 80 by 24, of which the prompt takes a row. */
  columns?: number
  rows?: number
  /**
   * What the characters paint: `dark` for black ink on a white ground, where colours can be set; `light` where they cannot,
   * for light ink on the dark ground that most terminals have. Default `dark`.
   */
  ink?: 'dark' | 'light'
}

/** Light modules round the code; scanners want four, and most are content with less (ISO/IEC 18004 section 9.1). */
const QUIET = [4, 3, 2, 1]

/** The rows of the code of `url`; undefined where there is no room for it. */
export function qrCode(
  url: string,
  { columns = 80, rows = 24, ink = 'dark' }: QrOptions = {},
): string[] | undefined {
  const { data, size } = encode(url, { ecc: 'L', border: 0 })
  const fits = (quiet: number) => size + 2 * quiet <= Math.min(columns, 2 * (rows - 1))
  const quiet = QUIET.find(fits)
  if (quiet === undefined) return undefined
  const isInked = (row: number, column: number) => (data[row]?.[column] === true) === (ink === 'dark')
  const span = Array.from({ length: size + 2 * quiet }, (_, at) => at - quiet)
  const halves = span.filter((_, at) => at % 2 === 0)
  return halves.map((row) =>
    span.map((column) => half(isInked(row, column), isInked(row + 1, column))).join(''),
  )
}

/** A code in black on white, whatever colours the terminal has. */
export function inked(rows: string[]): string[] {
  return rows.map((row) => `\x1b[30;107m${row}\x1b[0m`)
}

function half(isTop: boolean, isBottom: boolean): string {
  if (isTop) return isBottom ? '█' : '▀'
  return isBottom ? '▄' : ' '
}
