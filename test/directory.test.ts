import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { answerOf, deliverTo, type DeliveredWay, tempFolder } from './delivering.ts'
import { ask, bodyOf, hashOf, hashOfBody, until, visitor } from './helpers.ts'

interface Site extends DeliveredWay {
  folder: string
}

async function site(t: TestContext, files: Record<string, string | Buffer>): Promise<Site> {
  const folder = join(tempFolder(t), 'site')
  mkdirSync(folder)
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(folder, path, '..'), { recursive: true })
    writeFileSync(join(folder, path), text)
  }
  return { folder, ...(await deliverTo(t, folder)) }
}

test('a folder is served: its index, its files with their types, and those of today', async (t) => {
  const way = await site(t, {
    'index.html': '<h1>Hi</h1>',
    'style.css': 'a{}',
    'sub/index.html': 'sub',
    'two words.txt': 'spaced',
    'page.html': 'page',
  })
  const index = await ask(way)
  assert.deepEqual([index.status, index.body], [200, '<h1>Hi</h1>'])
  assert.equal(index.headers['content-type'], 'text/html;charset=utf-8')
  assert.equal((await ask(way, { path: '/style.css?v=1' })).headers['content-type'], 'text/css;charset=utf-8')
  assert.equal((await ask(way, { path: '/two%20words.txt' })).body, 'spaced')
  assert.equal((await ask(way, { path: '/page' })).body, 'page')
  assert.equal((await ask(way, { path: '/sub/' })).body, 'sub')
  writeFileSync(join(way.folder, 'style.css'), 'changed{}')
  writeFileSync(join(way.folder, 'new.txt'), 'new')
  assert.equal((await ask(way, { path: '/style.css' })).body, 'changed{}')
  assert.equal((await ask(way, { path: '/new.txt' })).body, 'new')
})

test('a path without its last slash is redirected into the folder, and never out of the site', async (t) => {
  const way = await site(t, { 'sub/index.html': 'sub', 'a b/index.html': '', 'evil.test/index.html': '' })
  const redirects = [
    ['/sub', './sub/'],
    ['/sub?a=b', './sub/?a=b'],
    ['/a%20b', './a%20b/'],
    ['//evil.test', './evil.test/'],
  ]
  for (const [path = '', location] of redirects) {
    const got = await ask(way, { path })
    assert.deepEqual([got.status, got.headers.location], [301, location])
  }
})

test('what is not there is 404; what is above the folder or begins with a dot is not there', async (t) => {
  const way = await site(t, {
    '.env': 'secret',
    '.git/config': 'secret',
    '.well-known/x': 'known',
    'a/.b': 'secret',
    'a/c': 'no name has a slash in it',
  })
  writeFileSync(join(way.folder, '../outside'), 'secret')
  mkdirSync(join(way.folder, '../site2'))
  writeFileSync(join(way.folder, '../site2/file'), 'secret')
  const paths = [
    '/none',
    '/.env',
    '/%2eenv',
    '/.git/config',
    '/.git',
    '/a/.b',
    '/../outside',
    '/%2e%2e/outside',
  ]
  paths.push(
    '/..%2foutside',
    '/a%2F..%2f../outside',
    '/a%2Fc',
    '/a%2fc',
    '/..\\outside',
    '/../site2/file',
    '/%00',
    '/%',
    '/%zz',
    '//',
    '/a/',
    '/.well-known2',
  )
  for (const path of paths) {
    const got = await ask(way, { path })
    assert.deepEqual([got.status, got.body], [404, '404 Not Found\n'], path)
  }
  assert.equal((await ask(way, { path: '/.well-known/x' })).body, 'known')
  const page = await ask(way, { path: '/none', headers: { accept: 'text/html' } })
  assert.match(page.body, /<!doctype html>[^]*404 Not Found/)
})

test('a name is found whatever is in it', async (t) => {
  const names = ['a?b#c', 'a&b+c,d@e;f=g$h', '100%', '%41', 'ä ö.txt', 'a:b', '[x]|{y}']
  const way = await site(t, Object.fromEntries(names.map((name) => [name, name])))
  for (const name of names) {
    const { status, body } = await ask(way, { path: `/${encodeURIComponent(name)}?query` })
    assert.deepEqual([status, Buffer.from(body, 'latin1').toString()], [200, name])
  }
  assert.equal((await ask(way, { path: '/a&b+c,d@e;f=g$h' })).status, 200)
  assert.equal((await ask(way, { path: '/%2541' })).status, 200)
  assert.equal((await ask(way, { path: '/A' })).status, 404)
})

