/**
 * Proxies in front of the server: which are believed, and what they say of the visitor, in X-Forwarded fields or in the
 * PROXY protocol (https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt). The only importer of proxy-protocol-js,
 * which sees nothing but one whole header of a peer that is trusted.
 */
import type { IncomingMessage } from 'node:http'
import { isIP, type Socket } from 'node:net'
import { INETProtocol, V1ProxyProtocol, V2ProxyProtocol } from 'proxy-protocol-js'
import { asTunnelError, TunnelError } from '../errors.ts'
import { type Origin, originOf as httpOrigin } from '../http/forwarded.ts'
import { rangeList } from '../ranges.ts'
import { visitorOf } from '../vhost/visitor.ts'

export interface ProxyOptions {
  /** Addresses and CIDR ranges of proxies whose word is taken; default none. */
  trustProxy?: readonly string[]
  /** Trusted peers begin each connection with a PROXY header, version 1 or 2. */
  proxyProtocolIn?: boolean
}

export type Trusts = (address: string) => boolean

const V1_BYTES = 107
const V2_BYTES = 4096
const V2_SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1')
const LOCAL = 0x20
const PROXY = 0x21
const HEADER_MS = 10_000

/** Tells of each new connection where it comes from. */
export function origins(options: ProxyOptions, trusts: Trusts): (socket: Socket) => Origin | Promise<Origin> {
  return (socket) => {
    const peer = httpOrigin(socket)
    peer.trusted = trusts(peer.address)
    if (options.proxyProtocolIn !== true || !peer.trusted) return peer
    return readProxyHeader(socket).then((told) => {
      return told === undefined ? peer : { ...peer, address: told, trusted: trusts(told) }
    })
  }
}

/** Who speaks to us through proxies that we trust: the last address that is not one of theirs. */
export function clientAddress({ headers, socket }: IncomingMessage, trusts: Trusts): string {
  const origin = visitorOf(socket)?.origin ?? httpOrigin(socket)
  const told = origin.trusted ? String(headers['x-forwarded-for'] ?? '').split(',') : []
  const hops = told.map((hop) => hop.trim()).filter((hop) => isIP(hop) !== 0)
  return hops.findLast((hop) => !trusts(hop)) ?? hops[0] ?? origin.address
}

/** Whether an address is one of those. Throws `usage` on an entry that is no address and no range. */
export function trustList(entries: readonly string[] = []): Trusts {
  return rangeList(entries, '--trust-proxy')
}

/** The visitor's address, or undefined where the proxy speaks for itself. Rejects with `bad-request`. */
function readProxyHeader(socket: Socket): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    let bytes: Buffer = Buffer.alloc(0)
    const timer = setTimeout(() => settle(() => reject(bad('nothing in time'))), HEADER_MS)
    const settle = (act: () => void) => {
      clearTimeout(timer)
      socket.off('data', onData).off('end', onClose).off('close', onClose)
      act()
    }
    const onClose = () => settle(() => reject(bad('a closed connection')))
    const onData = (more: Buffer) => {
      bytes = Buffer.concat([bytes, more])
      try {
        const length = headerLength(bytes)
        if (length === undefined) return
        const address = parseHeader(bytes.subarray(0, length))
        settle(() => {
          socket.pause()
          socket.unshift(bytes.subarray(length))
          resolve(address)
        })
      } catch (error) {
        settle(() => reject(asTunnelError(error)))
      }
    }
    socket.on('data', onData).on('end', onClose).on('close', onClose)
  })
}

/** How many bytes the header has; undefined while that cannot be told, or they are not all there. */
function headerLength(bytes: Buffer): number | undefined {
  const length = V2_SIGNATURE.subarray(0, bytes.length).equals(bytes.subarray(0, 12))
    ? v2Length(bytes)
    : v1Length(bytes)
  return length !== undefined && length <= bytes.length ? length : undefined
}

function v2Length(bytes: Buffer): number | undefined {
  if (bytes.length < 16) return undefined
  const length = 16 + bytes.readUInt16BE(14)
  if (length > V2_BYTES) throw bad(`${length} bytes`)
  return length
}

function v1Length(bytes: Buffer): number | undefined {
  const line = bytes.subarray(0, V1_BYTES).toString('latin1')
  const end = line.indexOf('\r\n')
  if (!'PROXY '.startsWith(line.slice(0, 6)) || (end < 0 && line.length === V1_BYTES))
    throw bad('other bytes')
  return end < 0 ? undefined : end + 2
}

function parseHeader(header: Buffer): string | undefined {
  return header[0] === 0x50 ? parseV1(header.toString('latin1')) : parseV2(header)
}

function parseV1(line: string): string | undefined {
  if (/^PROXY UNKNOWN[ \r]/.test(line)) return undefined
  try {
    const { inetProtocol, source, destination } = V1ProxyProtocol.parse(line)
    const family = inetProtocol === INETProtocol.TCP6 ? 6 : 4
    const isGood = [source, destination].every(
      (peer) => isIP(peer.ipAddress) === family && peer.port <= 65535,
    )
    if (isGood) return source.ipAddress
  } catch {
    // told below
  }
  throw bad(JSON.stringify(line))
}

/** Version 2. A LOCAL command or a family without internet addresses is the proxy speaking for itself. */
function parseV2(header: Buffer): string | undefined {
  const [command, family] = [header.readUInt8(12), header.readUInt8(13) >> 4]
  if (command !== LOCAL && command !== PROXY) throw bad(`version and command 0x${command.toString(16)}`)
  if (command === LOCAL || (family !== 1 && family !== 2)) return undefined
  try {
    V2ProxyProtocol.parse(header)
  } catch {
    throw bad('a header that cannot be read')
  }
  return family === 1 ? [...header.subarray(16, 20)].join('.') : ipv6Of(header.subarray(16, 32))
}

function ipv6Of(bytes: Buffer): string {
  return (bytes.toString('hex').match(/.{4}/g) ?? []).join(':')
}

function bad(came: string): TunnelError {
  return new TunnelError('bad-request', `expected a PROXY protocol header from this peer, got ${came}`)
}
