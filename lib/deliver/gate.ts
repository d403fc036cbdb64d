/**
 * Who may pass: by address (`--allow-ip`, `--deny-ip`) and by password (`--basic-auth`, RFC 7617). Both are asked for each
 * request, before anything reaches the local service.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import { isIP } from 'node:net'
import { TunnelError } from '../errors.ts'
import { type Field, valuesOf } from '../http/fields.ts'
import { rangeList } from '../ranges.ts'

export interface GateOptions {
  /** `user:password`, which visitors are asked for. */
  basicAuth?: string | undefined
  /** Addresses and CIDR ranges; if there are any, only these may pass. */
  allowIp?: readonly string[] | undefined
  /** Addresses and CIDR ranges that may not pass, even if allowed. */
  denyIp?: readonly string[] | undefined
}

export interface Gate {
  /** Throws `forbidden` for a visitor whose address may not pass. */
  readonly checkAddress: (fields: readonly Field[]) => void
  /** Throws `unauthorized` for a visitor without the password. */
  readonly checkPassword: (fields: readonly Field[]) => void
}

/** Throws `usage`. */
export function gate({ basicAuth, allowIp = [], denyIp = [] }: GateOptions): Gate {
  const [isAllowed, isDenied] = [rangeList(allowIp, '--allow-ip'), rangeList(denyIp, '--deny-ip')]
  const secret = basicAuth === undefined ? undefined : digest(parseCredentials(basicAuth))
  return {
    checkAddress(fields) {
      if (allowIp.length + denyIp.length === 0) return
      const address = addressOf(fields)
      const mayPass =
        (allowIp.length === 0 || isAllowed(address)) && isIP(address) !== 0 && !isDenied(address)
      if (!mayPass) throw new TunnelError('forbidden', `your address ${address} may not visit this tunnel`)
    },
    checkPassword(fields) {
      if (secret !== undefined && !timingSafeEqual(digest(credentialsOf(fields)), secret)) throw unauthorized
    },
  }
}

/** The field that asks for a password. */
export const challenge = 'WWW-Authenticate: Basic realm="groktunnel", charset="UTF-8"'

const unauthorized = new TunnelError('unauthorized', 'this tunnel asks for a user and a password')

function parseCredentials(text: string): Buffer {
  // What was given instead is not told: it may be a password.
  if (/^[^:\p{Cc}]+:\P{Cc}+$/u.test(text)) return Buffer.from(text)
  throw new TunnelError('usage', 'expected --basic-auth user:password, got no colon between two texts')
}

function credentialsOf(fields: readonly Field[]): Buffer {
  const [value = '', ...more] = valuesOf(fields, 'authorization')
  const [, base64 = ''] = /^basic +([A-Za-z0-9+/=_-]+)$/i.exec(value) ?? []
  return Buffer.from(more.length === 0 ? base64 : '', 'base64')
}

/** Texts of any length become comparable in constant time. */
function digest(bytes: Buffer): Buffer {
  return createHash('sha256').update(bytes).digest()
}

/**
 * The visitor's address as our server tells it: the last one it put into X-Forwarded-For. If there are more, the server
 * trusts the last as its proxy, and the one before is whom that proxy speaks for (lib/http/forwarded.ts); some proxies
 * tell its port as well. What is no address then may not pass any list.
 */
function addressOf(fields: readonly Field[]): string {
  const hops = valuesOf(fields, 'x-forwarded-for').join(',').split(',')
  const told = (hops.length > 1 ? hops.at(-2) : hops[0])?.trim() ?? ''
  const [, literal, ipv4 = literal ?? told] = /^"?(?:\[([^\]]+)\](?::\d+)?|([\d.]+):\d+)"?$/.exec(told) ?? []
  return ipv4.replace(/^::ffff:(?=\d+\.)/i, '')
}
