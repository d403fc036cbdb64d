/**
 * Passes a request on to the local service by http-proxy-node16, and its answer back. What that package would lose is
 * kept: path and fields as sent, repeated ones too; 1xx answers, trailers, upgrades to any protocol; and that a cut body
 * is told as a cut. Each channel has one connection to the service, there is no pool, and no time limit.
 *
 * The only importer of http-proxy-node16. Node's http throws on what it will not send, and nobody would catch that in a
 * listener: so what it could mind is taken out, and heads are written where it is caught.
 */
import { Agent, STATUS_CODES } from 'node:http'
import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import ProxyServer from 'http-proxy-node16'
import { cut, wasReset } from '../ending.ts'
import { codeOf, TunnelError } from '../errors.ts'
import type { Field } from '../http/fields.ts'
import { endToEnd, fieldsOf, headersOf, linesOf, valueOf, without } from './fields.ts'

/** The largest head: what the server passes on, and what it adds to it. */
export const HEAD_BYTES = 80 * 1024

/** A request, the channel it came by, and its answer. */
export interface Exchange {
  readonly channel: Duplex
  readonly request: IncomingMessage
  readonly response: ServerResponse
  /** The protocols it offers to go on in, if it may. */
  readonly upgrade: string | undefined
}

/** A request as it is to be passed on. */
export interface Errand extends Exchange {
  readonly line: Line
  /** The request's fields for the service. */
  readonly fields: readonly Field[]
  /** The fields of the answer for the visitor. */
  edit(fields: Field[]): Field[]
  /** What looks at the body of an answer with that status. */
  look(status: number): ((bytes: Buffer) => void) | undefined
  /** The service has gone on in another protocol: channel and `local` are to be joined. */
  onUpgrade(local: Socket): void
  /** There is no answer, and nothing of one went out. */
  onFailure(error: TunnelError): void
}

/** The connection to the local service that one channel has; kept between its requests. */
export class Line extends Agent {
  readonly #dial: () => Promise<Socket>
  #isClosed = false

  constructor(dial: () => Promise<Socket>) {
    super({ keepAlive: true, maxSockets: 1 })
    this.#dial = dial
  }

  override createConnection(_: object, done?: (error: Error | null, socket: Duplex) => void): undefined {
    this.#dial().then(
      (socket) => {
        socket.allowHalfOpen = false // an idle one that the service ends is to be closed
        if (this.#isClosed) socket.resetAndDestroy()
        else done?.(null, socket)
      },
      (error: Error) => done?.(error, undefined as never),
    )
  }

  close(): void {
    this.#isClosed = true
    this.destroy()
  }
}

/** What node's http client asks of its agent; it is not in the types. */
interface Dispatcher extends Agent {
  addRequest(outgoing: ClientRequest, options: object): void
}

/** Gives a function that passes on requests. */
export function proxy(): (errand: Errand) => void {
  const target = { protocol: 'http:', host: 'localhost', port: 80 } // the line dials
  const server = new ProxyServer({ target, toProxy: true, selfHandleResponse: true })
  keepBodies(server)
  return (errand) => {
    const { request, response, line } = errand
    let asked: ClientRequest | undefined
    const agent = {
      keepAlive: true,
      protocol: 'http:',
      addRequest(outgoing: ClientRequest, options: object) {
        asked = outgoing
        prepare(errand, outgoing)
        ;(line as Agent as Dispatcher).addRequest(outgoing, options)
      },
    }
    request.headers = headersOf(sentFields(errand))
    server.web(request, response, { agent }, (error) => fail(errand, error, asked?.reusedSocket))
  }
}

/** One of its passes drops the body of DELETE and OPTIONS: to the service, it would be the next request. */
function keepBodies(server: ProxyServer): void {
  const passes = server as unknown as { webPasses: { name: string }[] }
  passes.webPasses = passes.webPasses.filter(({ name }) => name === 'stream')
}

/** Node renders a head with Expect at once, so that comes later; it minds Trailer where there are no chunks. */
function sentFields({ fields, upgrade }: Errand): Field[] {
  const isChunked = valueOf(fields, 'transfer-encoding') !== undefined
  const sent = without(fields, new Set(isChunked ? ['expect'] : ['expect', 'trailer']))
  return upgrade === undefined ? sent : [...sent, ...switching(upgrade)]
}

function switching(protocol: string): Field[] {
  return [
    { name: 'Connection', value: 'Upgrade' },
    { name: 'Upgrade', value: protocol },
  ]
}

/** What http-proxy-node16 has no option for; called before anything is sent. */
function prepare(errand: Errand, outgoing: ClientRequest): void {
  const { request, response, fields } = errand
  outgoing.path = pathOf(request)
  Object.assign(outgoing, { maxHeaderSize: HEAD_BYTES })
  const expectation = valueOf(fields, 'expect')
  if (expectation !== undefined) outgoing.setHeader('Expect', expectation)
  // The service may answer before the body comes, or ask for it.
  if (hasBody(fields)) outgoing.flushHeaders()
  // A visitor who leaves is told as a cut, not as the end of what it sends.
  response.on('close', () => response.writableFinished || outgoing.socket === null || cut(outgoing.socket))
  request.on('end', () => outgoing.addTrailers(trailersOf(request)))
  passEnd(errand, outgoing)
  outgoing.on('information', (head) => inform(errand, head))
  outgoing.on('upgrade', (answer, local, first) => upgrade(errand, answer, local, first))
  outgoing.on('response', (answer) => {
    try {
      reply(errand, answer)
    } catch (error) {
      answer.destroy()
      fail(errand, error)
    }
  })
}

