/**
 * The local service, as the client reaches it: over TCP, TLS or a unix socket. `localhost` may be ::1 or 127.0.0.1, and
 * many a development server listens on one of them only: both are tried, and the one that answered is tried first from
 * then on.
 */
import net, { Socket } from 'node:net'
import { isLoopback } from '../address.ts'
import { Deadline } from '../deadline.ts'
import { codeOf, TunnelError } from '../errors.ts'
import { lasting } from '../listen.ts'
import { describe, type Port, type Service, type Target } from '../target.ts'
import { isListening } from './listening.ts'

/** Rejects with `local-unreachable`, whose message names the service and the next step. */
export type Dial = () => Promise<Socket>

export interface DialOptions {
  /** Believe any certificate of an https service; default false, which believes any on loopback. */
  insecure?: boolean | undefined
  /** To connect, and again for TLS; default 10,000. */
  dialTimeoutMs?: number
}

/** Dials a service, again with each call. */
export function dialer(service: Service, options: DialOptions = {}): Dial {
  const { insecure = false, dialTimeoutMs = 10_000 } = options
  const limit: Limit = new Deadline(dialTimeoutMs, (socket) => socket.destroy(late))
  const reach = service.kind === 'unix' ? dialUnix(service.path, limit) : dialPort(service, limit, insecure)
  return () => reach().catch((error) => Promise.reject(unreachable(service, error)))
}

/** Why a target cannot be reached now; undefined where it can. Services of this machine are not knocked at for that. */
export async function absence(target: Target, options: DialOptions = {}): Promise<TunnelError | undefined> {
  if (target.kind === 'folder') return undefined
  const isHere = target.kind === 'port' && !target.tls && isLocalhost(target.host)
  const isHeard = isHere ? isListening(target.port) : undefined
  if (isHeard === true) return undefined
  if (isHeard === false) return unreachable(target, 'nothing that listens')
  return dialer(target, options)().then(
    (socket) => void socket.destroy(),
    (error: TunnelError) => error,
  )
}

/** One for all of a dialer: a timer for each connection would cost more than the rest of this. */
type Limit = Deadline<Socket>

function dialUnix(path: string, limit: Limit): () => Promise<Socket> {
  return () => {
    const socket = new UnixSocket({ allowHalfOpen: true })
    return opened(socket.connect(path), 'connect', limit)
  }
}

function dialPort(service: Port, limit: Limit, insecure: boolean): () => Promise<Socket> {
  const { host: asked, port } = service
  const hosts = isLocalhost(asked) ? ['127.0.0.1', '::1'] : [asked]
  // TLS is slow to load, and seldom asked for.
  const secure = service.tls ? import('./tls.ts').then((it) => it.securing(asked, insecure)) : undefined
  // A peer on this machine does not vanish without a word, and each of these calls costs.
  const keepAlive = !isLocalhost(asked) && !isLoopback(asked)
  const reach = (host: string) => opened(net.connect({ host, port, ...lasting, keepAlive }), 'connect', limit)
  const reachFirst = () => firstOf(hosts, reach)
  if (secure === undefined) return reachFirst
  return async () => {
    const socket = await reachFirst()
    return opened((await secure)(socket), 'secureConnect', limit)
  }
}

/** RFC 6761 section 6.3. */
function isLocalhost(host: string): boolean {
  return /^(.+\.)?localhost$/i.test(host)
}

/** The first of at most two that answers comes first from then on. Rejects with the error of the first. */
function firstOf(hosts: string[], dial: (host: string) => Promise<Socket>): Promise<Socket> {
  const [first = '', other] = hosts
  if (other === undefined) return dial(first)
  return dial(first).catch(async (error: Error) => {
    const socket = await dial(other).catch(() => {
      throw error
    })
    if (hosts[0] === first) hosts.reverse()
    return socket
  })
}

function opened<S extends Socket>(socket: S, event: string, limit: Limit): Promise<S> {
  return new Promise((resolve, reject) => {
    const ticket = limit.begin(socket)
    const settle = (act: () => void) => {
      limit.end(ticket)
      socket.off('error', onError).off('close', onClose)
      act()
    }
    const onError = (error: Error) => settle(() => reject(error))
    const onClose = () => settle(() => reject(closed))
    socket.once(event, () => settle(() => resolve(socket))).on('error', onError)
    socket.on('close', onClose)
  })
}

const late = Object.assign(new Error('no connection in time'), { code: 'ETIMEDOUT' })
const closed = Object.assign(new Error('closed before it was open'), { code: 'ECONNRESET' })

/** A unix socket knows no reset: the peer of a destroyed one gets ECONNRESET where it was still to be heard. */
class UnixSocket extends Socket {
  override resetAndDestroy(): this {
    return this.destroy()
  }
}

function unreachable(service: Service, cause: unknown): TunnelError {
  const code = codeOf(cause)
  const message = `expected a service at ${describe(service)}, got ${code}; ${cureOf(code)}`
  return new TunnelError('local-unreachable', message, { cause })
}

function cureOf(code: string): string {
  if (/CERT|VERIFY|SELF_SIGNED/.test(code)) return 'use --insecure to believe its certificate'
  if (code === 'ERR_SSL_WRONG_VERSION_NUMBER') return 'it speaks no TLS: use http:// for it'
  if (code === 'EACCES') return 'may you read and write it?'
  if (/^(ENOTFOUND|EAI_)/.test(code)) return 'is its name right?'
  return 'is it running?'
}
