import assert from 'node:assert/strict'
import { execFile, execFileSync, spawn } from 'node:child_process'
import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { promisify } from 'node:util'
import { loadKey } from '../lib/key.ts'
import { stateFolderOf } from '../lib/state-folder.ts'

const drawn = /^[\w-]{43}$/
const server = 'lvh.me'

/** What a server is shown of the key in the file. */
function keyFor(host: string, secret: string): string {
  return createHmac('sha256', secret).update(host).digest('base64url')
}

function folderFor(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'groktunnel-'))
  t.after(() => rmSync(folder, { recursive: true }))
  return folder
}

/** A state folder with this for a key file. */
function stateWith(t: TestContext, content: string | Buffer, mode = 0o600): string {
  const folder = folderFor(t)
  writeFileSync(join(folder, 'key'), content)
  chmodSync(join(folder, 'key'), mode)
  return folder
}

function modeOf(path: string): string {
  return (statSync(path).mode & 0o777).toString(8)
}

test('a given key is taken as it is, and no file is looked at', async (t) => {
  const folder = folderFor(t)
  for (const key of ['s3cret', '0123456789abcdef', 'p"w\\!~0123456789', 'x'.repeat(256)])
    assert.deepEqual(await loadKey({ key, stateFolder: folder, server }), { key })
  assert.deepEqual(readdirSync(folder), [])
})

test('a given key that is short, endless or unfit for a header is refused, and not shown', async () => {
  const bad: [key: string, got: string][] = [
    ['', '0 characters'],
    ['s3cr5', '5 characters'],
    ['s3cret'.repeat(50), '300 characters'],
    ['s3cret with spaces', 'others'],
    ['s3cret-with-end\r\nX: y', 'others'],
    ['s3crét-s3crét-s3crét', 'others'],
  ]
  for (const [key, got] of bad) {
    await assert.rejects(loadKey({ key, server }), (error: Error & { code: string }) => {
      assert.equal(error.code, 'usage')
      assert.match(
        error.message,
        new RegExp(`expected GROKTUNNEL_KEY .* 6 to 256 .* got ${got}; make one with`),
      )
      assert.doesNotMatch(error.message, /s3cr/)
      return true
    })
  }
})

test('the first use makes a key that only the user can read, and later uses find it', async (t) => {
  const folder = join(folderFor(t), 'state', 'groktunnel')
  const { key, warning } = await loadKey({ stateFolder: folder, server })
  assert.equal(warning, undefined)
  assert.deepEqual(readdirSync(folder), ['key'])
  assert.deepEqual([modeOf(folder), modeOf(join(folder, 'key'))], ['700', '600'])
  const [secret, ...rest] = readFileSync(join(folder, 'key'), 'latin1').split('\n')
  assert.match(secret ?? '', drawn)
  assert.deepEqual(rest, [''])
  assert.equal(key, keyFor(server, secret ?? ''))
  assert.deepEqual(await loadKey({ stateFolder: folder, server }), { key })
})

test('each server gets a key of its own from the one in the file', async (t) => {
  const folder = stateWith(t, 'my-very-own-key-0123\n')
  const hosts = ['lvh.me', 'localhost', 'tunnel.example.com']
  const loads = hosts.map((host) => loadKey({ stateFolder: folder, server: host }))
  const keys = (await Promise.all(loads)).map(({ key }) => key)
  assert.deepEqual(
    keys,
    hosts.map((host) => keyFor(host, 'my-very-own-key-0123')),
  )
  assert.equal(new Set(keys).size, hosts.length)
  for (const key of keys) assert.match(key, drawn)
})

test('a key that the user wrote is taken without the line end', async (t) => {
  for (const [content, secret] of [
    ['  my-very-own-key-0123\r\n', 'my-very-own-key-0123'],
    ['s3cret\n', 's3cret'],
  ] as const) {
    const folder = stateWith(t, content, 0o400)
    assert.deepEqual(await loadKey({ stateFolder: folder, server }), { key: keyFor(server, secret) })
  }
})

test('all who begin in one process at the same time agree on one key', async (t) => {
  for (let round = 0; round < 20; round++) {
    const folder = join(folderFor(t), 'groktunnel')
    const keys = await Promise.all(Array.from({ length: 20 }, () => loadKey({ stateFolder: folder, server })))
    assert.deepEqual(new Set(keys.map(({ warning }) => warning)), new Set([undefined]))
    assert.equal(new Set(keys.map(({ key }) => key)).size, 1)
    assert.deepEqual(readdirSync(folder), ['key'])
  }
})

const module = new URL(`../lib/key${import.meta.url.slice(-3)}`, import.meta.url).href

/** The arguments of a node that loads the key when its stdin ends, and prints what it got. */
function loader(stateFolder: string): string[] {
  const program = `
    const { loadKey } = await import(${JSON.stringify(module)})
    process.stdout.write('ready ')
    process.stdin.resume().once('end', async () => {
      console.log(JSON.stringify(await loadKey({ stateFolder: ${JSON.stringify(stateFolder)}, server: 'lvh.me' })))
    })`
  return [...process.execArgv, '--input-type=module', '-e', program]
}

