import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { TunnelError } from '../lib/errors.ts'
import { type Options, parseOptions } from '../lib/options.ts'
import { parseTarget } from '../lib/target.ts'
import { keyOf, type Name, namesOf, rowOf, variableOf } from '../lib/options/table.ts'

const folder = mkdtempSync(join(tmpdir(), 'options-'))
after(() => rmSync(folder, { recursive: true }))
mkdirSync(join(folder, 'dist'))
const empty = join(folder, 'empty')
mkdirSync(empty)

const parse = (...argv: string[]): Options => parseOptions(argv, { env: {}, folder: empty })

/** Splits at spaces, as a shell would. */
const line = (text: string): Options => parse(...text.split(' '))

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

test('with a local service it is the client, without one the server, with the defaults of the table', () => {
  const server = parse()
  assert.deepEqual(server.targets, [])
  assert.deepEqual(
    [server.host, server.port, server.bind, server.tls],
    ['localhost', 9999, '127.0.0.1', false],
  )
  assert.deepEqual([server.graceMs, server.heartbeatMs, server.holdMs], [10_000, 3_000, 60_000])
  assert.deepEqual([server.display, server.maxConnections], [true, undefined])
  assert.deepEqual(parse('3000').targets, [{ local: '3000', options: { cors: false, insecure: false } }])
})

test('what is not given is absent, so that it hides no default when spread', () => {
  for (const [key, value] of Object.entries(parse('3000'))) assert.notEqual(value, undefined, key)
})

test('values follow as a word, after =, or, for a letter, at once', () => {
  for (const text of ['--subdomain a', '--subdomain=a', '-s a', '-s=a', '-sa'])
    assert.equal(line(`${text} 3000`).targets[0]?.options.subdomain, 'a', text)
  assert.equal(line('-p1').port, 1)
  assert.deepEqual(line('--header=-a:b 3000').targets[0]?.options.header, ['-a:b'])
  assert.deepEqual(parse('3000', '--header=X-A: a=b\nX-B: c').header, ['X-A: a=b\nX-B: c'])
  assert.equal(line('-s ABC 3000').targets[0]?.options.subdomain, 'abc')
  assert.equal(parse('3000', '-s', 'true', '--proxy', 'false').proxy, 'false')
})

test('switches are switched off with --no-, and the last one counts', () => {
  assert.equal(line('3000 --no-wait --wait').wait, true)
  assert.equal(line('3000 --wait --no-wait').wait, false)
  assert.equal(line('3000 --no-display').display, false)
  assert.deepEqual(
    line('--json true:3000').targets.map(({ local }) => local),
    ['true:3000'],
  )
})

test('lists are given by repeating, and those of names and addresses with commas as well', () => {
  assert.deepEqual(line('3000 --allow-ip ::1,10.0.0.0/8 --allow-ip 1.2.3.4').allowIp, [
    '::1',
    '10.0.0.0/8',
    '1.2.3.4',
  ])
  assert.deepEqual(parse('3000', '--header', 'A: b, c', '--header', 'D: e').header, ['A: b, c', 'D: e'])
  assert.deepEqual(line('3000 --remove-header A, --remove-header B').removeHeader, ['A', 'B'])
})

test('times are in seconds, or as their unit says', () => {
  const times: [string, number][] = [
    ['3', 3_000],
    ['0.25', 250],
    ['1.001', 1_001],
    ['500ms', 500],
    ['3s', 3_000],
    ['1.5m', 90_000],
    ['1h', 3_600_000],
    ['500h', 1_800_000_000],
    ['0', 0],
  ]
  for (const [text, ms] of times) assert.equal(parse('--hold', text).holdMs, ms, text)
})

test('the host may be a URL, or have a port; an option given beside or above it counts more', () => {
  const where = (text: string, env: NodeJS.ProcessEnv = {}) => {
    const { host, port, tls } = parseOptions(text.split(' '), { env, folder: empty })
    return `${host} ${port} ${tls}`
  }
  assert.equal(where('-h https://A.example.'), 'a.example 443 true')
  assert.equal(where('-h https://a.example/ -p 8443'), 'a.example 8443 true')
  assert.equal(where('-h HTTP://a.example'), 'a.example 80 false')
  assert.equal(where('-h a.example:81'), 'a.example 81 false')
  assert.equal(where('3000 --tls -h a.example'), 'a.example 9999 true')
  assert.equal(where('3000 -h a.example', { GROKTUNNEL_PORT: '7', GROKTUNNEL_TLS: '1' }), 'a.example 7 true')
  assert.equal(
    where('3000 -h http://a.example', { GROKTUNNEL_PORT: '7', GROKTUNNEL_TLS: '1' }),
    'a.example 80 false',
  )
  assert.equal(where('3000 -p 7 --no-tls', { GROKTUNNEL_HOST: 'https://b.example' }), 'b.example 7 false')
})

