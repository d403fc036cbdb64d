/**
 * The handshake, both sides. The client sends an HTTP GET that asks for an upgrade; once the answer says
 * `101` and `X-Public-Host`, the connection is a yamux session (docs/protocol.md). A refusal is an ordinary answer
 * whose JSON body says `{code, message}`.
 */
import http from 'node:http'
import type { Agent, IncomingMessage, RequestOptions } from 'node:http'
import { isIP, type LookupFunction, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { newSubdomain } from '../subdomain.ts'
import { certificateError } from './certificates.ts'
import { farewell } from './ending.ts'
import { codeOf, type ErrorCode, isAnswerCode, TunnelError } from './errors.ts'

const PROTOCOL = 'yamux'
const REFUSAL_BYTES = 16 * 1024
const REFUSAL_MS = 2_000
const MAX_DRAWS = 5
/** What a server remembers of a client's X-Tunnel-Client. */
const CLIENT_LENGTH = 64

export interface Registration {
  /** The server's own host name, and the port it listens on. */
  host: string
  port: number
  /** The name asked for; where there is none, one is drawn, and another while it is taken. */
  subdomain?: string | undefined
  /** Proves that a later registration is the same owner. */
  key?: string | undefined
  /** Tells the clients of one owner apart. */
  client?: string | undefined
  token?: string | undefined
  /** Speak TLS; the certificate is verified. */
  tls?: boolean | undefined
  /** PEM certificates of authorities to trust instead of the usual ones. */
  ca?: string | undefined
  /** The way through an HTTP proxy. */
  agent?: Agent | undefined
  /** Default 10,000; then `unreachable`. */
  timeoutMs?: number
  signal?: AbortSignal | undefined
}

export interface Welcome {
  /** The connection, from here on yamux. */
  socket: Socket
  subdomain: string
  publicHost: string
  publicUrl: string
}

/**
 * The client's side: asks a server for a name. Rejects with `unreachable`, `not-groktunnel`, or the code that the
 * server refuses with (`name-taken`, `bad-name`, ...).
 */
export async function register(registration: Registration): Promise<Welcome> {
  if (registration.subdomain !== undefined) return ask(registration, registration.subdomain)
  for (let draws = 1; ; draws++) {
    try {
      return await ask(registration, newSubdomain())
    } catch (error) {
      if (draws === MAX_DRAWS || !(error instanceof TunnelError) || error.code !== 'name-taken') throw error
    }
  }
}

async function ask(registration: Registration, subdomain: string): Promise<Welcome> {
  const { host, port, timeoutMs = 10_000 } = registration
  const where = `${host}:${port}`
  // node:https is slow to load.
  const { request: ask } = registration.tls === true ? await import('node:https') : http
  return new Promise((resolve, reject) => {
    const request = ask(requestOf(registration, subdomain))
    const timer = setTimeout(() => request.destroy(slow(where, timeoutMs)), timeoutMs)
    request.on('close', () => clearTimeout(timer))
    request.on('upgrade', (response, socket, head) => {
      socket.unshift(head)
      const names = readNames(response)
      if (names !== undefined) return resolve({ socket, subdomain, ...names })
      socket.destroy()
      reject(notGroktunnel(where, 'an upgrade without a good X-Public-Host'))
    })
    request.on('response', (response) => {
      clearTimeout(timer) // it has answered; how much time it has for the rest is the reader's to say
      void readRefusal(where, response, timeoutMs).then(reject, reject)
    })
    request.on('error', (error) => reject(unreachable(where, error)))
    request.end()
  })
}

function requestOf(registration: Registration, subdomain: string): RequestOptions {
  const { host, port, key, client, token, ca, agent = false, signal } = registration
  const headers = {
    Connection: 'Upgrade',
    Upgrade: PROTOCOL,
    'X-Subdomain': subdomain,
    ...(key === undefined ? {} : { 'X-Tunnel-Key': key }),
    ...(client === undefined ? {} : { 'X-Tunnel-Client': client }),
    ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }),
  }
  // A server name must not be an address (RFC 6066 section 3).
  const servername = isIP(host) === 0 ? { servername: host } : {}
  return { host, port, headers, agent, signal, lookup: loopbackLookup(host), ...{ ca, ...servername } }
}

