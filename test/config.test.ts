import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { TunnelError } from '../lib/errors.ts'
import { type Options, parseOptions } from '../lib/options.ts'
import { keyOf, namesOf, rowOf } from '../lib/options/table.ts'

/** A working folder with such a groktunnel.toml. */
function folderWith(t: TestContext, toml: string, file = 'groktunnel.toml'): string {
  const folder = mkdtempSync(join(tmpdir(), 'config-'))
  t.after(() => rmSync(folder, { recursive: true }))
  writeFileSync(join(folder, file), toml)
  return folder
}

const parse = (folder: string, ...argv: string[]): Options => parseOptions(argv, { env: {}, folder })

function errorOf(act: () => unknown): string {
  try {
    act()
  } catch (error) {
    assert.ok(error instanceof TunnelError, String(error))
    assert.equal(error.exitCode, 2)
    return error.message
  }
  throw new assert.AssertionError({ message: 'expected an error, got none' })
}

const EXAMPLE = `
host = "https://tunnel.example.com"
wait = true
grace = 2.5
allow-ip = ["10.0.0.0/8", "::1"]
header = "X-Env: dev"
cert = "fullchain.pem"

[tunnels.web]
local = 3000
host-header = "rewrite"
subdomain = "shop"

[tunnels.api]
local = "localhost:8080"
basic-auth = "user:password"
header = ["X-Env: api", "X-Other: 1"]
cors = true

[tunnels.docs]
local = "./dist"
`

test('start takes the tunnels of the file, each with its own options and those of all', (t) => {
  const folder = folderWith(t, EXAMPLE)
  const { targets, host, tls, wait, graceMs, configFile } = parse(folder, 'start')
  const all = { allowIp: ['10.0.0.0/8', '::1'], insecure: false }
  assert.deepEqual(targets, [
    {
      name: 'web',
      local: '3000',
      options: { ...all, cors: false, subdomain: 'shop', hostHeader: 'rewrite', header: ['X-Env: dev'] },
    },
    {
      name: 'api',
      local: 'localhost:8080',
      options: {
        ...all,
        cors: true,
        subdomain: 'api',
        basicAuth: 'user:password',
        header: ['X-Env: api', 'X-Other: 1'],
      },
    },
    {
      name: 'docs',
      local: join(folder, 'dist'),
      options: { ...all, cors: false, subdomain: 'docs', header: ['X-Env: dev'] },
    },
  ])
  assert.deepEqual([host, tls, wait, graceMs], ['tunnel.example.com', true, true, 2_500])
  assert.equal(configFile, 'groktunnel.toml')
})

test('start with names takes those, in that order', (t) => {
  const { targets } = parse(folderWith(t, EXAMPLE), 'start', 'docs', 'web')
  assert.deepEqual(
    targets.map(({ name }) => name),
    ['docs', 'web'],
  )
})

test('a flag counts more than what the file says of a tunnel', (t) => {
  const { targets } = parse(
    folderWith(t, EXAMPLE),
    'start',
    'api',
    '-s',
    'own',
    '--no-cors',
    '--basic-auth=a:b',
  )
  const { subdomain, cors, basicAuth } = targets[0]?.options ?? {}
  assert.deepEqual([subdomain, cors, basicAuth], ['own', false, 'a:b'])
})

test('the options at its top count for any client and any server', (t) => {
  const folder = folderWith(t, EXAMPLE)
  const client = parse(folder, '8080')
  assert.deepEqual(client.targets[0]?.options.header, ['X-Env: dev'])
  assert.deepEqual([client.host, client.cert], ['tunnel.example.com', undefined])
  assert.deepEqual(
    [parse(folder).host, parse(folder).cert],
    ['tunnel.example.com', join(folder, 'fullchain.pem')],
  )
})

