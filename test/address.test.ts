import assert from 'node:assert/strict'
import { test } from 'node:test'
import { networkOf } from '../lib/address.ts'

for (const [address, network] of [
  ['192.0.2.1', '192.0.2.1'],
  ['::ffff:192.0.2.1', '192.0.2.1'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
  ['2001:db8:1:2::6', '2001:db8:1:2::/64'],
  ['2001:DB8::6', '2001:db8:0:0::/64'],
  ['2001:0db8::6', '2001:db8:0:0::/64'],
  ['1::', '1:0:0:0::/64'],
  ['::1', '0:0:0:0::/64'],
  ['::', '0:0:0:0::/64'],
  ['fe80::1%eth0', 'fe80:0:0:0::/64'],
  ['0000:0000:0000:0000:0000:ffff:0a00:0101', '10.0.1.1'],
  ['::ffff:a00:101', '10.0.1.1'],
  ['0:0:0:0:0:ffff:10.0.1.1', '10.0.1.1'],
  ['64:ff9b::192.0.2.1', '64:ff9b:0:0::/64'],
  ['unknown', 'unknown'],
  ['', ''],
] as const) {
  test(`${address || 'no address'} is counted as ${network || 'such'}`, () => {
    assert.equal(networkOf(address), network)
  })
}