export function isLoopbackName(host: string): boolean {
  return /(^|\.)(localhost|lvh\.me)$/i.test(host)
}

/** `localhost` and `lvh.me` are loopback wherever we are, also where no resolver says so (RFC 6761 section 6.3). */
function loopbackLookup(host: string): LookupFunction | undefined {
  if (!isLoopbackName(host)) return undefined
  const loopback = [
    { address: '127.0.0.1', family: 4 },
    { address: '::1', family: 6 },
  ]
  return (_hostname, { all }, callback) => (all ? callback(null, loopback) : callback(null, '127.0.0.1', 4))
}

/** Where the tunnel is. What is printed for scripts to open must be an http URL, whatever the server says. */
function readNames({ headers }: IncomingMessage): { publicHost: string; publicUrl: string } | undefined {
  if (headers.upgrade?.toLowerCase() !== PROTOCOL) return undefined
  const publicHost = headers['x-public-host']
  if (typeof publicHost !== 'string' || !/^[a-z0-9.-]+(:\d+)?$/i.test(publicHost)) return undefined
  const publicUrl = headers['x-public-url'] ?? `http://${publicHost}`
  const isUrl =
    typeof publicUrl === 'string' && /^https?:\/\/[\x21-\x7e]+$/.test(publicUrl) && URL.canParse(publicUrl)
  return isUrl ? { publicHost, publicUrl } : undefined
}

/** What an answer that is no upgrade says: of ours each refusal has a status of 4xx or 5xx. */
async function readRefusal(
  where: string,
  response: IncomingMessage,
  timeoutMs: number,
): Promise<TunnelError> {
  const { statusCode: status = 0 } = response
  let body = ''
  const timer = setTimeout(() => response.destroy(), Math.min(timeoutMs, REFUSAL_MS))
  if (status < 400) response.destroy()
  try {
    for await (const text of response.setEncoding('utf8') as AsyncIterable<string>) {
      body += text
      if (body.length > REFUSAL_BYTES) break
    }
  } catch {
    // cut in the middle, or too slow: what came is judged
  }
  clearTimeout(timer)
  response.destroy()
  return parseRefusal(response, body) ?? overheard(response, body) ?? notGroktunnel(where, `HTTP ${status}`)
}

/** What the server says to whoever it does not let in that far: it does not know that we are a client. */
function overheard({ headers }: IncomingMessage, body: string): TunnelError | undefined {
  const code = headers['x-groktunnel-error']
  const words = body.slice(body.indexOf(':') + 1).trim()
  if (code === 'bad-request' && words.includes('https'))
    return new TunnelError('not-groktunnel', `${words}; give -h https://… or --tls`)
  if (code === 'no-such-tunnel')
    return new TunnelError(
      'not-groktunnel',
      `the server has another name (${words}); give -h as it says it is ready`,
    )
  return isAnswerCode(code) ? new TunnelError(code, words) : undefined
}

/** A code that we do not know, of a server newer than we are, is taken for what its status says. */
const codesByStatus: Partial<Record<number, ErrorCode>> = {
  400: 'bad-name',
  401: 'unauthorized',
  403: 'forbidden',
  409: 'name-taken',
  426: 'upgrade-required',
  429: 'too-many-registrations',
  503: 'server-full',
}

function parseRefusal({ statusCode = 0, headers }: IncomingMessage, body: string): TunnelError | undefined {
  try {
    const { code, message } = JSON.parse(body) as { code: unknown; message: unknown }
    const isOurs = typeof code === 'string' && headers['x-groktunnel-error'] === code
    const known = isAnswerCode(code) ? code : isOurs ? codesByStatus[statusCode] : undefined
    if (known === undefined || statusCode < 400) return undefined
    return new TunnelError(
      known,
      typeof message === 'string' ? message : `refused by the server (${String(code)})`,
    )
  } catch {
    return undefined // not JSON: not one of ours
  }
}

