/**
 * A long way in a box: a TCP relay that passes on whatever comes, each way, `delayMs` later and in order: bytes,
 * half-closes and resets. It reads on for as long as it holds less than 64 MiB of a connection and way, so what limits
 * a stream over it is the stream's own window, or the line if that was given a rate. It loses nothing, and to connect
 * over it takes no time.
 */
import { once } from 'node:events'
import net from 'node:net'
import type { AddressInfo, Socket } from 'node:net'

export interface Distance {
  /** One way; a round trip takes twice that. */
  delayMs: number
  /** What the line carries, each connection and way by itself; default: whatever comes. */
  bytesPerMs?: number
}

export interface Relay {
  port: number
  /** Cuts what is open, and listens no longer. */
  close(): Promise<void>
}

const HELD_BYTES = 64 * 1024 * 1024
/** Timers are no finer than a millisecond: what the line is ahead by until it is stopped. */
const AHEAD_MS = 2

/** Relays connections to the port `target` of this machine. */
export async function startRelay(target: number, distance: Distance): Promise<Relay> {
  const sockets = new Set<Socket>()
  const keep = (socket: Socket) => sockets.add(socket.on('close', () => sockets.delete(socket)))
  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
    const far = net.connect({ host: '127.0.0.1', port: target, allowHalfOpen: true, noDelay: true })
    for (const socket of [near, far]) keep(socket)
    pass(near, far, distance)
    pass(far, near, distance)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const close = async () => {
    const closed = once(server, 'close')
    server.close()
    for (const socket of sockets) socket.destroy()
    await closed
  }
  return { port: (server.address() as AddressInfo).port, close }
}

function pass(from: Socket, to: Socket, { delayMs, bytesPerMs = Infinity }: Distance): void {
  let onTheWay = 0
  let lineFreeAt = 0
  // Timers of one length end in the order in which they began.
  const later = (what: () => void) => void setTimeout(() => to.destroyed || what(), delayMs)
  const isFull = () => onTheWay + to.writableLength > HELD_BYTES
  const isBusy = () => lineFreeAt > performance.now() + AHEAD_MS
  const goOn = () => void (isFull() || isBusy() || from.resume())

  from.on('data', (bytes: Buffer) => {
    onTheWay += bytes.length
    lineFreeAt = Math.max(lineFreeAt, performance.now()) + bytes.length / bytesPerMs
    if (isBusy()) setTimeout(goOn, lineFreeAt - performance.now())
    if (isFull() || isBusy()) from.pause()
    later(() => {
      onTheWay -= bytes.length
      to.write(bytes)
      goOn()
    })
  })
  to.on('drain', goOn)
  from.on('end', () => later(() => to.end()))
  from.on('error', () => later(() => to.resetAndDestroy()))
}
