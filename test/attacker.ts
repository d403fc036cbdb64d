/**
 * Helpers for the tests of the wire: yamux frames written by hand, raw peers that keep to no rule, and victims in a
 * process of their own, whose memory is measured. Frames are encoded and read here independently of lib/mux.
 *
 * Run with an argument, this file is such a process: a victim (`serve`, `connect`) or a neighbour (`innocent`).
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import type { EventEmitter } from 'node:events'
import http from 'node:http'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import net from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { connect, serve } from '../groktunnel.ts'

export const KIB = 1024
export const MIB = 1024 * 1024
export const [DATA, UPDATE, PING, GOAWAY] = [0, 1, 2, 3]
export const [SYN, ACK, FIN, RST] = [1, 2, 4, 8]
const DEADLINE_MS = 10_000

/** Whole collections, on every Node and without a flag; a second one, for the first may still sweep array buffers. */
export const collectGarbage: () => void = (() => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  return () => {
    collect()
    collect()
  }
})()

export interface RawFrame {
  type: number
  flags: number
  id: number
  length: number
}

/** A yamux header, and what follows it; `length` is the payload's unless given. */
export function frame(
  type: number,
  flags: number,
  id: number,
  length?: number,
  payload?: Uint8Array | string,
): Buffer {
  const body = Buffer.from(payload ?? '')
  const header = Buffer.alloc(12)
  header.writeUInt8(type, 1)
  header.writeUInt16BE(flags, 2)
  header.writeUInt32BE(id, 4)
  header.writeUInt32BE(length ?? body.length, 8)
  return Buffer.concat([header, body])
}

export function data(id: number, payload: Uint8Array | string, flags = 0): Buffer {
  return frame(DATA, flags, id, undefined, payload)
}

/** Settles as `promise` does; rejects when that takes longer than `ms`. */
export async function within<T>(promise: Promise<T>, what: string, ms = DEADLINE_MS): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`expected within ${ms} ms: ${what}`)), ms)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

/** The first `name` event, or an error when it does not come in time. */
export function event(emitter: EventEmitter, name: string, ms = DEADLINE_MS): Promise<unknown[]> {
  return within(once(emitter, name), name, ms)
}

/** Listens on a free port of 127.0.0.1 until the test ends; the connections it has are destroyed then. */
export async function listening(t: TestContext, server: net.Server): Promise<number> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined).once('close', () => sockets.delete(socket))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(async () => {
    const closed = once(server, 'close')
    server.close()
    for (const socket of sockets) socket.destroy()
    await closed
  })
  return (server.address() as AddressInfo).port
}

/** Both ends of a TCP connection, destroyed when the test ends. */
export async function tcpPair(t: TestContext): Promise<[Socket, Socket]> {
  const server = net.createServer({ allowHalfOpen: true, noDelay: true })
  const port = await listening(t, server)
  const accepted = once(server, 'connection')
  const a = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
  t.after(() => a.destroy())
  await once(a, 'connect')
  const [b] = (await accepted) as [Socket]
  return [a, b]
}

/** A peer that speaks yamux by hand. It reads unless told not to, and answers pings as an honest one would. */
export class RawPeer {
  readonly socket: Socket
  readonly closed: Promise<void>
  frames: RawFrame[] = []
  payloadBytes = 0
  #held: Buffer = Buffer.alloc(0)
  #skip = 0
  #waiting: { match: (frame: RawFrame) => boolean; resolve: (frame: RawFrame) => void }[] = []
  #pings = 0

