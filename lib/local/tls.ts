/**
 * TLS to the local service. Its certificate is verified, but for a service on this machine: there nobody could be between.
 */
import { isIP, type Socket } from 'node:net'
import tls, { type TLSSocket } from 'node:tls'
import { isLoopback } from '../address.ts'

/** Begins TLS with `host` on connections to it; `insecure` believes any certificate. */
export function securing(host: string, insecure: boolean): (socket: Socket) => TLSSocket {
  const secureContext = tls.createSecureContext()
  // A server name must not be an address (RFC 6066 section 3).
  const name = isIP(host) === 0 ? { servername: host } : {}
  return (socket) => {
    const rejectUnauthorized = !insecure && !isLoopback(socket.remoteAddress ?? '')
    const options = { ...name, socket, host, secureContext, rejectUnauthorized, ALPNProtocols: ['http/1.1'] }
    return resettable(tls.connect(options), socket)
  }
}

/** Node cannot reset a TLSSocket; but destroying it destroys the TCP socket beneath, which here is a reset. */
function resettable(secured: TLSSocket, below: Socket): TLSSocket {
  below.on('error', () => undefined) // the TLSSocket tells of it
  const tcp: Partial<Socket> & Pick<Socket, 'resetAndDestroy'> = below
  secured.resetAndDestroy = () => {
    tcp.destroy = () => {
      delete tcp.destroy
      return tcp.resetAndDestroy()
    }
    return secured.destroy()
  }
  return secured
}
