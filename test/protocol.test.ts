/** The protocol's page tells the truth: its client is examples/client.go, and that one works. */
import assert from 'node:assert/strict'
import { execFile, spawn, spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import http from 'node:http'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import test from 'node:test'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { serve } from '../groktunnel.ts'
import type { Server } from '../groktunnel.ts'
import { listening, MIB, visit, within } from './attacker.ts'

const SIZE = 32 * MIB

/** The checkout, seen from the sources or from the build. */
async function file(path: string): Promise<string> {
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    const here = join(folder, path)
    const found = await readFile(here).then(
      () => true,
      () => false,
    )
    if (found || folder === dirname(folder)) return here
  }
}

test('the client that docs/protocol.md shows is examples/client.go, letter by letter', async () => {
  const page = await readFile(await file('docs/protocol.md'), 'utf8')
  const shown = /```go\n(.*?)```/s.exec(page)?.[1]
  assert.equal(shown, await readFile(await file('examples/client.go'), 'utf8'))
})

interface Answer {
  status: number | undefined
  headers: http.IncomingHttpHeaders
  body: Buffer
}

/** A visitor of `app.localhost`. */
async function fetchPage(port: number, path: string, body?: Buffer): Promise<Answer> {
  const headers = { Host: `app.localhost:${port}` }
  const method = body === undefined ? 'GET' : 'POST'
  const request = http.request({ host: '127.0.0.1', port, path, method, headers, agent: false }).end(body)
  const [response] = (await once(request, 'response')) as [http.IncomingMessage]
  const pieces: Buffer[] = []
  for await (const bytes of response) pieces.push(bytes as Buffer)
  return { status: response.statusCode, headers: response.headers, body: Buffer.concat(pieces) }
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** A site that says hello, gives `download` and the SHA-256 of what it is sent; `cut` is when a visitor has left. */
function site(download: Buffer): http.Server {
  return http.createServer((request, response) => {
    if (request.url === '/download') return response.end(download)
    if (request.url === '/forever') return response.write('for ever')
    const hash = createHash('sha256')
    request.on('data', (bytes: Buffer) => hash.update(bytes))
    request.on('end', () =>
      response.end(request.method === 'POST' ? hash.digest('hex') : `hello ${request.url}`),
    )
  })
}

/** Builds examples/client.go and runs it until the test ends; undefined where that cannot be. */
async function goClient(t: TestContext, server: Server, local: number): Promise<string | undefined> {
  if (spawnSync('go', ['version']).status !== 0) {
    t.skip('go is not installed')
    return undefined
  }
  const folder = await mkdtemp(join(tmpdir(), 'groktunnel-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  const program = join(folder, 'client')
  const cwd = dirname(await file('examples/client.go'))
  const build = promisify(execFile)('go', ['build', '-o', program, '.'], { cwd, timeout: 45_000 })
  const problem = await build.then(
    () => undefined,
    (error: Error & { stderr?: string }) => error.stderr ?? error.message,
  )
  if (problem !== undefined && /dial tcp|lookup|timeout|proxy/i.test(problem)) {
    t.skip(`go cannot download the yamux module: ${problem.slice(0, 200)}`)
    return undefined
  }
  assert.equal(problem, undefined)
  const client = spawn(program, [`http://localhost:${server.port}`, 'app', `127.0.0.1:${local}`])
  const exit = once(client, 'exit')
  t.after(async () => {
    client.kill()
    await exit
  })
  let complaints = ''
  client.stderr.on('data', (bytes: Buffer) => (complaints += bytes.toString()))
  const line = await within(
    Promise.race([once(createInterface(client.stdout), 'line'), exit.then(() => [complaints])]),
    'the public URL',
  )
  return String(line[0])
}

test('a client in Go, with another yamux, serves pages through our server', async (t) => {
  const server = await serve({ port: 0 })
  t.after(() => server.close())
  const download = randomBytes(SIZE)
  const local = site(download)
  const url = await goClient(t, server, await listening(t, local))
  if (url === undefined) return
  const { port } = server

  await t.test('it prints the public URL', () => assert.equal(url, `http://app.localhost:${port}`))

  await t.test('a small page', async () => {
    const { status, body } = await fetchPage(port, '/page')
    assert.deepEqual([status, String(body)], [200, 'hello /page'])
  })

  await t.test('32 MiB down', async () => {
    assert.equal(sha256((await fetchPage(port, '/download')).body), sha256(download))
  })

  await t.test('32 MiB up', async () => {
    const upload = randomBytes(SIZE)
    assert.equal(String((await fetchPage(port, '/upload', upload)).body), sha256(upload))
  })

  await t.test('100 visitors at once', async () => {
    const paths = Array.from({ length: 100 }, (_, n) => `/${n}`)
    const pages = await within(Promise.all(paths.map((path) => fetchPage(port, path))), '100 pages')
    assert.deepEqual(
      pages.map(({ body }) => String(body)),
      paths.map((path) => `hello ${path}`),
    )
  })

  await t.test('a visitor who leaves is told to the local service', async (t) => {
    const asked = once(local, 'request') as Promise<[http.IncomingMessage, http.ServerResponse]>
    const visitor = visit(t, port, `GET /forever HTTP/1.1\r\nHost: app.localhost:${port}\r\n\r\n`)
    const [, response] = await within(asked, 'a request')
    const left = once(response, 'close')
    await once(visitor, 'data')
    visitor.resetAndDestroy()
    await within(left, 'the local service to hear of it')
  })

  await t.test('no local service is a 502 that the client itself answers', async () => {
    local.closeAllConnections()
    local.close()
    assert.equal((await fetchPage(port, '/gone')).status, 502)
  })

  await t.test('the name is taken while it runs', async (t) => {
    assert.match((await goClient(t, server, 1)) ?? '', /409 Conflict: \{"code":"name-taken"/)
  })
})
