/** How public connections arrive: a proxy may speak for them first, and then, where we speak TLS, they are secured. */
import type { Socket } from 'node:net'
import type { Origin } from '../http/forwarded.ts'

interface Steps {
  originOf: (socket: Socket) => Origin | Promise<Origin>
  tls: { wrap(socket: Socket): Promise<Socket> } | undefined
}

type Ready = (socket: Socket, origin: Origin) => void

/** Calls `onReady` with the socket to read from; never, if a step fails: then the connection has been closed. */
export function arrivals({ originOf, tls }: Steps): (socket: Socket, onReady: Ready) => void {
  const securely = async (socket: Socket, origin: Origin | Promise<Origin>, onReady: Ready) => {
    const peer = await Promise.resolve(origin).catch(() => void socket.destroy())
    if (peer === undefined) return
    if (tls === undefined) return onReady(socket, peer)
    const secured = await tls.wrap(socket).catch(() => undefined) // which closes it, perhaps with a word
    if (secured !== undefined) onReady(secured, { ...peer, proto: 'https' })
  }
  return (socket, onReady) => {
    const origin = originOf(socket)
    if (tls === undefined && !(origin instanceof Promise)) onReady(socket, origin)
    else void securely(socket, origin, onReady)
  }
}