test('--config and GROKTUNNEL_CONFIG name another file, whose paths are meant from its folder', (t) => {
  const folder = folderWith(t, 'subdomain = "here"')
  const other = folderWith(t, EXAMPLE.replace('"./dist"', '"unix:run/app.sock"'), 'other.toml')
  const file = join(other, 'other.toml')
  const byFlag = parse(folder, '--config', file, 'start', 'docs')
  assert.equal(byFlag.targets[0]?.local, `unix:${join(other, 'run/app.sock')}`)
  assert.equal(byFlag.configFile, file)
  assert.deepEqual(parseOptions(['start', 'docs'], { env: { GROKTUNNEL_CONFIG: file }, folder }), byFlag)
  assert.equal(parse(other, '--config=other.toml').cert, join(other, 'fullchain.pem'))
})

test('only paths are meant from the folder of the file', (t) => {
  const locals = (...texts: string[]) => {
    const tables = texts.map((text, index) => `[tunnels.t${index}]\nlocal = ${JSON.stringify(text)}`)
    const folder = folderWith(t, tables.join('\n'))
    return parse(folder, 'start').targets.map(({ local }) => local.replace(folder, 'HERE'))
  }
  assert.deepEqual(locals('3000', ':1', 'a:1', 'http://a/', '/srv', 'unix:/a', '[::1]:1'), [
    '3000',
    ':1',
    'a:1',
    'http://a/',
    '/srv',
    'unix:/a',
    '[::1]:1',
  ])
  assert.deepEqual(locals('./a', 'a/', '.', 'a/b', 'unix:./a', 'unix:a'), [
    'HERE/a',
    'HERE/a',
    'HERE',
    'HERE/a/b',
    'unix:HERE/a',
    'unix:HERE/a',
  ])
})

test('a folder without the file has no options and no tunnels', (t) => {
  const folder = folderWith(t, '', 'other.toml')
  assert.equal(parse(folder, '3000').configFile, undefined)
})

test('numbers may be strings, and strings numbers', (t) => {
  const { port, heartbeatMs } = parse(folderWith(t, 'port = "7"\nheartbeat = "500ms"\nsubdomain = 3'), '3000')
  assert.deepEqual([port, heartbeatMs], [7, 500])
})

test('a list may be empty, which is none', (t) => {
  assert.deepEqual(parse(folderWith(t, 'trust-proxy = []')).trustProxy, [])
})

test('a password is read from a file beside it', (t) => {
  const folder = folderWith(t, '[tunnels.web]\nlocal = 3000\nbasic-auth-file = "secret"')
  writeFileSync(join(folder, 'secret'), 'user:pass word\n')
  const { options } = parse(folder, 'start').targets[0] ?? {}
  assert.equal(options?.basicAuth, 'user:pass word')
})

for (const name of namesOf((row) => row.isRequest === true || row.key === 'configFile')) {
  test(`${name} is no key of the file, as it is asked for once`, (t) => {
    const value = rowOf(name).value === undefined ? 'true' : '"bash"'
    const message = errorOf(() => parse(folderWith(t, `${name} = ${value}`)))
    assert.equal(
      message,
      `expected --${name} on the command line, got ${name} in groktunnel.toml; take it out`,
    )
  })
}

test('options that are not for one tunnel are refused in its table, all of them', (t) => {
  for (const name of namesOf(
    (row) => row.perTunnel !== true && row.isRequest !== true && row.key !== 'configFile',
  )) {
    const folder = folderWith(t, `[tunnels.web]\nlocal = 1\n${name} = 1`)
    const message = errorOf(() => parse(folder, '3000'))
    assert.equal(
      message,
      `expected ${name} at the top of the file, got it in [tunnels.web] of groktunnel.toml`,
      keyOf(name),
    )
  }
})

