/**
 * Connections beyond a limit. Each has a second to ask for something, and is answered 503 if that is a visit. There are
 * few: the oldest makes room for the next, so that a flood of them costs no more than these, and whoever registers, which
 * takes a round trip, finds room.
 */
import type { Socket } from 'node:net'
import { answer } from '../answer.ts'
import { Deadline, type Ticket } from '../deadline.ts'
import type { TunnelError } from '../errors.ts'

const ASK_MS = 1_000

interface Guest {
  reason: TunnelError
  /** it speaks HTTP to us, not TLS yet */
  isSecured: boolean
  due: Ticket
}

export class Guests {
  readonly #most: number
  readonly #isTls: boolean
  readonly #guests = new Map<Socket, Guest>()
  readonly #silent = new Deadline<Socket>(ASK_MS, (socket) => this.#dismiss(socket))

  constructor(most: number, isTls: boolean) {
    this.#most = most
    this.#isTls = isTls
  }

  all(): Iterable<Socket> {
    return this.#guests.keys()
  }

  add(socket: Socket, reason: TunnelError): void {
    for (const oldest of this.#guests.keys()) {
      if (this.#guests.size < this.#most) break
      this.#dismiss(oldest)
      this.delete(oldest)
      oldest.destroy()
    }
    this.#guests.set(socket, { reason, isSecured: !this.#isTls, due: this.#silent.begin(socket) })
  }

  /** It asks for a visit, or for what a guest may have. Returns why it may not visit; undefined where it is no guest. */
  ask(socket: Socket): TunnelError | undefined {
    const guest = this.#guests.get(socket)
    if (guest !== undefined) this.#silent.end(guest.due)
    return guest?.reason
  }

  delete(socket: Socket): boolean {
    const guest = this.#guests.get(socket)
    if (guest !== undefined) this.#silent.end(guest.due)
    return this.#guests.delete(socket)
  }

  /** `secured` is the guest from now on. */
  replace(socket: Socket, secured: Socket): boolean {
    const guest = this.#guests.get(socket)
    if (guest === undefined) return false
    this.delete(socket)
    this.#guests.set(secured, { reason: guest.reason, isSecured: true, due: this.#silent.begin(secured) })
    secured.on('close', () => this.delete(secured))
    return true
  }

  /** Who was answered has had time to read it; who has said nothing is told why. It is a guest until it has closed. */
  #dismiss(socket: Socket): void {
    const guest = this.#guests.get(socket)
    const canHear = guest?.isSecured === true && !socket.writableEnded && socket.bytesRead === 0
    if (canHear) socket.end(answer(guest.reason), () => socket.destroy())
    else socket.destroy()
  }
}
