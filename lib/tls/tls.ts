/**
 * TLS on the server's one port (RFC 8446), visitors and clients alike. A connection is wrapped after it was let in and
 * before its first byte is read as HTTP; what comes out is a socket like any other, half-close and reset included.
 *
 * Not done: HTTP/2, client certificates, a certificate for each name.
 */
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { SecureContext } from 'node:tls'
import { answer } from '../answer.ts'
import { Deadline } from '../deadline.ts'
import { farewell } from '../ending.ts'
import { codeOf, TunnelError } from '../errors.ts'
import { KeyPair } from './key-pair.ts'

export interface TlsOptions {
  /** Path of a PEM file: the server's certificate, the chain behind it. */
  cert?: string
  /** Path of a PEM file: the key of that certificate, without a passphrase. */
  key?: string
}

export interface Timing {
  /** From `wrap` to the end of the handshake; default 10,000. */
  handshakeTimeoutMs?: number
  /** A clock in ms; default `performance.now`. */
  now?: () => number
}

export interface Secure {
  /**
   * Makes an accepted socket a TLS one, which then owns it. Settles after the handshake; rejects with `bad-request` when
   * there is none in time, having closed the socket.
   */
  wrap(tcp: Socket): Promise<TLSSocket>
  /** Reads the files again, for new connections; throws `usage` when they are no pair, and goes on with the old. */
  reload(): void
}

/** TLS as the options ask for; undefined where they do not. Throws `usage`. */
export function secure({ cert, key }: TlsOptions, timing: Timing = {}): Secure | undefined {
  if (cert === undefined && key === undefined) return undefined
  if (cert === undefined || key === undefined) {
    const [given, missing] = cert === undefined ? ['--key', '--cert'] : ['--cert', '--key']
    throw new TunnelError('usage', `expected --cert and --key, got only ${given}; give ${missing} as well`)
  }
  const { handshakeTimeoutMs = 10_000, now = () => performance.now() } = timing
  const pair = new KeyPair({ cert, key }, now)
  const handshakes = new Deadline<Socket>(handshakeTimeoutMs, (tcp) => tcp.destroy(late))

  async function wrap(tcp: Socket): Promise<TLSSocket> {
    const due = handshakes.begin(tcp.on('error', ignore)) // 'close' follows
    try {
      const first = await firstByte(tcp)
      if (first !== HANDSHAKE) throw isLetter(first) ? speaksTls : notTls
      return await handshake(tcp, pair.context)
    } catch (error) {
      if (error === speaksTls) farewell(tcp, answer(speaksTls))
      else tcp.destroy()
      throw error
    } finally {
      handshakes.end(due)
    }
  }
  return { wrap, reload: () => pair.reload() }
}

/** The type of the record that begins TLS (RFC 8446 section 5.1). */
const HANDSHAKE = 22

/** What the visitor begins with, left to be read: http is answered as such. */
function firstByte(tcp: Socket): Promise<number> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => void) => {
      tcp.off('readable', onReadable).off('end', onEnd).off('close', onEnd)
      act()
    }
    const onReadable = () => {
      const bytes = tcp.read() as Buffer | null
      if (bytes === null) return
      settle(() => resolve(bytes.readUInt8()))
      tcp.unshift(bytes)
    }
    const onEnd = () => settle(() => reject(noTls(tcp.errored)))
    tcp.on('readable', onReadable).on('end', onEnd).on('close', onEnd)
    if (tcp.destroyed) onEnd()
  })
}

function handshake(tcp: Socket, context: SecureContext): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const secured = new SecureSocket(tcp, context)
    const onClose = () => reject(noTls(secured.errored))
    secured.on('close', onClose)
    secured.once('secure', () => resolve(secured.off('close', onClose)))
  })
}

/**
 * Node's TLSSocket on the server's side. It has two events that are not in Node's documentation, on which Node's own
 * tls.Server stands: 'secure' ends the handshake, and '_tlsError' tells of a broken record, which else nobody hears.
 */
class SecureSocket extends TLSSocket {
  readonly #tcp: Socket

  constructor(tcp: Socket, secureContext: SecureContext) {
    super(tcp, { isServer: true, secureContext, ALPNProtocols: ['http/1.1'] })
    this.#tcp = tcp
    this.on('error', ignore).on('_tlsError', (error: Error) => this.destroy(error))
  }

  /** Destroying a TLSSocket destroys the TCP socket beneath, in Node's own good order; here that is a reset. */
  override resetAndDestroy(): this {
    const tcp: Partial<Socket> & Pick<Socket, 'resetAndDestroy'> = this.#tcp
    tcp.destroy = () => {
      delete tcp.destroy
      return tcp.resetAndDestroy()
    }
    return this.destroy()
  }
}

const ignore = () => undefined

function isLetter(byte: number): boolean {
  return byte >= 0x41 && byte <= 0x5a
}

const speaksTls = new TunnelError('bad-request', 'expected TLS, got plain http; this port speaks https')
const notTls = new TunnelError('bad-request', 'expected a TLS handshake, got other bytes')
const late = new TunnelError('request-timeout', 'expected a TLS handshake sooner')

function noTls(cause: Error | null): TunnelError {
  if (cause instanceof TunnelError) return cause
  const came = cause === null ? 'a connection closed before' : codeOf(cause)
  return new TunnelError('bad-request', `expected a TLS handshake, got ${came}`, { cause })
}