  constructor(socket: Socket, held: Buffer = Buffer.alloc(0)) {
    this.socket = socket.setNoDelay(true)
    this.closed = new Promise((resolve) => socket.once('close', () => resolve()))
    socket.on('error', () => undefined)
    socket.on('end', () => socket.destroy())
    socket.on('data', (bytes: Buffer) => this.#read(bytes))
    if (held.length > 0) this.#read(held)
  }

  /** Reads no more. What the victim does is then known only from the victim. */
  stopReading(): void {
    this.socket.pause()
  }

  /** Writes, in its own time, as much as the victim takes; false once the connection has gone. */
  async send(...pieces: Uint8Array[]): Promise<boolean> {
    for (const piece of pieces) {
      if (!this.socket.writable) return false
      if (!this.socket.write(piece))
        await Promise.race([once(this.socket, 'drain').catch(() => 0), this.closed])
    }
    return this.socket.writable
  }

  /** `count` times the same frame, in writes of about 48 KiB. */
  async flood(piece: Uint8Array, count: number): Promise<void> {
    const perWrite = Math.max(1, Math.floor((48 * KIB) / piece.length))
    const block = Buffer.concat(new Array<Uint8Array>(perWrite).fill(piece))
    for (let sent = 0; sent < count; sent += perWrite) {
      const part = block.subarray(0, Math.min(perWrite, count - sent) * piece.length)
      if (!(await this.send(part))) return
    }
  }

  /** The first frame that came or comes and matches. */
  next(match: (frame: RawFrame) => boolean, what = 'a frame'): Promise<RawFrame> {
    const came = this.frames.find(match)
    if (came !== undefined) return Promise.resolve(came)
    return within(new Promise((resolve) => this.#waiting.push({ match, resolve })), what)
  }

  /** Settles when the victim has read all that was sent so far and answered. */
  async roundTrip(): Promise<void> {
    const value = 0xabc00000 + this.#pings++
    await this.send(frame(PING, SYN, 0, value))
    await this.next((f) => f.type === PING && f.flags === ACK && f.length === value, 'a pong')
  }

  #read(bytes: Buffer): void {
    this.#held = this.#held.length === 0 ? bytes : Buffer.concat([this.#held, bytes])
    for (;;) {
      const skipped = Math.min(this.#skip, this.#held.length)
      this.#skip -= skipped
      this.#held = this.#held.subarray(skipped)
      if (this.#held.length < 12) return
      const came: RawFrame = {
        type: this.#held.readUInt8(1),
        flags: this.#held.readUInt16BE(2),
        id: this.#held.readUInt32BE(4),
        length: this.#held.readUInt32BE(8),
      }
      this.#held = this.#held.subarray(12)
      if (came.type === DATA) this.#skip = came.length
      this.#onFrame(came)
    }
  }

  #onFrame(came: RawFrame): void {
    if (came.type === DATA) this.payloadBytes += came.length
    if (came.type === PING && came.flags === SYN) this.socket.write(frame(PING, ACK, 0, came.length))
    if (this.frames.length < 1000) this.frames.push(came)
    const waiting = this.#waiting.find(({ match }) => match(came))
    if (waiting === undefined) return
    this.#waiting = this.#waiting.filter((one) => one !== waiting)
    waiting.resolve(came)
  }
}

export function handshakeFor(port: number, name: string): string {
  return [
    'GET / HTTP/1.1',
    `Host: localhost:${port}`,
    'Connection: Upgrade',
    'Upgrade: yamux',
    ...(name === '' ? [] : [`X-Subdomain: ${name}`]),
    '\r\n',
  ].join('\r\n')
}

/** Registers by hand at a server, and is a raw peer from then on. */
export async function attack(t: TestContext, port: number, name: string): Promise<RawPeer> {
  const socket = net.connect(port, '127.0.0.1')
  t.after(() => socket.destroy())
  socket.write(handshakeFor(port, name))
  const { head, rest } = await readHead(socket)
  if (!head.startsWith('HTTP/1.1 101 ')) throw new Error(`expected 101, got ${head}`)
  return new RawPeer(socket, rest)
}

/** An HTTP head, and what came after it. */
export async function readHead(socket: Socket): Promise<{ head: string; rest: Buffer }> {
  let held = Buffer.alloc(0)
  while (!held.includes('\r\n\r\n')) {
    const bytes = socket.read() as Buffer | null
    if (bytes !== null) held = Buffer.concat([held, bytes])
    else if (socket.readableEnded || socket.destroyed) break
    else await within(Promise.race([once(socket, 'readable'), once(socket, 'end')]), 'an HTTP head')
  }
  const end = held.indexOf('\r\n\r\n') + 4
  return end < 4
    ? { head: held.toString(), rest: Buffer.alloc(0) }
    : { head: held.subarray(0, end).toString(), rest: held.subarray(end) }
}

/** Someone who opens a public connection by hand and sends `request`. Nothing is read from it. */
export function visit(t: TestContext, port: number, request: string): Socket {
  const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  t.after(() => socket.destroy())
  socket.on('error', () => undefined)
  socket.write(request)
  return socket
}

/** All that a Duplex has to read; rejects if that ends by an error. It may still be written to. */
export function readAll(duplex: Duplex): Promise<Buffer> {
  const pieces: Buffer[] = []
  return within(
    new Promise((resolve, reject) => {
      duplex.on('data', (bytes: Buffer) => pieces.push(bytes))
      duplex.once('end', () => resolve(Buffer.concat(pieces))).once('error', reject)
      duplex.once('close', () => reject(new Error('closed before its end')))
      if (duplex.errored) reject(duplex.errored)
    }),
    'the end of a stream',
  )
}

export interface Memory {
  /** The most that was held (V8 heap and external memory after a collection) since `mark`, over what was then, in MiB. */
  peakMiB: number
  /** The most RSS there was, garbage included, over what was then, in MiB. */
  rssMiB: number
  /** The same, of what is held now. */
  keptMiB: number
  /** TCP sockets open now. */
  sockets: number
}

export interface Latency {
  answered: number
  failed: number
  slowestMs: number
  /** how late the machine let the neighbour run at worst: what it was busy with beside the test */
  latenessMs: number
}

export interface Ended {
  name: string
  code: string | undefined
  message: string | undefined
}

type Reply = Memory & Latency & { port: number }

/** A process of its own: a victim or a neighbour. It is killed when the tests end. */
export class Child {
  readonly #process
  stderr = ''
  readonly endings: Ended[] = []
  #waiting: ((ended: Ended) => void)[] = []
  #asked = 0
  readonly #ready: Promise<Reply>

  constructor(mode: 'serve' | 'connect' | 'innocent', ...args: string[]) {
    this.#process = fork(fileURLToPath(import.meta.url), [mode, ...args], {
      execArgv: [],
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
    })
    this.#process.stderr?.on('data', (bytes: Buffer) => (this.stderr += bytes.toString()))
    this.#process.on('message', (message: { ended?: Ended }) => {
      if (message.ended === undefined) return
      this.endings.push(message.ended)
      for (const resolve of this.#waiting.splice(0)) resolve(message.ended)
    })
    this.#ready = this.#reply('ready')
  }

