/**
 * What the end-to-end tests share: a server, a tunnel, a local service and a raw visitor, on free ports and real
 * sockets. Whatever a test starts here ends with it.
 */
import assert from 'node:assert/strict'
import { createCipheriv, createHash } from 'node:crypto'
import { once } from 'node:events'
import { type ChildProcess, fork } from 'node:child_process'
import http from 'node:http'
import type { IncomingHttpHeaders, RequestOptions } from 'node:http'
import net from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import type { TestContext } from 'node:test'
import { connect, serve, type ServeOptions, type Server, type Tunnel } from '../groktunnel.ts'

const DEADLINE_MS = 10_000

/** A server on a free port; it gives nobody time when it closes, unless told to. */
export async function startServer(t: TestContext, options: ServeOptions = {}): Promise<Server> {
  const server = await serve({ port: 0, graceMs: 0, ...options })
  t.after(() => {
    // A visitor that keeps its half open would keep the server from closing for some seconds.
    for (const { socket } of visitors) socket.destroy()
    return server.close()
  })
  return server
}

export interface Way {
  /** The server's port, where visitors connect. */
  port: number
  /** What visitors send as Host. */
  host: string
  tunnel: Tunnel
}

/** A tunnel from `server` to the port `local`. */
export async function openTunnel(t: TestContext, server: Server, local: number, name?: string): Promise<Way> {
  const named = name === undefined ? {} : { subdomain: name }
  const tunnel = await connect({ port: server.port, local, ...named })
  t.after(() => tunnel.close().catch(() => undefined))
  return { port: server.port, host: new URL(tunnel.url).host, tunnel }
}

/** A server and a tunnel to the port `local`. */
export async function tunnelTo(t: TestContext, local: number): Promise<Way> {
  return openTunnel(t, await startServer(t), local)
}

/** A local HTTP service. */
export async function httpApp(
  t: TestContext,
  listener: http.RequestListener,
): Promise<http.Server & { port: number }> {
  const app = http.createServer(listener)
  t.after(() => {
    app.close()
    app.closeAllConnections()
  })
  return Object.assign(app, { port: await listening(app, 0) })
}

/** A local TCP service; a socket may be half open. */
export async function tcpApp(
  t: TestContext,
  onSocket: (socket: Socket) => void,
): Promise<net.Server & { port: number; sockets: Set<Socket> }> {
  const sockets = new Set<Socket>()
  const app = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket))
    onSocket(socket)
  })
  t.after(() => {
    app.close()
    for (const socket of sockets) socket.destroy()
  })
  return Object.assign(app, { port: await listening(app, 0), sockets })
}

export async function listening(server: net.Server, port: number, bind = '127.0.0.1'): Promise<number> {
  server.listen(port, bind)
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

export interface Answer {
  status: number
  headers: IncomingHttpHeaders
  body: string
}

/** One request on a connection of its own, unless `options.agent` says otherwise. */
export function ask(
  way: Pick<Way, 'port' | 'host'>,
  options: RequestOptions = {},
  body?: string,
): Promise<Answer> {
  const headers = { host: way.host, ...(options.headers as Record<string, string> | undefined) }
  const request = http.request({ port: way.port, host: '127.0.0.1', agent: false, ...options, headers })
  const answer = new Promise<Answer>((resolve, reject) => {
    request.on('error', reject)
    request.on('response', (response) => {
      let text = ''
      response.setEncoding('latin1').on('data', (part: string) => (text += part))
      response.on('error', reject)
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text }),
      )
    })
  })
  request.end(body)
  return within(answer, `an answer to ${options.method ?? 'GET'} ${options.path ?? '/'}`)
}

/** A visitor as bytes: what it sends is up to the test, what it gets is kept. */
export class Visitor {
  readonly socket: Socket
  /** what came so far, as latin1 */
  text = ''
  /** how the other side ended: 'end' (FIN) or the code of the error (ECONNRESET); undefined while it did not */
  ending: string | undefined

  constructor(port: number) {
    this.socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
    this.socket.on('data', (bytes) => (this.text += bytes.toString('latin1')))
    this.socket.on('end', () => (this.ending ??= 'end'))
    this.socket.on('error', (error: NodeJS.ErrnoException) => (this.ending = error.code ?? error.message))
    this.socket.on('close', () => (this.ending ??= 'closed by the visitor'))
  }

