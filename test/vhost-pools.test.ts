import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import net from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { test, type TestContext } from 'node:test'
import { listening, until, within } from './helpers.ts'
import { get, post, twoTunnels } from './two-tunnels.ts'

const count = Number(process.env['POOL_REQUESTS'] ?? 20_000)
const visitors = 24

/** A pooling proxy: its connections to the server are shared by all its visitors. */
interface Pool {
  command: string
  argv(file: string): string[]
  config(port: number, upstream: number, folder: string): string
}

const haproxy: Pool = {
  command: 'haproxy',
  argv: (file) => ['-db', '-f', file],
  config: (port, upstream) => `
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
listen pool
  bind 127.0.0.1:${port}
  http-reuse always
  server one 127.0.0.1:${upstream}
`,
}

const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']

const nginx: Pool = {
  command: 'nginx',
  argv: (file) => ['-c', file, '-e', 'stderr'],
  config: (port, upstream, folder) => `
daemon off;
master_process off;
pid ${folder}/pid;
error_log stderr crit;
events { worker_connections 512; }
http {
  access_log off;
  keepalive_requests 1000000;
  ${temporary.map((name) => `${name}_temp_path ${folder}/${name};`).join(' ')}
  upstream pool { server 127.0.0.1:${upstream}; keepalive 16; keepalive_requests 1000000; }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://pool;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
    }
  }
}
`,
}

for (const pool of [haproxy, nginx]) {
  const program = programOf(pool.command)
  const skip =
    program === undefined ? `${pool.command} is not installed (apt install ${pool.command})` : false
  const title = `of ${count} requests through ${pool.command}, which shares its connections, none goes wrong`
  test(title, { skip }, async (t) => {
    const { server, one, two } = await twoTunnels(t)
    const port = await startPool(t, pool, program ?? '', server.port)
    const began = performance.now()
    let next = 0
    const visit = async () => {
      const ask = connection(t, port)
      for (let n = next++; n < count; n = next++) {
        const app = Math.random() < 0.5 ? one : two
        const isPost = n % 3 === 0
        const answer = await ask(isPost ? post(app, `/${n}`, `body ${n}`) : get(app, `/${n}`))
        assert.equal(answer, isPost ? `<${app.name} POST /${n}>body ${n}` : `<${app.name} GET /${n}>`)
      }
    }
    await Promise.all(Array.from({ length: visitors }, visit))
    const switches = one.connections + two.connections
    t.diagnostic(
      `${count} requests in ${((performance.now() - began) / 1000).toFixed(1)} s, ${switches} visits, 0 wrong`,
    )
    assert.ok(switches > count / 20, `${switches} visits: the connections were not shared`)
    assert.equal(one.asked.length + two.asked.length, count)
  })
}

function programOf(command: string): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(':'), '/usr/sbin', '/usr/local/sbin']
  return folders.map((folder) => path.join(folder, command)).find((file) => existsSync(file))
}

/** Runs it on a free port; ends it, and removes its folder, with the test. */
async function startPool(t: TestContext, pool: Pool, program: string, upstream: number): Promise<number> {
  const folder = await mkdtemp(path.join(tmpdir(), 'groktunnel-'))
  t.after(() => rm(folder, { recursive: true }))
  const port = await freePort()
  const file = path.join(folder, 'config')
  await writeFile(file, pool.config(port, upstream, folder))
  const child: ChildProcess = spawn(program, pool.argv(file), { stdio: ['ignore', 'pipe', 'pipe'] })
  t.after(() => child.kill('SIGKILL'))
  let said = ''
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (bytes: Buffer) => (said += bytes.toString()))
  let isUp = false
  const knock = () => {
    const socket = net
      .connect(port, '127.0.0.1', () => (isUp = true))
      .on('error', () => setTimeout(knock, 20))
    socket.on('connect', () => socket.destroy())
  }
  knock()
  await until(() => isUp || child.exitCode !== null, `${pool.command} to listen`)
  assert.ok(isUp, said)
  return port
}

async function freePort(): Promise<number> {
  const server = net.createServer()
  const port = await listening(server, 0)
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** A keep-alive connection: asks one request after the other, resolves with the body of each answer. */
function connection(t: TestContext, port: number): (request: string) => Promise<string> {
  const socket = net.connect({ port, host: '127.0.0.1', noDelay: true })
  t.after(() => socket.destroy())
  let text = ''
  let finish: (body: string) => void = () => undefined
  let fail: (error: Error) => void = () => undefined
  socket.setEncoding('latin1').on('data', (part: string) => {
    text += part
    const [head = '', length = ''] = /^[^]*?\r\ncontent-length: (\d+)(?=\r\n)[^]*?\r\n\r\n/i.exec(text) ?? []
    if (head === '' || text.length < head.length + Number(length)) return
    const body = text.slice(head.length)
    text = ''
    finish(body)
  })
  socket.on('error', (error) => fail(error))
  socket.on('close', () => fail(new Error(`closed after ${JSON.stringify(text)}`)))
  return (request) => {
    const answer = new Promise<string>((resolve, reject) => ([finish, fail] = [resolve, reject]))
    socket.write(request)
    return within(answer, `an answer to ${request}`)
  }
}
