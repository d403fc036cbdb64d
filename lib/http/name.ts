/**
 * Which tunnel a Host header names: exactly one valid label under the server's own host. Case, port and one trailing
 * dot do not matter (RFC 3986 section 3.2.2, RFC 9110 section 4.2.3).
 */
const label = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/

/** The tunnel's name; '' for the server's own host; undefined for a host that is not ours. */
export function nameOf(authority: string, serverHost: string): string | undefined {
  const host = authority.toLowerCase().replace(/:\d*$/, '').replace(/\.$/, '')
  if (host === serverHost) return ''
  if (!host.endsWith(`.${serverHost}`)) return undefined
  const name = host.slice(0, -serverHost.length - 1)
  return label.test(name) ? name : undefined
}