  send(text: string | Buffer): this {
    this.socket.write(text)
    return this
  }

  /** Waits until `expected` has come. */
  async got(expected: string | RegExp): Promise<string> {
    const isThere = () =>
      typeof expected === 'string' ? this.text.includes(expected) : expected.test(this.text)
    await until(() => isThere() || this.ending !== undefined, `${expected} in ${shown(this.text)}`)
    assert.ok(isThere(), `expected ${expected}, got ${shown(this.text)} and ${this.ending}`)
    return this.text
  }

  /** Waits until the other side has ended, and says how. */
  async ended(): Promise<string> {
    await until(() => this.ending !== undefined, `an end after ${shown(this.text)}`)
    return this.ending ?? ''
  }
}

const visitors = new Set<Visitor>()

/** A visitor of `way`'s server, who leaves with the test. */
export function visitor(t: TestContext, way: { port: number }): Visitor {
  const one = new Visitor(way.port)
  visitors.add(one)
  one.socket.on('close', () => visitors.delete(one))
  t.after(() => one.socket.destroy())
  return one
}

function shown(text: string): string {
  return JSON.stringify(text.length > 300 ? `${text.slice(0, 150)}[...]${text.slice(-150)}` : text)
}

/** Waits for a condition; rejects with `what` was expected when it does not come true in time. */
export async function until(isTrue: () => boolean, what: string, ms = DEADLINE_MS): Promise<void> {
  const end = performance.now() + ms
  while (!isTrue()) {
    if (performance.now() > end)
      throw new assert.AssertionError({ message: `within ${ms} ms expected ${what}` })
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
}

/** `promise`, if it settles in time. */
export async function within<T>(promise: Promise<T>, what: string, ms = DEADLINE_MS): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    const error = new assert.AssertionError({ message: `within ${ms} ms expected ${what}` })
    timer = setTimeout(() => reject(error), ms)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

/** A server or a client in a process of its own (test/fixtures/peer.ts), and the first thing it says. */
export async function startPeer<T>(t: TestContext, ...argv: (string | number)[]): Promise<[ChildProcess, T]> {
  const file = new URL(`./fixtures/peer${import.meta.url.slice(-3)}`, import.meta.url)
  const peer = fork(file, argv.map(String), {
    execArgv: [...process.execArgv, '--expose-gc', '--disable-warning=ExperimentalWarning'],
  })
  t.after(() => peer.kill('SIGKILL'))
  return [peer, await said<T>(peer)]
}

/** Asks a peer; `rss` is answered with bytes, `usage` with a Usage. */
export function askPeer<T>(peer: ChildProcess, question: 'rss' | 'usage'): Promise<T> {
  peer.send(question)
  return said(peer)
}

async function said<T>(peer: ChildProcess): Promise<T> {
  const [message] = (await within(once(peer, 'message'), 'word from a peer')) as [T]
  return message
}

const BLOCK_BYTES = 1024 * 1024

/** `bytes` bytes that are always the same for a seed, look random, and cost little to make. */
export function* bodyOf(bytes: number, seed: string): Generator<Buffer, void> {
  const key = createHash('sha256').update(seed).digest()
  const cipher = createCipheriv('aes-256-ctr', key, Buffer.alloc(16))
  const zeros = Buffer.alloc(BLOCK_BYTES)
  for (let left = bytes; left > 0; left -= BLOCK_BYTES) yield cipher.update(zeros.subarray(0, left))
}

export function hashOfBody(bytes: number, seed: string): string {
  const hash = createHash('sha256')
  for (const block of bodyOf(bytes, seed)) hash.update(block)
  return hash.digest('hex')
}

/** The SHA-256 and the number of all bytes that come. */
export async function hashOf(stream: AsyncIterable<Buffer>): Promise<{ hash: string; bytes: number }> {
  const hash = createHash('sha256')
  let bytes = 0
  for await (const part of stream) {
    hash.update(part)
    bytes += part.length
  }
  return { hash: hash.digest('hex'), bytes }
}