test('targets may have names, which are those to ask for', () => {
  const { targets } = line('web=3000 api=http://localhost:8080 http://localhost:1/?a=b ./a=b unix:/a=b')
  const told = targets.map(({ name, local, options }) => [name, local, options.subdomain])
  assert.deepEqual(told, [
    ['web', '3000', 'web'],
    ['api', 'http://localhost:8080', 'api'],
    [undefined, 'http://localhost:1/?a=b', undefined],
    [undefined, './a=b', undefined],
    [undefined, 'unix:/a=b', undefined],
  ])
})

test('ports, hosts, URLs, sockets and folders are targets', () => {
  const words = [
    '3000',
    ':3000',
    'a:3000',
    '[::1]:3000',
    'http://a',
    'https://a:1',
    'unix:/a',
    './a',
    '/a',
    'a/',
    '.',
  ]
  assert.deepEqual(
    parse(...words).targets.map(({ local }) => local),
    words,
  )
})

test('--subdomain is for the one target that has no name', () => {
  const names = line('-s app 3000 api=8080').targets.map(({ options }) => options.subdomain)
  assert.deepEqual(names, ['app', 'api'])
  const own = parseOptions(['web=3000'], { env: { GROKTUNNEL_SUBDOMAIN: 'app' }, folder: empty })
  assert.equal(own.targets[0]?.options.subdomain, 'web')
})

test('what follows -- is a command, whatever it looks like', () => {
  assert.deepEqual(line('3000 -- npm test --nonsense -- -x').command, [
    'npm',
    'test',
    '--nonsense',
    '--',
    '-x',
  ])
  assert.equal(line('3000').command, undefined)
})

test('requests are heard whatever stands beside them, and whatever else is broken', () => {
  const broken = join(folder, 'broken')
  mkdirSync(broken)
  writeFileSync(join(broken, 'groktunnel.toml'), 'host = ')
  const ask = (text: string) => {
    const { help, version, completion, stop } = parseOptions(text.split(' '), {
      env: { GROKTUNNEL_NO: '' },
      folder: broken,
    })
    return help ?? completion ?? stop ?? version
  }
  assert.equal(ask('--help'), 'client')
  assert.equal(ask('3000 --cert x --help'), 'client')
  assert.equal(ask('--help server'), 'server')
  assert.equal(ask('--help all'), 'all')
  assert.equal(ask('--version'), true)
  assert.equal(ask('--completion zsh'), 'zsh')
  assert.deepEqual(ask('--stop'), [])
  assert.deepEqual(ask('--stop web api'), ['web', 'api'])
})

test('a server keeps its names in a file of its own, a client keeps none', () => {
  const env = { XDG_STATE_HOME: '/state' }
  const server = parseOptions(['-b', '::1', '-p', '7'], { env, folder: empty })
  assert.deepEqual(server.stateFile, '/state/groktunnel/names-__1-7.json')
  for (const argv of [['3000'], ['--demo']]) {
    const { stateFolder, stateFile } = parseOptions(argv, { env, folder: empty })
    assert.deepEqual([stateFolder, stateFile], ['/state/groktunnel', undefined])
  }
})

// precedence, for each option of the table

const texts: Record<string, [string, string]> = {
  HOST: ['a.example', 'b.example'],
  PORT: ['1', '2'],
  NAME: ['one', 'other'],
  MODE: ['rewrite', 'a.test'],
  HEADER: ['A: b', 'C: d'],
  'USER:PASS': ['a:b', 'c:d'],
  CIDR: ['10.0.0.0/8', '::1'],
  URL: ['http://a.example', 'http://b.example'],
  ADDRESS: ['0.0.0.0', '::1'],
  N: ['17', '18'],
  TIME: ['400ms', '1m'],
  FILE: [join(folder, 'one'), join(folder, 'other')],
}
for (const [index, file] of texts['FILE']?.entries() ?? []) writeFileSync(file, `# user:${index}`)

type Source = 'flag' | 'environment' | 'tunnel' | 'file'