test('text is UTF-8; what has no known type is told none, unless asked for', async (t) => {
  const way = await site(t, { 'a.txt': 'ä', LICENSE: 'x', 'a.json': '{}' })
  const types = [
    ['/a.txt', 'text/plain;charset=utf-8'],
    ['/LICENSE', undefined],
    ['/a.json', 'application/json'],
  ]
  for (const [path, type] of types) assert.equal((await ask(way, { path })).headers['content-type'], type)
  const other = await deliverTo(t, way.folder, { responseHeader: ['Content-Type: text/x'] })
  for (const [path] of types) assert.equal((await ask(other, { path })).headers['content-type'], 'text/x')
})

// Looks like a file of 4 KiB, and cannot be read by anyone, not even by root.
const unreadable = '/sys/bus/platform/drivers_probe'
const skip = existsSync(unreadable) ? false : `needs ${unreadable}`

test('symbolic links are followed, but not out of the folder', async (t) => {
  const way = await site(t, { 'real.txt': 'real', 'sub/file': 'inner' })
  writeFileSync(join(way.folder, '../outside'), 'secret')
  mkdirSync(join(way.folder, '../site2'))
  writeFileSync(join(way.folder, '../site2/file'), 'secret')
  const links = { link: 'real.txt', inner: 'sub', out: '../outside', all: '..', next: '../site2' }
  for (const [name, to] of Object.entries(links)) symlinkSync(to, join(way.folder, name))
  assert.equal((await ask(way, { path: '/link' })).body, 'real')
  assert.equal((await ask(way, { path: '/inner/file' })).body, 'inner')
  for (const path of ['/out', '/all/outside', '/next/file']) {
    for (const method of ['GET', 'HEAD']) {
      const { status, headers, body } = await ask(way, { path, method })
      assert.deepEqual([status, headers['x-groktunnel-error']], [403, 'forbidden'], path)
      assert.doesNotMatch(body, /secret/)
    }
  }
  if (skip === false) symlinkSync(unreadable, join(way.folder, 'odd'))
  assert.equal((await ask(way, { path: '/odd' })).status, skip === false ? 403 : 404)
  symlinkSync(way.folder, join(way.folder, '../by-link'))
  const byLink = await deliverTo(t, join(way.folder, '../by-link'))
  assert.equal((await ask(byLink, { path: '/link' })).body, 'real')
})

test('only GET and HEAD are allowed', async (t) => {
  const way = await site(t, { 'a.txt': 'text' })
  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
    const got = await ask(way, { path: '/a.txt', method })
    assert.deepEqual([got.status, got.headers.allow], [405, 'GET, HEAD'])
  }
  const head = await ask(way, { path: '/a.txt', method: 'HEAD' })
  assert.deepEqual([head.status, head.headers['content-length'], head.body], [200, '4', ''])
})

test('an ETag that is known is answered 304', async (t) => {
  const way = await site(t, { 'a.txt': 'text' })
  const { etag = '' } = (await ask(way, { path: '/a.txt' })).headers
  assert.equal((await ask(way, { path: '/a.txt', headers: { 'if-none-match': etag } })).status, 304)
  appendFileSync(join(way.folder, 'a.txt'), '!')
  assert.equal((await ask(way, { path: '/a.txt', headers: { 'if-none-match': etag } })).status, 200)
})

const ranges: [range: string, status: number, body: string, contentRange?: string][] = [
  ['bytes=0-3', 206, '0123', 'bytes 0-3/10'],
  ['bytes=4-', 206, '456789', 'bytes 4-9/10'],
  ['bytes=-3', 206, '789', 'bytes 7-9/10'],
  ['bytes=-30', 206, '0123456789', 'bytes 0-9/10'],
  ['bytes=9-9', 206, '9', 'bytes 9-9/10'],
  ['bytes=5-500', 206, '56789', 'bytes 5-9/10'],
  ['bytes=10-', 416, '', 'bytes */10'],
  ['bytes=-0', 416, '', 'bytes */10'],
  ['bytes=99999999999999999999-', 416, '', 'bytes */10'],
  ['bytes=5-4', 200, '0123456789'],
  ['bytes=0-0', 200, '0123456789'],
  ['bytes=0-1,5-6', 200, '0123456789'],
  ['bytes=-', 200, '0123456789'],
  ['lines=1-2', 200, '0123456789'],
  ['bytes=a-b', 200, '0123456789'],
]

