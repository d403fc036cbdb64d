/**
 * One body from the app to a visitor or back, both in this process: so one clock tells when its half and its end have
 * come. Each has a connection of its own, and so a stream that begins with the window it is born with.
 */
import { once } from 'node:events'
import net from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { pour } from './pour.ts'

export type Way = 'down' | 'up'

/** In MB/s. */
export interface Rates {
  /** from the start of the request to the end of the body */
  whole: number
  /** of the second half of the body */
  lastHalf: number
}

/** The app: it takes what comes and does as `transfer` wants. */
export async function listenAsApp(): Promise<{ app: net.Server; appPort: number }> {
  const app = net.createServer({ noDelay: true }).listen(0, '127.0.0.1')
  await once(app, 'listening')
  return { app, appPort: (app.address() as AddressInfo).port }
}

/** Carries a body of `bytes` between `app` and a visitor of `port`, who asks for `host`. */
export async function transfer(
  app: net.Server,
  { port, host }: { port: number; host: string },
  { way, bytes }: { way: Way; bytes: number },
): Promise<Rates> {
  const from = performance.now()
  const visitor = net.connect({ port, host: '127.0.0.1', noDelay: true })
  const length = `Content-Length: ${bytes}\r\n\r\n`
  visitor.write(
    `${way === 'up' ? 'POST' : 'GET'} / HTTP/1.1\r\nHost: ${host}\r\n${way === 'up' ? length : '\r\n'}`,
  )
  const [socket] = (await once(app, 'connection')) as [Socket]
  if (way === 'down') {
    await once(socket, 'data')
    socket.write(`HTTP/1.1 200 OK\r\n${length}`)
  }
  const [source, sink] = way === 'down' ? [socket, visitor] : [visitor, socket]
  pour(source, bytes)
  const { halfAt, endAt } = await arrival(sink, bytes)
  for (const one of [visitor, socket]) one.on('error', () => undefined).destroy()
  const rate = (part: number, ms: number) => part / ms / 1000
  return { whole: rate(bytes, endAt - from), lastHalf: rate(bytes / 2, endAt - halfAt) }
}

/** When half of a body of `bytes`, and its last byte, have come out of `socket`, behind a head. */
function arrival(socket: Socket, bytes: number): Promise<{ halfAt: number; endAt: number }> {
  return new Promise((resolve, reject) => {
    let head = ''
    let came = -1
    let halfAt = 0
    socket.on('error', reject).on('end', () => reject(new Error(`expected ${bytes} bytes, got ${came}`)))
    socket.on('data', (chunk) => {
      if (came >= 0) came += chunk.length
      else {
        head += chunk.toString('latin1')
        const end = head.indexOf('\r\n\r\n')
        if (end >= 0) came = head.length - end - 4
      }
      if (halfAt === 0 && came >= bytes / 2) halfAt = performance.now()
      if (came === bytes) resolve({ halfAt, endAt: performance.now() })
    })
  })
}
