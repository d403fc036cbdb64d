/** Addresses as Node gives them, IPv4 perhaps inside IPv6. */
export function isLoopback(address: string): boolean {
  return /^(::ffff:)?127\.|^::1$/.test(address)
}

/**
 * Who is counted as one: an IPv4 address, or the /64 of an IPv6 one, of which a single customer has all 2^64
 * (RFC 6177 section 2). What is no address counts as it is.
 */
export function networkOf(address: string): string {
  if (!address.includes(':')) return address
  const plain = address.replace(/^::ffff:(?=\d+\.)/i, '').replace(/%.*$/, '')
  if (!plain.includes(':')) return plain
  const [head = '', tail] = plain.toLowerCase().split('::')
  const groups = (text: string) => text.split(':').filter((group) => group !== '')
  const [left, right] = [groups(head), groups(tail ?? '')]
  const missing = Array<string>(Math.max(0, 8 - left.length - right.length)).fill('0')
  const four = [...left, ...missing, ...right].slice(0, 4).map((group) => group.replace(/^0+(?=.)/, ''))
  return `${four.join(':')}::/64`
}
