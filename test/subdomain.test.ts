import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TunnelError } from '../lib/errors.ts'
import { reservedName } from '../lib/reserved.ts'
import { checkSubdomain, newSubdomain } from '../subdomain.ts'

function refusalOf(name: string): string {
  try {
    checkSubdomain(name)
  } catch (error) {
    assert.ok(error instanceof TunnelError && error.code === 'bad-name')
    return error.message
  }
  throw new assert.AssertionError({ message: `${JSON.stringify(name)} was not refused` })
}

const LETTERS = 'abcdefghijklmnopqrstuvwxyz0123456789'

/** Bytes that draw these names, one after the other. */
function drawing(...names: string[]): () => Uint8Array {
  return () => Uint8Array.from(names.shift() ?? '', (letter) => LETTERS.indexOf(letter))
}

test('a drawn name is ten characters that pass the check, and another each time', () => {
  const names = Array.from({ length: 1000 }, () => newSubdomain())
  for (const name of names) {
    assert.match(name, /^[a-z0-9]{10}$/)
    assert.equal(checkSubdomain(name), name)
  }
  assert.equal(new Set(names).size, names.length)
})

test('a name is drawn again when it is reserved or looks so', () => {
  const random = drawing('postmaster', 'autoconf1g', 'groktunne1', 'adrninrnrn', 'webrnaster', 'k3v9x0a2bq')
  assert.equal(newSubdomain(random), 'adrninrnrn')
  assert.equal(newSubdomain(random), 'k3v9x0a2bq')
})

test('no byte makes a letter likelier than others', () => {
  const bytes = [Uint8Array.from({ length: 10 }, (_, index) => 246 + index), new Uint8Array(10).fill(35)]
  assert.equal(
    newSubdomain(() => bytes.shift() ?? new Uint8Array()),
    '4567899999',
  )
})

test('a name in any case becomes lower case', () => {
  for (const name of ['a', '0', 'MyApp', 'my-app', 'a--b', 'x'.repeat(63), '123'])
    assert.equal(checkSubdomain(name), name.toLowerCase())
})

test('what is no label is refused, with the reason and the next step', () => {
  const names = [
    '',
    '-a',
    'a-',
    'a.b',
    'a_b',
    '_dmarc',
    'a b',
    'a\n',
    '\na',
    'a\0',
    'x'.repeat(64),
    '*',
    '@',
    'a/b',
  ]
  for (const name of names)
    assert.match(
      refusalOf(name),
      /^expected a name of 1 to 63 letters a-z.*, got ".*"; choose another, or none$/,
    )
})

test('a letter that becomes ASCII in lower case is no ASCII letter', () => {
  assert.equal('\u212a'.toLowerCase(), 'k')
  for (const name of [
    '\u212a',
    'boo\u212a',
    '\u0130d',
    'i\u0307',
    'caf\u00e9',
    '\u0430pp',
    '\uff41pp',
    '\u017fhop',
    'a\u00adb',
  ])
    assert.match(refusalOf(name), /letters a-z/)
})

test('a refusal shows at most 70 characters of a name', () => {
  assert.ok(refusalOf('x'.repeat(5000)).length < 200)
})

test('international names and others with hyphens in both third and fourth place are refused', () => {
  for (const name of ['xn--80ak6aa92e', 'XN--a', 'xn--fiqs8s', 'ab--cd', 'a---b'])
    assert.match(refusalOf(name), /without hyphens in both third and fourth place, got ".*"; choose another/)
})

const reserved = [
  ['www', 'mail', 'smtp', 'imap', 'pop', 'mx', 'ns', 'dns', 'ftp', 'ssh', 'root', 'admin', 'administrator'],
  ['login', 'account', 'accounts', 'secure', 'security', 'billing', 'payment', 'payments'],
  ['wpad', 'isatap', 'autodiscover', 'autoconfig', 'mta-sts', 'localhost'],
  ['abuse', 'postmaster', 'hostmaster', 'webmaster', 'support', 'help', 'status'],
  ['groktunnel', 'tunnel', 'server', 'dashboard', 'static', 'cdn', 'assets'],
].flat()

test('reserved names are refused in any case, with the reason and the next step', () => {
  for (const name of reserved) {
    for (const shown of [name, name.toUpperCase()]) {
      const says = `expected a name that neither is nor looks like the reserved "${name}", got "${shown}"; choose another, or none`
      assert.equal(refusalOf(shown), says)
    }
  }
})

const lookalikes: [name: string, meant: string][] = [
  ['adm1n', 'admin'],
  ['admln', 'admin'],
  ['adrnin', 'admin'],
  ['aclmin', 'admin'],
  ['4dmin', 'admin'],
  ['a-d-m-i-n', 'admin'],
  ['l0gin', 'login'],
  ['1og1n', 'login'],
  ['log-in', 'login'],
  ['sign-in', 'signin'],
  ['vvww', 'www'],
  ['vvvvvv', 'www'],
  ['w-w-w', 'www'],
  ['WvvW', 'www'],
  ['rnail', 'mail'],
  ['mai1', 'mail'],
  ['5ecure', 'secure'],
  ['s3cure', 'secure'],
  ['supp0rt', 'support'],
  ['s7a7us', 'status'],
  ['rnx', 'mx'],
  ['r00t', 'root'],
  ['web-mail', 'webmail'],
  ['mtasts', 'mta-sts'],
  ['auto-discover', 'autodiscover'],
]

test('names that could be taken for reserved ones are refused, and told for which', () => {
  for (const [name, meant] of lookalikes)
    assert.match(refusalOf(name), new RegExp(`the reserved "${meant}", got "${name}"`))
})

test('a number behind makes no other name of www, ns1, mail and login', () => {
  for (const name of ['www2', 'www-2', 'ns1', 'ns27', 'mx10', 'pop3', 'imap4', 'mail01', 'admin1', 'l0gin-2'])
    assert.match(refusalOf(name), /the reserved/)
  for (const name of ['server2', 'tunnel-2', 'cdn1', '1', '2024', '550'])
    assert.equal(reservedName(name), undefined)
})

test('names that are only popular stay free', () => {
  const one = [
    'test',
    'one',
    'two',
    'alpha',
    'beta',
    'web',
    'app',
    'demo',
    'blog',
    'shop',
    'api',
    'dev',
    'staging',
  ]
  const two = [
    'auth',
    'docs',
    'git',
    'myapp',
    'mine',
    'my-admin',
    'admin-of-bob',
    'hooks',
    'webhook',
    'preview',
    'stage',
  ]
  const three = [
    'helper',
    'mailer',
    'newsletter',
    'tunnels',
    'host',
    'home',
    'pay',
    'id',
    'm',
    'w',
    'vv',
    'n',
    'next',
  ]
  for (const name of [...one, ...two, ...three]) assert.equal(checkSubdomain(name), name)
})
