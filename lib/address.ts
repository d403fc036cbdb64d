/** Addresses as Node gives them, IPv4 perhaps inside IPv6. */
export function isLoopback(address: string): boolean {
  return /^(::ffff:)?127\.|^::1$/.test(address)
}

/**
 * Who is counted as one: an IPv4 address, however it is written, or the /64 of an IPv6 one, of which a single customer has
 * all 2^64 (RFC 6177 section 2). What is no address counts as it is.
 */
export function networkOf(address: string): string {
  if (!address.includes(':')) return address
  const groups = groupsOf(address.toLowerCase().replace(/%.*$/, ''))
  const [high = 0, low = 0] = groups.slice(6)
  const isMapped = groups[5] === 0xffff && groups.slice(0, 5).every((group) => group === 0)
  if (isMapped) return [high >> 8, high & 255, low >> 8, low & 255].join('.')
  const network = groups.slice(0, 4).map((group) => group.toString(16))
  return `${network.join(':')}::/64`
}

/** The eight numbers of an IPv6 address (RFC 4291 section 2.2). */
function groupsOf(address: string): number[] {
  const dotted = /(\d+)\.(\d+)\.(\d+)\.(\d+)$/
  const hex = (one: string, other: string) => ((Number(one) << 8) | Number(other)).toString(16)
  const plain = address.replace(
    dotted,
    (_, a: string, b: string, c: string, d: string) => `${hex(a, b)}:${hex(c, d)}`,
  )
  const [head = '', tail = ''] = plain.split('::')
  const numbers = (text: string) => (text === '' ? [] : text.split(':').map((group) => parseInt(group, 16)))
  const [left, right] = [numbers(head), numbers(tail)]
  return [...left, ...Array<number>(Math.max(0, 8 - left.length - right.length)).fill(0), ...right]
}
