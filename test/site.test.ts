import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TunnelError } from '../lib/errors.ts'
import { siteOf, type SiteOptions } from '../lib/site.ts'

type Seen = [url: string, hostOfMyapp: string, urlOfMyapp: string, clientOptions: string]

const sites: [options: SiteOptions, port: number, scheme: 'http' | 'https', seen: Seen][] = [
  [
    {},
    9999,
    'http',
    ['http://localhost:9999', 'myapp.localhost:9999', 'http://myapp.localhost:9999', '-h localhost -p 9999'],
  ],
  [
    { host: 'LVH.me' },
    80,
    'http',
    ['http://lvh.me', 'myapp.lvh.me', 'http://myapp.lvh.me', '-h lvh.me -p 80'],
  ],
  [
    { host: 'lvh.me' },
    443,
    'http',
    ['http://lvh.me:443', 'myapp.lvh.me:443', 'http://myapp.lvh.me:443', '-h lvh.me -p 443'],
  ],
  [
    { host: 'lvh.me' },
    443,
    'https',
    ['https://lvh.me', 'myapp.lvh.me', 'https://myapp.lvh.me', '-h https://lvh.me'],
  ],
  [
    { host: 'lvh.me' },
    8443,
    'https',
    ['https://lvh.me:8443', 'myapp.lvh.me:8443', 'https://myapp.lvh.me:8443', '-h https://lvh.me:8443'],
  ],
  // Behind a proxy it is seen where the proxy is, whatever it listens on itself.
  [
    { publicUrl: 'https://tunnel.example.com' },
    9999,
    'http',
    [
      'https://tunnel.example.com',
      'myapp.tunnel.example.com',
      'https://myapp.tunnel.example.com',
      '-h https://tunnel.example.com',
    ],
  ],
  [
    { publicUrl: 'https://tunnel.example.com:8443/' },
    9999,
    'http',
    [
      'https://tunnel.example.com:8443',
      'myapp.tunnel.example.com:8443',
      'https://myapp.tunnel.example.com:8443',
      '-h https://tunnel.example.com:8443',
    ],
  ],
  [
    { publicUrl: 'http://Tunnel.Example.com:80' },
    9999,
    'https',
    [
      'http://tunnel.example.com',
      'myapp.tunnel.example.com',
      'http://myapp.tunnel.example.com',
      '-h tunnel.example.com -p 80',
    ],
  ],
  [
    { host: 'lvh.me', publicUrl: 'https://lvh.me' },
    1,
    'http',
    ['https://lvh.me', 'myapp.lvh.me', 'https://myapp.lvh.me', '-h https://lvh.me'],
  ],
]

for (const [options, port, scheme, seen] of sites) {
  test(`a server of ${JSON.stringify(options)} at ${scheme} port ${port} is seen at ${seen[0]}`, () => {
    const site = siteOf(options)(port, scheme)
    assert.deepEqual([site.url, site.hostOf('myapp'), site.urlOf('myapp'), site.clientOptions], seen)
    assert.equal(site.host, new URL(site.url).hostname)
    assert.equal(new URL(site.urlOf('myapp')).host, site.hostOf('myapp'))
  })
}

for (const publicUrl of [
  '',
  'lvh.me',
  'ftp://lvh.me',
  'https://',
  'https://lvh.me/path',
  'https://lvh.me/?query',
  'https://lvh.me/#part',
  'https://user@lvh.me',
  'https://:secret@lvh.me',
]) {
  test(`the public URL ${JSON.stringify(publicUrl)} is refused, with what was expected`, () => {
    assert.throws(
      () => siteOf({ publicUrl }),
      (error) =>
        error instanceof TunnelError &&
        error.code === 'usage' &&
        /such as https:\/\/lvh\.me/.test(error.message),
    )
  })
}

for (const options of [
  { host: '127.0.0.1' },
  { host: '::1' },
  { publicUrl: 'https://192.0.2.1' },
  { publicUrl: 'http://[2001:db8::1]:9999' },
]) {
  test(`${JSON.stringify(options)} is refused: an address has no names under it`, () => {
    assert.throws(
      () => siteOf(options),
      (error) =>
        error instanceof TunnelError && error.code === 'usage' && /such as lvh\.me/.test(error.message),
    )
  })
}

for (const host of [
  '',
  'a b',
  'a/b',
  'a..b',
  '.lvh.me',
  'lvh.me.',
  'lvh.me:80',
  'bücher.example',
  `${'a.'.repeat(95)}me`,
]) {
  test(`the host ${JSON.stringify(host.slice(0, 20))} is refused: no name under it could be a host name`, () => {
    assert.throws(
      () => siteOf({ host }),
      (error) =>
        error instanceof TunnelError && error.code === 'usage' && /such as lvh\.me/.test(error.message),
    )
  })
}
