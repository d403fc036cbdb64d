import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TunnelError } from '../lib/errors.ts'
import { describe, originOf, parseTarget } from '../lib/target.ts'

const port = (host: string, number: number, tls = false) => ({ kind: 'port', host, port: number, tls })
const unix = (path: string) => ({ kind: 'unix', path })
const folder = (path: string) => ({ kind: 'folder', path })

const targets: [text: string, target: object, described: string, origin: string][] = [
  ['3000', port('localhost', 3000), 'port 3000', 'http://localhost:3000'],
  [':3000', port('localhost', 3000), 'port 3000', 'http://localhost:3000'],
  ['80', port('localhost', 80), 'port 80', 'http://localhost'],
  ['localhost:3000', port('localhost', 3000), 'port 3000', 'http://localhost:3000'],
  ['my_app.Test:8080', port('my_app.test', 8080), 'my_app.test:8080', 'http://my_app.test:8080'],
  ['127.0.0.1:1', port('127.0.0.1', 1), '127.0.0.1:1', 'http://127.0.0.1:1'],
  ['[::1]:65535', port('::1', 65535), '[::1]:65535', 'http://[::1]:65535'],
  ['http://localhost:3000', port('localhost', 3000), 'port 3000', 'http://localhost:3000'],
  ['http://db.internal', port('db.internal', 80), 'db.internal:80', 'http://db.internal'],
  ['HTTP://[::1]:8080/', port('::1', 8080), '[::1]:8080', 'http://[::1]:8080'],
  [
    'https://localhost:8443',
    port('localhost', 8443, true),
    'https://localhost:8443',
    'https://localhost:8443',
  ],
  ['https://app.test', port('app.test', 443, true), 'https://app.test', 'https://app.test'],
  ['unix:/run/app.sock', unix('/run/app.sock'), 'unix:/run/app.sock', 'http://localhost'],
  ['unix:app.sock', unix('app.sock'), 'unix:app.sock', 'http://localhost'],
  ['unix:///run/app.sock', unix('/run/app.sock'), 'unix:/run/app.sock', 'http://localhost'],
  ['.', folder('.'), '.', 'http://localhost'],
  ['..', folder('..'), '..', 'http://localhost'],
  ['./site', folder('./site'), './site', 'http://localhost'],
  ['/srv/www', folder('/srv/www'), '/srv/www', 'http://localhost'],
  ['/', folder('/'), '/', 'http://localhost'],
  ['dist/', folder('dist/'), 'dist/', 'http://localhost'],
  ['dist/my site', folder('dist/my site'), 'dist/my site', 'http://localhost'],
]

for (const [text, target, described, origin] of targets) {
  test(`${text} is a ${(target as { kind: string }).kind}`, () => {
    const parsed = parseTarget(text)
    assert.deepEqual(parsed, target)
    assert.equal(describe(parsed), described)
    assert.equal(originOf(parsed), origin)
  })
}

const refusals: [text: string, message: RegExp][] = [
  ['', /such as 3000/],
  ['web', /such as 3000, .*\.\/folder, got "web"/],
  ['0', /port from 1 to 65535, got "0"/],
  ['65536', /port from 1 to 65535/],
  ['host:0', /port from 1 to 65535/],
  ['host:99999', /port from 1 to 65535/],
  ['host:abc', /such as 3000/],
  ['host:', /such as 3000/],
  ['-1', /such as 3000/],
  ['::1', /IPv6 addresses in brackets/],
  ['::1:3000', /IPv6 addresses in brackets: \[::1\]:3000/],
  ['[::1]', /such as 3000/],
  ['[zz]:3000', /port from 1/],
  ['http://localhost:3000/app', /without a path.*leave it out, got "http:\/\/localhost:3000\/app"/],
  ['localhost:3000/app', /without a path/],
  ['http://localhost:3000?a=b', /without a path/],
  ['http://localhost:3000/#x', /without a path/],
  ['http://', /port from 1/],
  ['http://user:secret@localhost:3000', /without a password, got one with it; see --header/],
  ['ftp://localhost', /begins with http:\/\/ or https:\/\//],
  ['ws://localhost:3000', /begins with http:\/\/ or https:\/\//],
  ['local host:3000', /without spaces/],
  ['30\t00', /without spaces/],
  ['unix:', /such as unix:\/run\/app\.sock/],
  ['unix:/run/', /such as unix:\/run\/app\.sock/],
]

for (const [text, message] of refusals) {
  test(`${JSON.stringify(text)} is refused with a next step`, () => {
    assert.throws(
      () => parseTarget(text),
      (error) => error instanceof TunnelError && error.code === 'usage' && message.test(error.message),
    )
  })
}