/** What an option comes to when these sources give it. */
function outcome(name: Name, given: Partial<Record<Source, string>>): unknown {
  const { side, value, perTunnel } = rowOf(name)
  const quotedOrNot = (text: string) => (value === undefined ? text : JSON.stringify(text))
  const top = given.file === undefined ? '' : `${name} = ${quotedOrNot(given.file)}`
  const own = given.tunnel === undefined ? '' : `${name} = ${quotedOrNot(given.tunnel)}`
  writeFileSync(join(folder, 'groktunnel.toml'), `${top}\n[tunnels.web]\nlocal = 3000\n${own}`)
  const flag = given.flag === undefined ? [] : [flagOf(name, given.flag)]
  const env = given.environment === undefined ? {} : { [variableOf(name)]: given.environment }
  const trust = name === 'proxy-protocol-in' ? ['--trust-proxy=::1'] : []
  const words = side === 'server' ? trust : given.tunnel === undefined ? ['3000'] : ['start', 'web']
  const options = parseOptions([...flag, ...words], { env, folder })
  const key = name === 'basic-auth-file' ? 'basicAuth' : keyOf(name)
  const [values] = perTunnel ? options.targets.map((target) => target.options) : [options]
  return (values as Record<string, unknown>)[key]
}

function flagOf(name: Name, text: string): string {
  if (rowOf(name).value !== undefined) return `--${name}=${text}`
  return text === 'true' ? `--${name}` : `--no-${name}`
}

const settings = namesOf((row) => row.isRequest !== true)

for (const name of settings) {
  const { value, perTunnel } = rowOf(name)
  const sources: Source[] = ['flag', 'environment']
  if (perTunnel) sources.push('tunnel')
  if (name !== 'config') sources.push('file')
  const pair = value === undefined ? ['true', 'false'] : texts[value]

  test(`--${name} counts as a flag before the environment before the file before the default`, () => {
    assert.ok(pair, `a pair of ${value} for this test`)
    for (const [one = '', other = ''] of [pair, pair.toReversed()]) {
      const wanted = outcome(name, { flag: one })
      assert.notDeepEqual(outcome(name, { flag: other }), wanted)
      for (const [rank, upper] of sources.entries()) {
        assert.deepEqual(outcome(name, { [upper]: one }), wanted, upper)
        for (const lower of sources.slice(rank + 1))
          assert.deepEqual(outcome(name, { [upper]: one, [lower]: other }), wanted, `${upper} over ${lower}`)
      }
    }
    const strange = rowOf(name).default === 'true' ? 'false' : (pair[0] ?? '')
    assert.notDeepEqual(outcome(name, {}), outcome(name, { flag: strange }))
  })
}

test('a token, which has no flag, counts more than a token file below it and less than one above', () => {
  const token = (env: NodeJS.ProcessEnv, ...argv: string[]) => {
    const options = parseOptions(argv, { env, folder })
    return options.token ?? options.tokenFile
  }
  writeFileSync(join(folder, 'groktunnel.toml'), 'token-file = "/c"')
  assert.equal(token({}), '/c')
  assert.equal(token({ GROKTUNNEL_TOKEN: 'b' }), 'b')
  assert.equal(token({ GROKTUNNEL_TOKEN: 'b' }, '--token-file', 'a'), 'a')
  assert.equal(parseOptions([], { env: { GROKTUNNEL_KEY: 'mine' }, folder: empty }).ownerKey, 'mine')
})

test('a password counts more than a password file below it and less than one above', () => {
  const one = texts['FILE']?.[0] ?? ''
  writeFileSync(join(folder, 'groktunnel.toml'), 'basic-auth = "c:c"')
  const env = { GROKTUNNEL_BASIC_AUTH: 'b:b' }
  assert.equal(parseOptions(['3000'], { env, folder }).basicAuth, 'b:b')
  assert.equal(parseOptions(['3000', '--basic-auth-file', one], { env, folder }).basicAuth, '# user:0')
  assert.equal(
    parseOptions(['3000'], { env: { GROKTUNNEL_BASIC_AUTH_FILE: one }, folder }).basicAuth,
    '# user:0',
  )
})

test('options of the other side may stand in the environment, and count for that side only', () => {
  const env = { GROKTUNNEL_CERT: 'c', GROKTUNNEL_SUBDOMAIN: 'app', GROKTUNNEL_MAX_TUNNELS: 'many' }
  const client = parseOptions(['3000'], { env, folder: empty })
  assert.deepEqual([client.cert, client.subdomain], [undefined, 'app'])
  const server = parseOptions([], { env: { ...env, GROKTUNNEL_MAX_TUNNELS: '3' }, folder: empty })
  assert.deepEqual([server.cert, server.subdomain, server.maxTunnels], ['c', undefined, 3])
})

