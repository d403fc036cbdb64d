/**
 * Gives the requests on channels to a handler, by a node http server that listens nowhere. Node's time limits are off,
 * and a visitor who has ended its side still gets its answer, which node's server otherwise throws away.
 *
 * An offer to upgrade takes a connection away from node's server for good. So the answer to such a request is made here,
 * and closes the channel, unless it is 101; and one with a body is read again as if it offered nothing, as it may be
 * (RFC 9110 section 7.8), because its body could not be told from what comes after. So is one of HTTP/1.0, as it must be.
 */
import http, { type IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Deliver } from '../api.ts'
import { answer } from '../answer.ts'
import { cut, farewell } from '../ending.ts'
import { asTunnelError, codeOf, TunnelError } from '../errors.ts'
import { connectionOptions } from '../http/fields.ts'
import { endToEnd, fieldsOf, linesOf } from './fields.ts'
import { type Exchange, hasBody, HEAD_BYTES } from './proxy.ts'
import { refuse } from './refusal.ts'

/** Sees to one request. What it throws is answered. */
export type Handler = (exchange: Exchange) => void

/** How much of a body may wait for the local service to take it, outside of the channel. */
const BODY_BYTES = 64 * 1024

const noLimits = { requestTimeout: 0, headersTimeout: 0, keepAliveTimeout: 0 }

/** Takes channels, and gives each of their requests to `handle`. */
export function taking(handle: Handler): Deliver {
  const server = http.createServer({ maxHeaderSize: HEAD_BYTES, ...noLimits })
  // Node's own switch for half-closed connections, not in its documentation.
  Object.assign(server, { httpAllowHalfOpen: true })
  const latest = new WeakMap<Duplex, ServerResponse>()

  function receive(request: IncomingMessage, response: ServerResponse, upgrade?: string): void {
    latest.set(request.socket, response)
    try {
      handle({ channel: request.socket, request, response, upgrade })
    } catch (error) {
      if (response.headersSent) cut(request.socket)
      else refuse(request, response, asTunnelError(error))
    }
  }

  for (const event of ['request', 'checkContinue', 'checkExpectation'])
    server.on(event, (request: IncomingMessage, response: ServerResponse) => receive(request, response))
  server.on('upgrade', (request, channel, head) => {
    const isOffer = request.httpVersion === '1.1' && !hasBody(fieldsOf(request.rawHeaders))
    if (!isOffer) return readAgain(request, channel, head)
    if (head.length > 0) channel.unshift(head)
    receive(request, answerOn(request, channel), request.headers.upgrade)
  })
  server.on('clientError', (error, channel) => {
    const isBusy = latest.get(channel)?.writableFinished === false
    if (channel.writableEnded || channel.destroyed) channel.destroy()
    else if (isBusy) cut(channel)
    else {
      channel.write(answer(unreadable(error)))
      farewell(channel)
    }
  })

  function readAgain(request: IncomingMessage, channel: Duplex, head: Buffer): void {
    const { method, url, httpVersion, rawHeaders } = request
    const came = fieldsOf(rawHeaders)
    const fields = endToEnd(came)
    if (connectionOptions(came).includes('close')) fields.push({ name: 'Connection', value: 'close' })
    const again = `${method} ${url} HTTP/${httpVersion}\r\n${linesOf(fields)}\r\n`
    channel.unshift(Buffer.concat([Buffer.from(again, 'latin1'), head]))
    server.emit('connection', channel)
  }

  return (channel) => {
    channel.on('error', () => undefined) // 'close' follows
    // Node holds as much of a body as this says, beside the channel, which has a whole window to fill.
    Object.defineProperty(channel, 'readableHighWaterMark', { value: BODY_BYTES })
    server.emit('connection', channel)
  }
}

/** The answer on a channel that node's server has let go of. */
function answerOn(request: IncomingMessage, channel: Duplex): ServerResponse {
  const response = new ServerResponse(request)
  response.shouldKeepAlive = false
  response.assignSocket(channel as Socket)
  channel.on('drain', () => response.emit('drain'))
  response.on('finish', () => {
    response.detachSocket(channel as Socket)
    farewell(channel)
  })
  return response
}

function unreadable(error: Error): TunnelError {
  const code = codeOf(error)
  if (code === 'HPE_HEADER_OVERFLOW')
    return new TunnelError('head-too-large', `expected a head of at most ${HEAD_BYTES} bytes, got more`)
  if (code === 'HPE_INVALID_METHOD')
    return new TunnelError('not-implemented', 'expected a method that node knows, got another')
  return new TunnelError('bad-request', `expected a request that can be read, got ${code}`)
}
