import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { inspect } from 'node:util'
import { TunnelError } from '../lib/errors.ts'
import { readToken, tokens } from '../lib/names/tokens/tokens.ts'

const ALICE = 'alice-s3cret-0123456789'
const BOB = 'bob-s3cret-9876543210'
const two = `
[alice]
token = "${ALICE}"
names = ["alice", "alice-*", "*-of-Alice"]
max-tunnels = 5
max-connections = 100

[bob]
sha256 = "${sha256(BOB).toUpperCase()}"   # no secret in the file
`

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

function fileOf(t: TestContext, content: string | Buffer): string {
  const folder = mkdtempSync(join(tmpdir(), 'groktunnel-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'tokens.toml')
  writeFileSync(file, content)
  return file
}

function errorOf(act: () => unknown): TunnelError {
  try {
    act()
  } catch (error) {
    assert.ok(error instanceof TunnelError, inspect(error))
    return error
  }
  throw new assert.AssertionError({ message: 'expected a TunnelError, got none' })
}

test('a server without any token is open to all, whatever they send', () => {
  const { isOpen, admit } = tokens({})
  assert.equal(isOpen, true)
  for (const authorization of [undefined, 'Bearer whatever', 'nonsense'])
    assert.equal(admit(authorization, 'app'), undefined)
})

test('one token admits whoever sends it as Bearer, in any case', () => {
  const { isOpen, admit } = tokens({ token: ALICE })
  assert.equal(isOpen, false)
  for (const scheme of ['Bearer', 'bearer', 'BEARER', 'Bearer  ']) {
    const holder = admit(`${scheme} ${ALICE}`, 'app')
    assert.equal(holder?.name, 'token')
    assert.equal(holder?.owns('app'), false)
    assert.deepEqual([holder.maxTunnels, holder.maxConnections], [undefined, undefined])
  }
})

const refused: [what: string, authorization: string | undefined, got: RegExp][] = [
  ['nothing', undefined, /got none; set GROKTUNNEL_TOKEN or --token-file/],
  ['an empty header', '', /of another form/],
  ['a scheme alone', 'Bearer', /of another form/],
  ['a scheme and a space', 'Bearer ', /of another form/],
  ['a token without a scheme', ALICE, /of another form/],
  ['another scheme', `Basic ${ALICE}`, /of another form/],
  ['a scheme that only ends so', `XBearer ${ALICE}`, /of another form/],
  ['two tokens', `Bearer ${ALICE} ${ALICE}`, /of another form/],
  ['another token', `Bearer ${BOB}`, /does not know; check GROKTUNNEL_TOKEN or --token-file/],
  ['the beginning of the token', `Bearer ${ALICE.slice(0, -1)}`, /does not know/],
  ['a longer token', `Bearer ${ALICE}=`, /does not know/],
  ['the token in another case', `Bearer ${ALICE.toUpperCase()}`, /does not know/],
  ['the hash instead of the token', `Bearer ${sha256(ALICE)}`, /does not know/],
]

for (const [what, authorization, got] of refused) {
  test(`${what} is unauthorized, and the answer repeats nothing of it`, () => {
    const error = errorOf(() => tokens({ token: ALICE }).admit(authorization, 'app'))
    assert.equal(error.code, 'unauthorized')
    assert.match(error.message, got)
    assert.doesNotMatch(error.message, /s3cret|[0-9a-f]{64}/i)
  })
}

test('many tokens say who each holder is, and what it may', (t) => {
  const { admit } = tokens({ tokensFile: fileOf(t, two) })
  const alice = admit(`Bearer ${ALICE}`, 'alice')
  assert.deepEqual([alice?.name, alice?.maxTunnels, alice?.maxConnections], ['alice', 5, 100])
  const bob = admit(`Bearer ${BOB}`, 'app')
  assert.deepEqual([bob?.name, bob?.maxTunnels, bob?.maxConnections], ['bob', undefined, undefined])
})

test("a holder's names are closed to all others, and other names are open to every holder", (t) => {
  const { admit } = tokens({ tokensFile: fileOf(t, two) })
  for (const name of ['alice', 'alice-', 'alice-1', 'app-of-alice']) {
    assert.equal(admit(`Bearer ${ALICE}`, name)?.owns(name), true, name)
    const error = errorOf(() => admit(`Bearer ${BOB}`, name))
    assert.equal(error.code, 'forbidden')
    assert.match(error.message, new RegExp(`open to "bob", got "${name}", which another owns`))
  }
  for (const name of ['alic', 'alice1', 'bob', 'malice', 'app-of-alice-2']) {
    assert.equal(admit(`Bearer ${ALICE}`, name)?.owns(name), false, name)
    assert.equal(admit(`Bearer ${BOB}`, name)?.name, 'bob')
  }
})

test('without a token a name that is owned is unauthorized, not forbidden', (t) => {
  const { admit } = tokens({ tokensFile: fileOf(t, two) })
  assert.equal(errorOf(() => admit('Bearer nobodys-token', 'alice')).code, 'unauthorized')
})

test('one token and many count side by side', (t) => {
  const { admit } = tokens({ token: 'one-for-all', tokensFile: fileOf(t, two) })
  assert.equal(admit('Bearer one-for-all', 'app')?.name, 'token')
  assert.equal(admit(`Bearer ${ALICE}`, 'app')?.name, 'alice')
  assert.equal(errorOf(() => admit('Bearer one-for-all', 'alice')).code, 'forbidden')
})

for (const [how, content] of [
  ['a line end', `${ALICE}\n`],
  ['spaces and CRLF', ` ${ALICE} \r\n\r\n`],
  ['a BOM', `\ufeff${ALICE}\n`],
] as const) {
  test(`a token file with ${how} holds the bare token, for server and client`, (t) => {
    const tokenFile = fileOf(t, content)
    assert.equal(readToken({ tokenFile }), ALICE)
    assert.equal(tokens({ tokenFile }).admit(`Bearer ${ALICE}`, 'app')?.name, 'token')
  })
}

test('a tokens file may have a BOM and CRLF', (t) => {
  const tokensFile = fileOf(t, `\ufeff${two.replaceAll('\n', '\r\n')}`)
  assert.equal(tokens({ tokensFile }).admit(`Bearer ${ALICE}`, 'app')?.name, 'alice')
})

test('a client has the token it is given, or none', () => {
  assert.equal(readToken({ token: ALICE }), ALICE)
  assert.equal(readToken({}), undefined)
})

test('reload takes the files as they are now', (t) => {
  const [tokenFile, tokensFile] = [fileOf(t, 'first-token'), fileOf(t, two)]
  const { admit, reload } = tokens({ tokenFile, tokensFile })
  writeFileSync(tokenFile, 'second-token')
  writeFileSync(tokensFile, `[carol]\ntoken = "${ALICE}"`)
  assert.equal(admit('Bearer first-token', 'app')?.name, 'token')
  reload()
  assert.equal(errorOf(() => admit('Bearer first-token', 'app')).code, 'unauthorized')
  assert.equal(errorOf(() => admit(`Bearer ${BOB}`, 'app')).code, 'unauthorized')
  assert.equal(admit('Bearer second-token', 'alice')?.name, 'token')
  assert.equal(admit(`Bearer ${ALICE}`, 'app')?.name, 'carol')
})

test('reload of bad files throws and leaves all as it was', (t) => {
  const [tokenFile, tokensFile] = [fileOf(t, 'first-token'), fileOf(t, two)]
  const { isOpen, admit, reload } = tokens({ tokenFile, tokensFile })
  const isAsBefore = () => {
    assert.equal(errorOf(reload).code, 'usage')
    assert.equal(admit('Bearer first-token', 'app')?.name, 'token')
    assert.equal(errorOf(() => admit('Bearer first-token', 'alice')).code, 'forbidden')
    assert.equal(isOpen, false)
  }
  writeFileSync(tokenFile, 'second-token')
  for (const bad of ['', '[alice]', '[alice', two + two]) {
    writeFileSync(tokensFile, bad)
    isAsBefore()
  }
  rmSync(tokensFile)
  isAsBefore()
})

const alice = `[alice]\ntoken = "${ALICE}"\n`
const bob = `[bob]\ntoken = "${BOB}"\n`

/** What is wrong, the file, and what the message says besides the file. */
const badFiles: [what: string, content: string | Buffer, says: RegExp][] = [
  ['is empty', '', /a table such as \[alice\] .* an empty file/],
  ['has only comments', '# nothing\n', /an empty file/],
  ['is no TOML', `${alice}\nnames = [`, /TOML in .* line 4, column 9/],
  ['holds a bare token', ALICE, /TOML in .* line 1/],
  ['is UTF-16', Buffer.from(`\ufeff${two}`, 'utf16le'), /UTF-8/],
  ['has a token outside a table', `token = "${ALICE}"`, /table such as \[alice\] for "token" .* a string/],
  ['has a list of tables', `[[alice]]\ntoken = "${ALICE}"`, /for "alice" .* got a list/],
  ['has a date for a table', 'alice = 2026-01-01', /for "alice" .* got a date/],
  ['has an entry twice', alice + alice, /line 3/],
  ['has an unknown key', `${alice}max-tunels = 1`, /only token, .* in \[alice\] of .* got "max-tunels"/],
  ['has an unknown table', `${alice}[alice.more]\n`, /got "more"/],
  ['has a key of prototypes', `${alice}__proto__ = 1`, /got "__proto__"/],
  ['has an entry without a name', `[""]\ntoken = "${ALICE}"`, /entry name .* \[\]/],
  ['has an entry name with a line end', `["a\\nb"]\ntoken = "${ALICE}"`, /entry name .* \[a\\nb\]/],
  [
    'has an entry without a token',
    '[alice]\nnames = ["alice"]',
    /either token or sha256 in \[alice\] .* none/,
  ],
  ['has both token and hash', `${alice}sha256 = "${sha256(ALICE)}"`, /either .* in \[alice\] .* both/],
  ['has a short token', '[alice]\ntoken = "s3cr5"', /6 to 512 .* in \[alice\] .* 5 characters; make one/],
  ['has a long token', `[alice]\ntoken = "${'s3cret'.repeat(100)}"`, /600 characters/],
  ['has a token with a space', '[alice]\ntoken = "my s3cret token"', /without spaces .* got others/],
  ['has a token no header can carry', '[alice]\ntoken = "s3crét-s3crét"', /ASCII .* got others/],
  ['has a token with a line end', `[alice]\ntoken = """${ALICE}\n"""`, /got others/],
  ['has a number for a token', '[alice]\ntoken = 1234567890', /token to be a string .* a number$/],
  ['has a hash of wrong length', '[alice]\nsha256 = "abcd"', /64 hex digits in \[alice\] .* a string/],
  ['has a hash that is none', `[alice]\nsha256 = "${'g'.repeat(64)}"`, /64 hex digits/],
  ['has a number for a hash', '[alice]\nsha256 = 12345', /64 hex digits .* a number/],
  ['has one string for names', `${alice}names = "alice"`, /names to be a list in \[alice\] .* a string/],
  ['has a number for a name', `${alice}names = [1]`, /names to be strings in \[alice\] .* a number/],
  ['has a dot in a pattern', `${alice}names = ["a.b"]`, /names of letters.* in \[alice\] .* "a\.b"/],
  ['has an empty pattern', `${alice}names = [""]`, /names of letters.* ""$/],
  ['has a pattern that matches no label', `${alice}names = ["-*"]`, /names of letters.* "-\*"/],
  ['has no tunnels', `${alice}max-tunnels = 0`, /max-tunnels to be .* from 1 on in \[alice\] .* got 0/],
  ['has half a tunnel', `${alice}max-tunnels = 0.5`, /max-tunnels .* got 0\.5/],
  ['has endless tunnels', `${alice}max-tunnels = inf`, /max-tunnels .* got Infinity/],
  ['has a string for a limit', `${alice}max-connections = "9"`, /max-connections .* got a string/],
  ['gives two the same token', `${alice}[bob]\ntoken = "${ALICE}"`, /of its own for \[bob\] .* \[alice\]/],
  ['gives two the same hash', `${alice}[bob]\nsha256 = "${sha256(ALICE)}"`, /a token of its own for \[bob\]/],
  [
    'gives two the same pattern',
    `${alice}names = ["x-*"]\n${bob}names = ["y", "X-*"]`,
    /names of its own for \[bob\] .*"x-\*", which meets "x-\*" of \[alice\]/,
  ],
  [
    'gives two patterns that could meet',
    `${alice}names = ["x-*"]\n${bob}names = ["*-y"]`,
    /"\*-y", which meets "x-\*"/,
  ],
]

for (const [what, content, says] of badFiles) {
  test(`a tokens file that ${what} is refused, and no secret is told`, (t) => {
    const tokensFile = fileOf(t, content)
    const error = errorOf(() => tokens({ tokensFile }))
    assert.equal(error.code, 'usage')
    assert.match(error.message, says)
    assert.ok(error.message.includes(tokensFile), error.message)
    const all = inspect(error, { depth: Infinity, showHidden: true })
    assert.doesNotMatch(all, /s3cr|1234567890|[0-9a-f]{64}/i)
  })
}

const badOptions: [what: string, options: (t: TestContext) => Parameters<typeof tokens>[0], says: RegExp][] =
  [
    ['an empty token', () => ({ token: '' }), /in GROKTUNNEL_TOKEN, got 0 characters; make one/],
    ['a short token', () => ({ token: 's3cr5' }), /got 5 characters/],
    ['an empty token file', (t) => ({ tokenFile: fileOf(t, '\n') }), /tokens\.toml", got 0 characters/],
    ['a token file of two lines', (t) => ({ tokenFile: fileOf(t, `${ALICE}\n${BOB}\n`) }), /got others/],
    ['a token file that is not there', () => ({ tokenFile: '/nowhere/s' }), /"\/nowhere\/s", got ENOENT/],
    ['a folder for a token file', () => ({ tokenFile: tmpdir() }), /got EISDIR/],
    ['two tokens', (t) => ({ token: ALICE, tokenFile: fileOf(t, BOB) }), /got both; leave one out/],
  ]

for (const [what, options, says] of badOptions) {
  test(`${what} is refused by server and client`, (t) => {
    const given = options(t)
    for (const read of [tokens, readToken]) {
      const error = errorOf(() => read(given))
      assert.equal(error.code, 'usage')
      assert.match(error.message, says)
      assert.doesNotMatch(inspect(error), /s3cret/)
    }
  })
}

test('the one token must differ from the many, and so must its name', (t) => {
  const tokensFile = fileOf(t, alice)
  assert.match(
    errorOf(() => tokens({ token: ALICE, tokensFile })).message,
    /a token of its own for \[alice\]/,
  )
  const other = { token: BOB, tokensFile: fileOf(t, alice.replace('alice', 'token')) }
  assert.match(errorOf(() => tokens(other)).message, /a name of its own for \[token\] .* GROKTUNNEL_TOKEN/)
})

test('a tokens file that is not there is refused', () => {
  const error = errorOf(() => tokens({ tokensFile: '/nowhere/tokens.toml' }))
  assert.equal(error.code, 'usage')
  assert.match(error.message, /"\/nowhere\/tokens\.toml", got ENOENT/)
})

test('neither tokens nor hashes can be inspected', (t) => {
  const known = tokens({ token: 's3cret-for-all', tokensFile: fileOf(t, two) })
  const shown = inspect([known, known.admit(`Bearer ${ALICE}`, 'app')], { depth: Infinity, showHidden: true })
  assert.doesNotMatch(shown, /s3cret|Buffer/)
})

/** Reads files whose tokens it never had as a string, and looks for them in its own memory. */
const searcher = `
  import { readFileSync } from 'node:fs'
  import { getHeapSnapshot } from 'node:v8'
  const [, module, tokenFile, tokensFile] = process.argv
  const { tokens } = await import(module)
  const { reload, admit } = tokens({ tokenFile, tokensFile })
  reload()
  'x'.match(/x/) // node keeps the text of the last match
  const chunks = []
  for await (const chunk of getHeapSnapshot()) chunks.push(Buffer.from(chunk))
  const heap = Buffer.concat(chunks)
  const secret = (file) => readFileSync(file).subarray(-40)
  const found = [tokenFile, tokensFile].map((file) => heap.includes(secret(file)))
  console.log(JSON.stringify([...found, heap.includes('the-long-name-of-alice'), typeof admit]))
`

test('no token stays in the memory of the server', (t) => {
  const secrets = [randomBytes(20), randomBytes(20)].map((bytes) => bytes.toString('hex'))
  const tokenFile = fileOf(t, secrets[0] ?? '')
  const [name, hash] = ['the-long-name-of-alice', sha256(BOB)]
  const tokensFile = fileOf(
    t,
    `[${name}]\nsha256 = "${hash}"\nnames = ["${name}-*"]\n[bob]\ntoken = "${secrets[1]}"#${secrets[1]}`,
  )
  const module = new URL(`../lib/names/tokens/tokens${import.meta.url.slice(-3)}`, import.meta.url).href
  const argv = [...process.execArgv, '--input-type=module', '-e', searcher, module, tokenFile, tokensFile]
  const found = execFileSync(process.execPath, argv, { encoding: 'utf8' })
  assert.deepEqual(JSON.parse(found), [false, false, true, 'function'])
})
