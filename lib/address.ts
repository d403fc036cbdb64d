/** Addresses as Node gives them, IPv4 perhaps inside IPv6. */
export function isLoopback(address: string): boolean {
  return /^(::ffff:)?127\.|^::1$/.test(address)
}
