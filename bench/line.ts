/**
 * A connection of the load generator: asks, and counts the answer. Every answer is checked to be a 200 and followed
 * by its Content-Length; its bytes are read into one buffer that all connections share, so that reading costs little.
 */
import net from 'node:net'
import { pour } from './pour.ts'

const shared = Buffer.allocUnsafe(256 * 1024)

export class Line {
  readonly #socket: net.Socket
  #head = ''
  #left = 0
  #settle: { resolve: () => void; reject: (error: Error) => void } | undefined

  private constructor(port: number) {
    const onread = { buffer: shared, callback: (length: number) => this.#onBytes(length) }
    this.#socket = net.connect({ host: '127.0.0.1', port, noDelay: true, onread })
    this.#socket.on('error', (error) => this.#settle?.reject(error))
    this.#socket.on('end', () => this.#settle?.reject(new Error('the connection ended before its answer')))
  }

  static async open(port: number): Promise<Line> {
    const line = new Line(port)
    await line.#until(() => line.#socket.once('connect', () => line.#done()))
    return line
  }

  /** Sends a request, with a body of `bodyBytes`; settles when its answer is complete. */
  ask(request: Buffer, bodyBytes = 0): Promise<void> {
    return this.#until(() => {
      this.#socket.write(request)
      if (bodyBytes > 0) pour(this.#socket, bodyBytes)
    })
  }

  /** Settles when the connection has closed both ways; the peer, or `close`, begins it. */
  closed(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#socket.closed) resolve()
      else this.#socket.once('close', () => resolve())
    })
  }

  close(): Promise<void> {
    this.#socket.end()
    return this.closed()
  }

  #until(begin: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#settle = { resolve, reject }
      begin()
    })
  }

  #done(): void {
    const settle = this.#settle
    this.#settle = undefined
    settle?.resolve()
  }

  /** True: go on reading. */
  #onBytes(length: number): boolean {
    if (this.#left > 0) this.#left -= length
    else this.#onHead(shared.toString('latin1', 0, length))
    if (this.#left < 0) this.#settle?.reject(new Error(`${-this.#left} bytes more than the answer has`))
    if (this.#left === 0 && this.#head === '') this.#done()
    return true
  }

  /** Leaves `#head` empty once it is complete. */
  #onHead(text: string): void {
    this.#head += text
    const end = this.#head.indexOf('\r\n\r\n')
    if (end === -1) return
    const [, length] = /^HTTP\/1\.1 200 [^]*\r\nContent-Length: (\d+)/.exec(this.#head) ?? []
    if (length === undefined) this.#settle?.reject(new Error(`expected a 200, got ${this.#head}`))
    this.#left = Number(length) - (this.#head.length - end - 4)
    this.#head = ''
  }
}
