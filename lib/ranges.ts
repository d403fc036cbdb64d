/** Lists of addresses and CIDR ranges, IPv4 and IPv6 (RFC 4632, RFC 4291). */
import { BlockList, isIP } from 'node:net'
import { TunnelError } from './errors.ts'

/** Whether an address is in a list; one that is no address is in none. */
export type IsIn = (address: string) => boolean

/** Reads the list of an `option`. Throws `usage` on an entry that is no address and no range. */
export function rangeList(entries: readonly string[], option: string): IsIn {
  if (entries.length === 0) return () => false
  const list = new BlockList()
  for (const entry of entries) addRange(list, entry, option)
  return (address) => isIP(address) !== 0 && list.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4')
}

function addRange(list: BlockList, entry: string, option: string): void {
  const [address = '', bits, ...more] = entry.split('/')
  const family = isIP(address) === 6 ? 'ipv6' : 'ipv4'
  const most = family === 'ipv6' ? 128 : 32
  const prefix = bits === undefined ? most : /^\d{1,3}$/.test(bits) ? Number(bits) : NaN
  if (isIP(address) === 0 || !(prefix <= most) || more.length > 0) {
    throw new TunnelError(
      'usage',
      `expected ${option} to be an address or CIDR such as 10.0.0.0/8, got ${JSON.stringify(entry)}`,
    )
  }
  list.addSubnet(address, prefix, family)
}
