/**
 * The app behind the tunnel, a process of its own: as little HTTP as the load asks for, on bare sockets, so that it is
 * never the bottleneck. It counts what reaches it, and tells when asked, so that nothing is measured that did not
 * arrive.
 *
 *   GET /            a small answer; with `Connection: close` it is the last
 *   GET /down/BYTES  that many bytes
 *   POST /           takes Content-Length bytes, then the small answer
 */
import net from 'node:net'
import { pour } from './pour.ts'
import { answerWorker } from './worker.ts'

export interface Counted {
  port: number
  requests: number
  /** of the bodies that came */
  bytes: number
}

const BODY = 'x'.repeat(100)
const KEEP = small('keep-alive')
const CLOSE = small('close')
const counted: Counted = { port: 0, requests: 0, bytes: 0 }

const server = net.createServer({ noDelay: true }, serve)
server.listen(0, '127.0.0.1', () => {
  counted.port = (server.address() as net.AddressInfo).port
  answerWorker(() => Promise.resolve(counted))
})

function serve(socket: net.Socket): void {
  let head = ''
  let bodyLeft = 0
  socket.on('error', () => undefined)
  socket.on('data', (bytes) => {
    if (bodyLeft === 0) {
      head += bytes.toString('latin1')
      const end = head.indexOf('\r\n\r\n')
      if (end === -1) return
      bodyLeft = numberIn(/\r\nContent-Length: (\d+)/i, head)
      if (bodyLeft > 0) return takeBody(head.length - end - 4)
      answer()
    } else {
      takeBody(bytes.length)
    }
  })

  function takeBody(came: number): void {
    counted.bytes += came
    bodyLeft -= came
    if (bodyLeft === 0) answer()
  }

  function answer(): void {
    const down = numberIn(/^GET \/down\/(\d+) /, head)
    const isLast = head.includes('\r\nConnection: close\r\n')
    head = ''
    counted.requests++
    if (isLast) socket.end(CLOSE)
    else if (down === 0) socket.write(KEEP)
    else download(socket, down)
  }
}

function download(socket: net.Socket, length: number): void {
  socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\nConnection: keep-alive\r\n\r\n`)
  pour(socket, length)
}

function small(connection: string): Buffer {
  const head = `HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ${BODY.length}\r\n`
  return Buffer.from(`${head}Connection: ${connection}\r\n\r\n${BODY}`)
}

function numberIn(pattern: RegExp, text: string): number {
  return Number(pattern.exec(text)?.[1] ?? 0)
}