/**
 * A visitor who ends its side, as a browser does that closes a page, is told to the service once that has the whole
 * request. It may answer yet, or stop working for nobody.
 */
function passEnd({ channel, response }: Exchange, outgoing: ClientRequest): void {
  const onEnd = () => {
    if (channel.readableEnded && outgoing.writableFinished) outgoing.socket?.end()
  }
  outgoing.on('finish', onEnd)
  channel.on('end', onEnd)
  response.on('close', () => channel.off('end', onEnd))
}

/** The target in the form that is for a service (RFC 9112 section 3.2.1), else as sent. */
export function pathOf({ url = '/' }: IncomingMessage): string {
  const path = url.replace(/^https?:\/\/[^/?]*/i, '')
  return path === '' || path.startsWith('?') ? `/${path}` : path
}

/** Whether a request says that a body follows. */
export function hasBody(fields: readonly Field[]): boolean {
  return (
    Number(valueOf(fields, 'content-length') ?? 0) > 0 || valueOf(fields, 'transfer-encoding') !== undefined
  )
}

function trailersOf({ rawTrailers }: IncomingMessage): [string, string][] {
  return fieldsOf(rawTrailers).map(({ name, value }) => [name, value])
}

/** 1xx. Old clients would take it for the answer. */
function inform(
  { channel, request, response }: Exchange,
  head: { statusCode: number; rawHeaders: string[] },
): void {
  if (request.httpVersion === '1.0' || response.socket !== channel || response.headersSent) return
  if (head.statusCode === 100) response.writeContinue()
  else channel.write(headOf(head.statusCode, endToEnd(fieldsOf(head.rawHeaders))))
}

function headOf(status: number, fields: readonly Field[]): Buffer {
  return Buffer.from(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${linesOf(fields)}\r\n`, 'latin1')
}

function upgrade(errand: Errand, answer: IncomingMessage, local: Socket, first: Buffer): void {
  const { channel, response } = errand
  if (errand.upgrade === undefined) {
    local.destroy()
    return fail(errand, new TunnelError('bad-answer', 'the local service switched protocols, unasked'))
  }
  response.detachSocket(channel as Socket)
  const fields = errand.edit(endToEnd(fieldsOf(answer.rawHeaders)))
  channel.write(headOf(101, [...fields, ...switching(answer.headers.upgrade ?? errand.upgrade)]))
  if (first.length > 0) local.unshift(first)
  local.allowHalfOpen = true
  errand.onUpgrade(local)
}

/** Throws on a head that node will not send. */
function reply(errand: Errand, answer: IncomingMessage): void {
  const { channel, request, response } = errand
  const { statusCode: status = 0, statusMessage = '' } = answer
  if (status < 200) throw new TunnelError('bad-answer', `the local service answered with status ${status}`)
  const fields = errand.edit(framed(endToEnd(fieldsOf(answer.rawHeaders)), request))
  response.sendDate = false
  const raw = fields.flatMap(({ name, value }) => [name, value])
  response.writeHead(status, statusMessage.replace(/[^\t\x20-\x7e\x80-\xff]/g, '?'), raw)
  // Before the body, which may be long in coming; with it, if it is there.
  setImmediate(() => channel.destroyed || response.flushHeaders())
  tellCut(errand, answer)
  const look = errand.look(status)
  if (look !== undefined) answer.on('data', look)
  answer.on('end', () => response.addTrailers(trailersOf(answer)))
  answer.pipe(response)
}

/** A body that the service cut is cut at the visitor, before node takes a reset for the end of it. */
function tellCut({ channel, response }: Exchange, answer: IncomingMessage): void {
  const local = answer.socket
  const onEnd = () => {
    if (!wasReset(local)) return
    answer.unpipe(response)
    cut(channel)
  }
  local.prependListener('end', onEnd)
  answer.on('error', () => undefined) // 'close' follows
  answer.on('close', () => {
    local.off('end', onEnd)
    if (!answer.complete) cut(channel)
  })
}

/** HTTP/1.0 knows no chunks; and trailers may be announced only where there are chunks. */
function framed(fields: readonly Field[], { method, httpVersion }: IncomingMessage): Field[] {
  const isChunked = httpVersion === '1.1' && valueOf(fields, 'transfer-encoding') !== undefined
  if (isChunked && method !== 'HEAD') return [...fields]
  return without(fields, new Set(isChunked ? ['trailer'] : ['transfer-encoding', 'trailer']))
}

/** There will be no more of an answer than there is. */
function fail(errand: Errand, error: unknown, isReused = false): void {
  const { channel, request, response } = errand
  if (channel.destroyed || channel.writableEnded) return
  // It has answered and does not want the rest of the request.
  if (response.writableEnded) return void request.resume()
  // On a connection that served before, a reset lets the visitor's client try again by itself.
  if (response.headersSent || response.socket !== channel || (isReused && isReset(error))) return cut(channel)
  errand.onFailure(reasonOf(error))
}

function isReset(error: unknown): boolean {
  return /^(ECONNRESET|EPIPE)$/.test(codeOf(error))
}

function reasonOf(error: unknown): TunnelError {
  if (error instanceof TunnelError) return error
  const came = isReset(error)
    ? 'closed the connection without an answer'
    : `sent a bad answer (${codeOf(error)})`
  return new TunnelError('bad-answer', `the local service ${came}`, { cause: error })
}
