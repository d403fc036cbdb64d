/** Many bytes into a socket, no faster than it takes them. */
import type { Socket } from 'node:net'

const PIECE = Buffer.alloc(128 * 1024, 'x')

export function pour(socket: Socket, bytes: number): void {
  let left = bytes
  const more = () => {
    while (left > 0) {
      const piece = left < PIECE.length ? PIECE.subarray(0, left) : PIECE
      left -= piece.length
      if (!socket.write(piece)) return void socket.once('drain', more)
    }
  }
  more()
}