test('all processes that begin at the same time agree on one key', { timeout: 30_000 }, async (t) => {
  const folder = join(folderFor(t), 'groktunnel')
  const loaders = Array.from({ length: 6 }, () =>
    spawn(process.execPath, loader(folder), { stdio: ['pipe', 'pipe', 'inherit'] }),
  )
  t.after(() => loaders.forEach((one) => one.kill()))
  await Promise.all(loaders.map(({ stdout }) => once(stdout, 'data')))
  for (const { stdin } of loaders) stdin.end()
  const told = await Promise.all(loaders.map(({ stdout }) => once(stdout, 'data')))
  assert.equal(new Set(told.map(String)).size, 1)
  assert.match(String(told[0]), /^\{"key":"[\w-]{43}"\}\n$/)
})

test('a key file that others may read is not used, and the user is told what to do', async (t) => {
  for (const mode of [0o644, 0o640, 0o604, 0o620, 0o602]) {
    const folder = stateWith(t, 'my-very-own-key-0123', mode)
    const { key, warning = '' } = await loadKey({ stateFolder: folder, server })
    assert.match(key, drawn)
    assert.ok(
      warning.startsWith(
        `expected ${folder}/key to be readable by nobody else, got mode ${mode.toString(8)};`,
      ),
      warning,
    )
    assert.match(warning, /not kept beyond this run: chmod 600 it.*, or set GROKTUNNEL_KEY$/)
    assert.doesNotMatch(warning, /my-very-own/)
    assert.equal(modeOf(join(folder, 'key')), mode.toString(8))
  }
})

test('a key file of anything but a key is left alone, and a random key serves this run', async (t) => {
  const contents = [
    '',
    '\n',
    'shrt5',
    'two words of some length',
    'a-line-of-a-key\nanother-line',
    Buffer.alloc(64),
  ]
  for (const content of [...contents, Buffer.alloc(100_000, 'x'), Buffer.from('s3crét-s3crét-s3crét')]) {
    const folder = stateWith(t, content)
    const one = await loadKey({ stateFolder: folder, server })
    const two = await loadKey({ stateFolder: folder, server })
    assert.match(one.key, drawn)
    assert.notEqual(one.key, two.key)
    assert.match(
      one.warning ?? '',
      /^expected a key in .*\/key, got (nothing|other text); .*: remove it, or set GROKTUNNEL_KEY$/,
    )
    assert.deepEqual(readFileSync(join(folder, 'key')), Buffer.from(content))
  }
})

test('where no key can be kept a random one serves this run, and the user is told why', async (t) => {
  const file = join(stateWith(t, ''), 'key')
  const taken = folderFor(t)
  mkdirSync(join(taken, 'key'))
  const cases: [folder: string | undefined, why: string][] = [
    [undefined, 'a home folder to keep the key in, got none; .*: set HOME'],
    [join(file, 'below'), 'to keep a key in .*, got ENOTDIR; .*: make that a folder'],
    [taken, 'to keep a key in .*, got EISDIR; '],
    ['/proc/groktunnel', 'to keep a key in .*, got (ENOENT|EACCES); '],
  ]
  for (const [stateFolder, why] of cases) {
    const { key, warning } = await loadKey({ stateFolder, server })
    assert.match(key, drawn)
    assert.match(warning ?? '', new RegExp(`^expected ${why}.*, or set GROKTUNNEL_KEY$`))
  }
})

/** What loads in a user namespace of its own see, where `prepare` has made a file system at $1. */
async function loadInNamespace(folder: string, prepare: string): Promise<string[]> {
  const script = `${prepare}\nfor turn in 1 2; do "$@" </dev/null; ls -A "$STATE"; done`
  const argv = [
    '--user',
    '--map-root-user',
    '--mount',
    'sh',
    '-ec',
    script,
    'sh',
    process.execPath,
    ...loader(`${folder}/state`),
  ]
  const env = { ...process.env, STATE: folder }
  return (await promisify(execFile)('unshare', argv, { env })).stdout.trim().split('\n')
}

function canUnshare(): boolean {
  try {
    execFileSync(
      'unshare',
      ['--user', '--map-root-user', '--mount', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt'],
      { stdio: 'ignore' },
    )
    return true
  } catch {
    return false
  }
}

const skip = canUnshare() ? false : 'this machine gives no user namespaces'

test('a full disk costs the key and a warning, and leaves nothing behind', { skip }, async (t) => {
  const folder = folderFor(t)
  const told = await loadInNamespace(
    folder,
    'mount -t tmpfs -o size=8k tmpfs "$STATE"; mkdir -m 700 "$STATE/state"; head -c 8192 /dev/zero > "$STATE/ballast"',
  )
  assert.equal(told.length, 6, told.join('\n'))
  for (const line of [told[0], told[3]])
    assert.match(line ?? '', /"key":"[\w-]{43}","warning":"expected to keep a key .* got ENOSPC;/)
})

test('a read-only disk costs the key and a warning', { skip }, async (t) => {
  const told = await loadInNamespace(folderFor(t), 'mount -t tmpfs -o ro tmpfs "$STATE"')
  for (const line of told)
    assert.match(line, /"key":"[\w-]{43}","warning":"expected to keep a key .* got EROFS;/)
})

test('state is kept where the XDG specification says', () => {
  assert.equal(stateFolderOf({ XDG_STATE_HOME: '/var/state', HOME: '/home/a' }), '/var/state/groktunnel')
  for (const XDG_STATE_HOME of [undefined, '', 'state', './state', '~/state'])
    assert.equal(stateFolderOf({ XDG_STATE_HOME, HOME: '/home/a' }), '/home/a/.local/state/groktunnel')
})

test('a user without a HOME has the home of the user database', () => {
  for (const HOME of [undefined, '', 'here']) {
    assert.equal(stateFolderOf({ HOME }), join(userInfo().homedir, '.local/state/groktunnel'))
  }
})
