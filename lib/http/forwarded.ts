/**
 * What the local service is told of the visitor: X-Forwarded-For, -Proto, -Host, -Port and Forwarded (RFC 7239).
 * What came in of these is dropped, or extended when the peer is a trusted proxy. An offer to go on in HTTP/2
 * (h2c) is dropped as well: nobody could follow the messages after it (RFC 9113 section 3.1, RFC 9110 section 7.8).
 * So is any offer in HTTP/1.0, which means nothing there.
 */
import { valuesOf } from './fields.ts'
import type { RequestHead } from './request.ts'
import { rewriteHead } from './rewrite.ts'

/** Where a request came from. */
export interface Origin {
  /** the peer's address, as Node gives it */
  address: string
  /** how the visitor spoke to us */
  proto: 'http' | 'https'
  /** believe what the peer says of those before it */
  trusted: boolean
}

/** A visitor who comes straight to us, in plain http. */
export function originOf({ remoteAddress }: { remoteAddress?: string | undefined }): Origin {
  return { address: remoteAddress ?? 'unknown', proto: 'http', trusted: false }
}

const ours = new Set([
  'x-forwarded-for',
  'x-forwarded-proto',
  'x-forwarded-host',
  'x-forwarded-port',
  'forwarded',
])

const oursAndH2c = new Set([...ours, 'upgrade', 'http2-settings'])

/** The bytes of the head as the local service gets them. */
export function forwardedHead(head: RequestHead, origin: Origin): Buffer {
  const isIdle = head.upgrade !== undefined && (isH2c(head.upgrade) || head.version === '1.0')
  const ending = isIdle ? oursAndH2c : ours
  const { options } = head
  const add = forwardedFields(head, origin)
  // Connection must not name what ends here: a proxy before the local service would then drop our fields.
  if (!options.some((option) => ending.has(option))) return rewriteHead(head, (name) => ending.has(name), add)
  const kept = options.filter((option) => !ending.has(option))
  if (kept.length > 0) add.push(['Connection', kept.join(', ')])
  return rewriteHead(head, (name) => ending.has(name) || name === 'connection', add)
}

function forwardedFields(head: RequestHead, origin: Origin): [string, string][] {
  const { host } = head
  const address = origin.address.replace(/^::ffff:(?=\d+\.)/, '')
  const told = (name: string) => (origin.trusted ? valuesOf(head.fields, name).join(', ') : '')
  const node = address.includes(':') ? `"[${address}]"` : address
  const before = { for: told('x-forwarded-for'), forwarded: told('forwarded') }
  const element = `for=${node};host="${host}";proto=${origin.proto}`
  return [
    ['X-Forwarded-For', before.for === '' ? address : `${before.for}, ${address}`],
    ['X-Forwarded-Proto', told('x-forwarded-proto') || origin.proto],
    ['X-Forwarded-Host', told('x-forwarded-host') || host],
    ['X-Forwarded-Port', told('x-forwarded-port') || portOf(host, origin)],
    ['Forwarded', before.forwarded === '' ? element : `${before.forwarded}, ${element}`],
  ]
}

/** The port the visitor used: the one it named, else the scheme's own. */
function portOf(host: string, { proto }: Origin): string {
  return /:(\d+)$/.exec(host)?.[1] ?? (proto === 'https' ? '443' : '80')
}

/** The protocols the visitor offers to go on in, as far as the offer is passed on. */
export function upgradeOf(head: RequestHead): string | undefined {
  return head.upgrade !== undefined && isH2c(head.upgrade) ? undefined : head.upgrade
}

function isH2c(upgrade: string): boolean {
  return /\bh2c\b/i.test(upgrade)
}