function notGroktunnel(where: string, came: string): TunnelError {
  return new TunnelError(
    'not-groktunnel',
    `expected a groktunnel server at ${where}, got ${came}; check -h and -p`,
  )
}

function slow(where: string, timeoutMs: number): TunnelError {
  return new TunnelError(
    'unreachable',
    `expected an answer from ${where} within ${timeoutMs / 1000} s, got none; is that a groktunnel server? check -h and -p`,
  )
}

function unreachable(where: string, error: Error): Error {
  if (error instanceof TunnelError || error.name === 'AbortError') return error
  const mistrusted = certificateError(error, where)
  if (mistrusted !== undefined) return mistrusted
  const code = codeOf(error)
  if (code.startsWith('HPE_')) return notGroktunnel(where, 'something that is not HTTP')
  if (code === 'ECONNRESET') return notGroktunnel(where, 'a connection closed without an answer')
  const [host, port] = [where.replace(/:\d+$/, ''), where.replace(/^.*:/, '')]
  const cure = `start one with: groktunnel -h ${host} -p ${port}`
  return new TunnelError('unreachable', `expected a server at ${where}, got ${code}; ${cure}`, {
    cause: error,
  })
}

/** What a client asks with; fields that it left out or that cannot be are undefined. */
export interface Asked {
  subdomain: string | undefined
  key: string | undefined
  client: string | undefined
  authorization: string | undefined
}

/** The server's side: what is asked for. Throws the refusal. In HTTP/1.0 an Upgrade means nothing (RFC 9110 section 7.8). */
export function readRegistration({ headers, method, httpVersion }: IncomingMessage): Asked {
  if (headers.upgrade?.toLowerCase() !== PROTOCOL || httpVersion !== '1.1') throw upgradeRequired()
  if (method !== 'GET') throw new TunnelError('method-not-allowed', `expected GET, got ${method}`)
  if (Number(headers['content-length'] ?? 0) !== 0 || headers['transfer-encoding'] !== undefined)
    throw new TunnelError('bad-request', 'expected a GET without a body, got one with')
  const text = (name: string) => {
    const value = headers[name]
    return typeof value === 'string' && value !== '' ? value : undefined
  }
  return {
    subdomain: text('x-subdomain'),
    key: text('x-tunnel-key'),
    client: text('x-tunnel-client')?.slice(0, CLIENT_LENGTH),
    authorization: headers.authorization,
  }
}

/** What a registration without an upgrade is told (RFC 9110 section 15.5.22). */
export function upgradeRequired(): TunnelError {
  return new TunnelError('upgrade-required', `expected "Connection: Upgrade" and "Upgrade: ${PROTOCOL}"`)
}

/** Says yes; the next byte on `socket` is yamux. */
export function welcome(socket: Duplex, publicHost: string, publicUrl: string): void {
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${PROTOCOL}\r\n` +
      `X-Public-Host: ${publicHost}\r\nX-Public-Url: ${publicUrl}\r\n\r\n`,
  )
}

/** Says no and why, and closes the connection. */
export function refuse(socket: Duplex, { status, code, message }: TunnelError): void {
  const body = `${JSON.stringify({ code, message })}\n`
  const lines = [
    `HTTP/1.1 ${status} ${http.STATUS_CODES[status]}`,
    'Content-Type: application/json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    `X-Groktunnel-Error: ${code}`,
    ...(status === 429 || status === 503 ? ['Retry-After: 60'] : []),
    ...(status === 426 ? [`Upgrade: ${PROTOCOL}`, 'Connection: close, Upgrade'] : ['Connection: close']),
  ]
  socket.write(`${lines.join('\r\n')}\r\n\r\n${body}`)
  farewell(socket)
}