const mistakes: [toml: string, message: string | RegExp][] = [
  [
    'host = ',
    /^expected TOML in "groktunnel\.toml", got at line 1, column \d+: [a-z ]+; see https:\/\/toml\.io$/,
  ],
  ['hsot = "a"', 'unknown key in groktunnel.toml: hsot; did you mean host?'],
  ['tokenFile = "a"', 'unknown key in groktunnel.toml: tokenFile; did you mean token-file?'],
  ['[server]', 'unknown key in groktunnel.toml: server; see groktunnel --help'],
  ['[tunnel.web]', 'unknown key in groktunnel.toml: tunnel; did you mean tunnels?'],
  [
    '[tunnels.web]\nlocal = 1\nhost-heder = "rewrite"',
    'unknown key in [tunnels.web] of groktunnel.toml: host-heder; did you mean host-header?',
  ],
  [
    '[tunnels.web]\nport = 1\nlocal = 1',
    'expected port at the top of the file, got it in [tunnels.web] of groktunnel.toml',
  ],
  ['tunnels = 3', 'expected tables such as [tunnels.web] in groktunnel.toml, got a number'],
  ['[tunnels]\nweb = 3000', 'expected a table [tunnels.web] of groktunnel.toml, got a number'],
  ['[tunnels.web]', 'expected local = 3000, or such, in [tunnels.web] of groktunnel.toml, got none'],
  [
    '[tunnels.web]\nlocal = true',
    'expected local = 3000, or such, in [tunnels.web] of groktunnel.toml, got a boolean',
  ],
  ['wait = "yes"', 'expected wait in groktunnel.toml to be true or false, got a string'],
  ['subdomain = true', 'expected subdomain in groktunnel.toml to be one NAME, got a boolean'],
  ['host = ["a", "b"]', 'expected host in groktunnel.toml to be one HOST, got a list'],
  ['allow-ip = [true]', 'expected allow-ip in groktunnel.toml to be strings, got a boolean'],
  ['header = { A = "b" }', 'expected header in groktunnel.toml to be strings, got a table'],
  ['host = ""', 'expected HOST for host in groktunnel.toml, got no value'],
  ['port = 99999', 'expected port in groktunnel.toml to be a number from 0 to 65535, got "99999"'],
  [
    'token-file = "a"\n[tunnels.web]\nlocal = 1\nbasic-auth = "a:b"\nbasic-auth-file = "c"',
    /^expected basic-auth in \[tunnels\.web\] of groktunnel\.toml or basic-auth-file in .*, got both; leave one out$/,
  ],
  ['tunnels = {}', 'expected tables such as [tunnels.web] in groktunnel.toml, got none'],
]

test('a mistake in the file is told by key and place, and never shows what might be secret', (t) => {
  for (const [toml, message] of mistakes) {
    const got = errorOf(() => parse(folderWith(t, toml), toml.includes('tunnels') ? 'start' : '3000'))
    if (typeof message === 'string') assert.equal(got, message)
    else assert.match(got, message)
  }
})

test('a tunnel that is not in the file is answered with the nearest, and one without start with that', (t) => {
  const folder = folderWith(t, EXAMPLE)
  assert.equal(
    errorOf(() => parse(folder, 'start', 'dosc')),
    'unknown tunnel of groktunnel.toml: dosc; did you mean docs?',
  )
  assert.match(
    errorOf(() => parse(folder, 'web')),
    /got web; did you mean groktunnel start web\?$/,
  )
  assert.match(
    errorOf(() => parse(folder, 'start', 'web', 'web')),
    /^expected a name for each target, got shop/,
  )
})

test('a file that is named must be there, and be one', (t) => {
  const folder = folderWith(t, '', 'other.toml')
  const none = errorOf(() => parse(folder, '--config', 'none.toml'))
  assert.equal(
    none,
    `expected to read the config file at "${join(folder, 'none.toml')}", got ENOENT; check the path and its rights`,
  )
  mkdirSync(join(folder, 'groktunnel.toml'))
  assert.match(
    errorOf(() => parse(folder)),
    /groktunnel\.toml", got EISDIR; /,
  )
})