test('variables that others set are not taken for ours', () => {
  const env = {
    GROKTUNNEL_URL: 'http://a.localhost:9999',
    GROKTUNNEL_VERSION: '1.2.3',
    GROKTUNNEL_SERVICE_HOST: '10.0.0.1',
    GROKTUNNEL_SERVICE_PORT: '9999',
    GROKTUNNEL_PORT: 'tcp://10.0.0.1:7',
    GROKTUNNEL_PORT_7_TCP_ADDR: '10.0.0.1',
    OTHER: 'x',
  }
  assert.equal(parseOptions([], { env, folder: empty }).port, 9999)
})

// mistakes

test('a misspelt option, variable or switch is answered with the nearest, for every one of the table', () => {
  for (const name of settings.filter((name) => name.length > 4)) {
    const flag = `--${name[0]}${name.slice(2)}`
    assert.equal(
      errorOf(() => line(flag)),
      `unknown option ${flag}; did you mean --${name}?`,
    )
    const variable = variableOf(name)
    const env = { [variable.replace(/^(GROKTUNNEL_.)./, '$1')]: 'x' }
    const message = errorOf(() => parseOptions([], { env, folder: empty }))
    assert.equal(message, `unknown environment variable ${Object.keys(env)[0]}; did you mean ${variable}?`)
  }
})

const mistakes: [words: string, message: string | RegExp][] = [
  ['--subdomian=secret', 'unknown option --subdomian; did you mean --subdomain?'],
  ['--response', 'unknown option --response; did you mean --response-header?'],
  ['-subdomain app 3000', 'unknown option -subdomain; did you mean --subdomain?'],
  ['-port=1', 'unknown option -port; did you mean --port?'],
  ['--no-wiat', 'unknown option --no-wiat; did you mean --no-wait?'],
  ['--nothing-like-it', 'unknown option --nothing-like-it; see groktunnel --help'],
  ['-x', 'unknown option -x; see groktunnel --help'],
  ['--constructor', 'unknown option --constructor; see groktunnel --help'],
  ['--__proto__=x', 'unknown option --__proto__; see groktunnel --help'],
  ['--_=3000', 'unknown option --_; see groktunnel --help'],
  ['--host.port 1', /^unknown option --host\.port; /],
  ['--\u001b[31m', 'unknown option "--\\u001b[31m"; see groktunnel --help'],
  ['-h', 'expected --host HOST, got no value; see groktunnel --help'],
  ['-p -1', 'expected --port PORT, got -1; a value that begins with - needs ='],
  ['-s -- x', 'expected --subdomain NAME, got no value; see groktunnel --help'],
  ['--subdomain= 3000', 'expected NAME for --subdomain, got no value'],
  ['--subdomain  3000', 'expected NAME for --subdomain, got no value'],
  ['--allow-ip=, 3000', 'expected CIDR for --allow-ip, got no value'],
  ['--wait=true 3000', 'expected --wait without =, got true; --no-wait switches it off'],
  ['--stop=web', 'expected --stop without =, got web; write --stop web'],
  ['--no-host', 'expected --host HOST, got --no-host; only switches have a --no-'],
  ['-p 1 --port 2', 'expected --port once, got it 2 times'],
  ['-p 65536', 'expected --port to be a number from 0 to 65535, got "65536"'],
  ['-h a:65536', 'expected --host to be a number from 0 to 65535, got "65536"'],
  [
    '-s a_b 3000',
    'expected --subdomain to be a name of 1 to 63 letters a-z, digits and inner hyphens, got "a_b"',
  ],
  ['a=1 A=2', 'expected a name for each target, got a for several; write web=3000 api=8080'],
  ['-p 0 3000', 'expected --port to be the server’s, got 0; see its ready line'],
  [
    '--detach 3000 -- ls',
    'expected --detach or a command after --, got both: the command ends with the client; leave one out',
  ],
  ['-h a..b', 'expected --host to be a host name such as lvh.me, or a URL without a path, got "a..b"'],
  [
    '-h https://a/b',
    'expected --host to be a host name such as lvh.me, or a URL without a path, got "https://a/b"',
  ],
  ['--max-tunnels 0', 'expected --max-tunnels to be a number from 1 on, got "0"'],
  ['--hold 3d', 'expected --hold to be a time from 0 to 500h such as 3, 500ms, 3s or 1m, got "3d"'],
  ['--hold 501h', /^expected --hold to be a time from 0 to 500h .* got "501h"$/],
  ['--heartbeat 99ms', /^expected --heartbeat to be a time from 100ms to 500h .* got "99ms"$/],
  ['--completion tcsh', 'expected --completion to be bash or zsh or fish, got "tcsh"'],
  ['--proxy-protocol-in', 'expected --trust-proxy with --proxy-protocol-in, to know who may send it'],
  [
    '3000 --basic-auth a:b --basic-auth-file f',
    'expected --basic-auth or --basic-auth-file, got both; leave one out',
  ],
  [
    '3000 --basic-auth-file /nowhere',
    'expected to read basic-auth-file at "/nowhere", got ENOENT; check the path and its rights',
  ],
  [
    '3000 --cert c',
    '--cert is an option of the server, which is started without a local service; see groktunnel --help server',
  ],
  ['--detach', '--detach is an option of the client, which needs a local service; such as: groktunnel 3000'],
  [
    '-- npm test',
    'a command after -- is for the client, which needs a local service; such as: groktunnel 3000 -- npm test',
  ],
  ['3000 --', 'expected a command after --, got none; such as: groktunnel 3000 -- npm test'],
  ['-s app 3000 8080', 'expected a name for each target, got app for several; write web=3000 api=8080'],
  ['web=3000 web=8080', 'expected a name for each target, got web for several; write web=3000 api=8080'],
  ['-s app web=3000', 'expected --subdomain or NAME=TARGET, got both; leave one out'],
  ['start', 'expected tables such as [tunnels.web] in groktunnel.toml, got no such file'],
  ['strat web', /^expected a local service such as 3000, .* or \.\/folder, got strat; did you mean start\?$/],
  ['3000x', /^expected a local service .* got 3000x; see groktunnel --help$/],
  ['web=', /^expected a local service .* got web=; see/],
  ['-', /^expected a local service .* got -; see/],
]