  get isAlive(): boolean {
    return this.#process.exitCode === null && this.#process.signalCode === null
  }

  async ready(): Promise<number> {
    return (await this.#ready).port
  }

  /** The end of the session of `name`, whether it was or comes. */
  async ending(name: string): Promise<Ended> {
    const find = () => this.endings.find((ended) => ended.name === name)
    while (find() === undefined) {
      await within(new Promise<Ended>((resolve) => this.#waiting.push(resolve)), `the end of ${name}`)
    }
    return find() as Ended
  }

  /** Memory and latency are counted from here. */
  async mark(): Promise<void> {
    await this.#ask('mark')
  }

  report(): Promise<Reply> {
    return this.#ask('report')
  }

  /** `connect` only: opens one more tunnel, to the server on `port`. */
  open(port: number, name: string): Promise<Reply> {
    return this.#ask('open', port, name)
  }

  /** `innocent` only: settles when so many more visitors were answered. A clock that measures something. */
  visits(count: number): Promise<Reply> {
    return this.#ask('visits', count)
  }

  async stop(): Promise<void> {
    if (!this.isAlive) return
    const exit = once(this.#process, 'exit')
    this.#process.kill('SIGKILL')
    await exit
  }

  #ask(what: string, ...args: (string | number)[]): Promise<Reply> {
    const id = `${what}-${this.#asked++}`
    this.#process.send({ what, id, args })
    return this.#reply(id)
  }

  #reply(id: string): Promise<Reply> {
    return within(
      new Promise((resolve, reject) => {
        const onMessage = (message: { id?: string } & Reply) => {
          if (message.id !== id) return
          this.#process.off('message', onMessage).off('exit', onExit)
          resolve(message)
        }
        const onExit = () => reject(new Error(`the process died: ${this.stderr}`))
        this.#process.on('message', onMessage).on('exit', onExit)
      }),
      `${id} from a child`,
      20_000,
    )
  }
}

// From here on: what runs in the process of its own.

/** Whoever stops reading would soon be dead to the heartbeat; here only its frames are to count. */
const HEARTBEAT_MS = 60_000

const memory = { rss: 0, rssPeak: 0, held: 0, heldPeak: 0 }

function heldBytes(): number {
  collectGarbage()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

/** What is held once everything that waits for a turn of the loop has had a few. */
async function settledBytes(): Promise<number> {
  for (let turns = 0; turns < 2; turns++) {
    collectGarbage()
    await new Promise((resolve) => setImmediate(resolve))
  }
  return heldBytes()
}

async function markMemory(): Promise<void> {
  memory.held = memory.heldPeak = await settledBytes()
  memory.rss = memory.rssPeak = process.memoryUsage.rss()
}

async function measureMemory(): Promise<Memory> {
  const peakMiB = (memory.heldPeak - memory.held) / MIB
  const rssMiB = (memory.rssPeak - memory.rss) / MIB
  const keptMiB = ((await settledBytes()) - memory.held) / MIB
  const sockets = process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length
  return { peakMiB, rssMiB, keptMiB, sockets }
}

function watchMemory(): void {
  const watch = () => {
    memory.rssPeak = Math.max(memory.rssPeak, process.memoryUsage.rss())
    memory.heldPeak = Math.max(memory.heldPeak, heldBytes())
  }
  setInterval(watch, 100).unref()
}

type Answers = Record<string, (...args: never[]) => Promise<object | void> | object>

function answerParent(answers: Answers): void {
  process.on('message', ({ what, id, args }: { what: string; id: string; args: never[] }) => {
    void Promise.resolve(answers[what]?.(...args)).then((reply) => process.send?.({ id, ...reply }))
  })
  process.on('disconnect', () => process.exit())
}

async function runServer(): Promise<void> {
  const server = await serve({ port: 0, heartbeatMs: HEARTBEAT_MS })
  server.on('end', (host, error) => {
    const name = host.replace(/\..*/, '')
    process.send?.({ ended: { name, code: error?.code, message: error?.message } })
  })
  watchMemory()
  answerParent({ mark: markMemory, report: measureMemory })
  process.send?.({ id: 'ready', port: server.port })
}

async function serveText(text: string): Promise<number> {
  const site = http.createServer((request, response) => {
    request.resume().on('end', () => response.end(text))
  })
  site.listen(0, '127.0.0.1')
  await once(site, 'listening')
  return (site.address() as AddressInfo).port
}

async function runClient(): Promise<void> {
  const local = await serveText('local')
  watchMemory()
  answerParent({
    mark: markMemory,
    report: measureMemory,
    open: async (port: number, name: string) => {
      const tunnel = await connect({ local, port, subdomain: name, heartbeatMs: HEARTBEAT_MS })
      tunnel.on('lost', ({ code, message }) => {
        process.send?.({ ended: { name, code, message } })
        void tunnel.close() // or it would redial, which is none of what is measured
      })
    },
  })
  process.send?.({ id: 'ready', port: local })
}

/** A tunnel of its own on the same server, and visitors of it, one after the other. */
async function runInnocent(port: number): Promise<void> {
  await connect({ local: await serveText('innocent'), port, subdomain: 'innocent' })
  let seen = { answered: 0, failed: 0, slowestMs: 0 }
  const lateness = monitorEventLoopDelay({ resolution: 5 })
  lateness.enable()
  const waiting: (() => boolean)[] = []
  const onVisit = async () => {
    const began = performance.now()
    const isGood = await getText(port, 'innocent').then((text) => text === 'innocent', Boolean)
    seen.slowestMs = Math.max(seen.slowestMs, performance.now() - began)
    if (isGood) seen.answered++
    else seen.failed++
    for (const check of waiting) if (check()) waiting.splice(waiting.indexOf(check), 1)
    setTimeout(() => void onVisit(), 5)
  }
  answerParent({
    mark: () => {
      lateness.reset()
      return (seen = { answered: 0, failed: 0, slowestMs: 0 })
    },
    report: () => ({ ...seen, latenessMs: lateness.max / 1e6 }),
    visits: (count: number) => {
      const until = seen.answered + count
      return new Promise<object>((resolve) => {
        waiting.push(() => {
          if (seen.answered < until) return false
          resolve(seen)
          return true
        })
      })
    },
  })
  await onVisit()
  process.send?.({ id: 'ready', port })
}

/** The page of the tunnel `name`, through the server on `port`. Rejects unless it is answered with 200. */
export async function getText(port: number, name: string): Promise<string> {
  const headers = { Host: `${name}.localhost:${port}` }
  const request = http.get({ port, host: '127.0.0.1', agent: false, headers })
  const [response] = (await once(request, 'response')) as [http.IncomingMessage]
  let text = ''
  for await (const bytes of response) text += String(bytes)
  if (response.statusCode !== 200) throw new Error(`${response.statusCode}: ${text}`)
  return text
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [, , mode, port] = process.argv
  if (mode === 'serve') await runServer()
  if (mode === 'connect') await runClient()
  if (mode === 'innocent') await runInnocent(Number(port))
}