test('ranges are served as asked for, or ignored', async (t) => {
  const way = await site(t, { 'a.txt': '0123456789', 'one.txt': '1', 'empty.txt': '' })
  for (const [range, status, body, contentRange] of ranges) {
    const got = await ask(way, { path: '/a.txt', headers: { range } })
    assert.deepEqual(
      [got.status, got.body, got.headers['content-range']],
      [status, body, contentRange],
      range,
    )
  }
  const one = await ask(way, { path: '/one.txt', headers: { range: 'bytes=0-0' } })
  assert.deepEqual([one.status, one.body], [206, '1'])
  assert.equal((await ask(way, { path: '/empty.txt', headers: { range: 'bytes=0-' } })).status, 416)
  assert.deepEqual((await ask(way, { path: '/empty.txt' })).body, '')
})

test('If-Range serves the range of the file that is meant, else the whole', async (t) => {
  const way = await site(t, { 'a.txt': '0123456789' })
  const modified = statSync(join(way.folder, 'a.txt')).mtime.toUTCString()
  for (const [condition, status] of [
    [modified, 206],
    ['Thu, 01 Jan 1970 00:00:00 GMT', 200],
    ['"etag"', 200],
  ] as const) {
    const headers = { range: 'bytes=0-1', 'if-range': condition }
    assert.equal((await ask(way, { path: '/a.txt', headers })).status, status)
  }
})

const MiB = 1024 * 1024

test('a file of 64 MiB comes whole, and a visitor who leaves leaves no file open', async (t) => {
  const way = await site(t, { large: Buffer.concat([...bodyOf(64 * MiB, 'file')]) })
  const sum = await hashOf(await answerOf(way, { path: '/large' }))
  assert.deepEqual(sum, { hash: hashOfBody(64 * MiB, 'file'), bytes: 64 * MiB })
  const one = visitor(t, way).send(`GET /large HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`)
  await one.got('200 OK')
  one.socket.resetAndDestroy()
  await until(() => openFiles(way.folder) === 0, 'the file to be closed')
})

/** How many descriptors of this process lead into a folder; 0 where that cannot be told. */
function openFiles(folder: string): number {
  const { stdout } = spawnSync('ls', ['-l', `/proc/${process.pid}/fd`], { encoding: 'utf8' })
  return stdout.split(folder).length - 1
}

test('a file that grows while it is sent is sent as it was; one that shrinks is cut, not short', async (t) => {
  const way = await site(t, { grows: Buffer.alloc(32 * MiB), shrinks: Buffer.alloc(32 * MiB) })
  const growing = visitor(t, way).send(`GET /grows HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`)
  await growing.got('200 OK')
  growing.socket.pause()
  appendFileSync(join(way.folder, 'grows'), Buffer.alloc(MiB))
  growing.socket.resume()
  growing.send(`GET /none HTTP/1.1\r\nHost: ${way.host}\r\nConnection: close\r\n\r\n`)
  assert.equal(await growing.ended(), 'end')
  assert.match(growing.text.slice(32 * MiB), /HTTP\/1\.1 404 /)
  const shrinking = visitor(t, way).send(`GET /shrinks HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`)
  await shrinking.got('200 OK')
  shrinking.socket.pause()
  truncateSync(join(way.folder, 'shrinks'), 1)
  shrinking.socket.resume()
  assert.equal(await shrinking.ended(), 'ECONNRESET')
})

test('what is no file is 403, and the site goes on', async (t) => {
  const way = await site(t, { 'a.txt': 'text' })
  assert.equal(spawnSync('mkfifo', [join(way.folder, 'pipe')]).status, 0)
  assert.equal((await ask(way, { path: '/pipe' })).status, 403)
  assert.equal((await ask(way, { path: '/a.txt' })).body, 'text')
})

test('what cannot be read is 403, and the site goes on', { skip }, async (t) => {
  const way = await deliverTo(t, dirname(unreadable))
  const got = await ask(way, { path: `/${basename(unreadable)}` })
  assert.deepEqual([got.status, got.headers['x-groktunnel-error']], [403, 'forbidden'])
  assert.match(got.body, /cannot be read/)
  assert.equal((await ask(way, { path: '/none' })).status, 404)
})

test('a folder that is none is refused at the start', async (t) => {
  const way = await site(t, { file: '' })
  for (const path of [join(way.folder, 'none'), join(way.folder, 'file') + '/'])
    await assert.rejects(deliverTo(t, path), /expected a folder at .*, got none; check the path/)
})