test('a mistake on the command line is one line: what was expected, what came, what to do', () => {
  for (const [words, message] of mistakes) {
    const got = errorOf(() => line(words))
    if (typeof message === 'string') assert.equal(got, message)
    else assert.match(got, message)
  }
})

test('a folder without a slash is taken for a mistake, and the cure told', () => {
  const message = errorOf(() => parseOptions(['dist'], { env: {}, folder }))
  assert.match(message, /got dist; did you mean \.\/dist\?$/)
})

const variables: [env: NodeJS.ProcessEnv, message: string][] = [
  [
    { GROKTUNNEL_SUBDOMIAN: 'x' },
    'unknown environment variable GROKTUNNEL_SUBDOMIAN; did you mean GROKTUNNEL_SUBDOMAIN?',
  ],
  [{ GROKTUNNEL_HELP: '1' }, 'expected --help on the command line, got GROKTUNNEL_HELP; unset it'],
  [{ GROKTUNNEL_HOST: '' }, 'expected HOST for GROKTUNNEL_HOST, got no value'],
  [{ GROKTUNNEL_TRUST_PROXY: '' }, 'expected CIDR for GROKTUNNEL_TRUST_PROXY, got no value'],
  [{ GROKTUNNEL_JSON: 'yes' }, 'expected GROKTUNNEL_JSON to be true or false, got "yes"'],
  [{ GROKTUNNEL_PORT: 'x' }, 'expected GROKTUNNEL_PORT to be a number from 0 to 65535, got "x"'],
  [
    { GROKTUNNEL_TOKEN: 'a', GROKTUNNEL_TOKEN_FILE: 'b' },
    'expected GROKTUNNEL_TOKEN or GROKTUNNEL_TOKEN_FILE, got both; leave one out',
  ],
]

test('--detach and a command are refused wherever the one is said', () => {
  const env = { GROKTUNNEL_DETACH: 'true' }
  const message = errorOf(() => parseOptions(['3000', '--', 'ls'], { env, folder: empty }))
  assert.match(message, /^expected GROKTUNNEL_DETACH or a command after --, got both/)
  const demo = errorOf(() => parseOptions(['--demo', '--detach', '--', 'ls'], { env: {}, folder: empty }))
  assert.match(demo, /^expected --detach or a command after --, got both/)
})

test('no message repeats a password', () => {
  for (const argv of [['http://user:secret@localhost:3000'], ['-h', 'https://user:secret@a..b', '3000']]) {
    const message = errorOf(() => {
      const [target] = parseOptions(argv, { env: {}, folder: empty }).targets
      parseTarget(target?.local ?? '')
    })
    assert.doesNotMatch(message, /secret/)
  }
})

test('a mistake in the environment is told by the variable’s name', () => {
  for (const [env, message] of variables)
    assert.equal(
      errorOf(() => parseOptions([], { env, folder: empty })),
      message,
    )
})
