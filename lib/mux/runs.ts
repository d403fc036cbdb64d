/** Pieces joined where joining is cheaper than handing each on. */
const COPY_BELOW_BYTES = 4096

/** The pieces in their order, neighbours below 4 KiB joined by copying. */
export function runsOf<Piece extends Uint8Array>(pieces: Piece[]): (Piece | Buffer)[] {
  if (pieces.length === 1) return pieces
  const runs: (Piece | Buffer)[] = []
  let small: Piece[] = []
  for (const piece of pieces) {
    if (piece.length < COPY_BELOW_BYTES) {
      small.push(piece)
      continue
    }
    if (small.length > 0) runs.push(join(small))
    small = []
    runs.push(piece)
  }
  if (small.length > 0) runs.push(join(small))
  return runs
}

function join<Piece extends Uint8Array>(pieces: Piece[]): Piece | Buffer {
  return pieces.length === 1 && pieces[0] !== undefined ? pieces[0] : Buffer.concat(pieces)
}
