import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { connect } from '../groktunnel.ts'
import { ask, httpApp, startServer, until, visitor, within } from './helpers.ts'
import { freePort, startBodyApp, startClientOf, startServerAt } from './programs.ts'

const FEW = 32
/** What everybody has to notice in. */
const NOTICED_MS = 10_000

describe('a peer that is frozen', { concurrency: true }, () => {
  test('the server ends the session of a frozen client within 10 s, and a visitor then waits for it', async (t) => {
    const app = await httpApp(t, (_, response) => response.end('hello'))
    const port = await freePort()
    const server = await startServerAt(t, port)
    const client = await startClientOf(t, port, { argv: [app.port] })
    client.kill('SIGSTOP')
    const before = visitor(t, { port }).send(`GET / HTTP/1.1\r\nHost: ${client.host}\r\n\r\n`)
    await server.said(/end session \(nothing was heard from the peer for \d/, 1, NOTICED_MS)
    await before.got('HTTP/1.1 503 ')
    const after = visitor(t, { port }).send(`GET / HTTP/1.1\r\nHost: ${client.host}\r\n\r\n`)
    client.kill('SIGCONT')
    await after.got('hello')
    await client.said(/is lost \([^\n]*\n[^\n]* is back after/)
    assert.equal(client.stdout, `${client.url}\n`)
  })

  test('a client notices a frozen server within 10 s, and is back with the same URL', async (t) => {
    const app = await httpApp(t, (_, response) => response.end('hello'))
    const port = await freePort()
    const server = await startServerAt(t, port)
    const client = await startClientOf(t, port, { argv: [app.port] })
    server.kill('SIGSTOP')
    await client.said(/is lost \(nothing was heard from the peer for \d/, 1, NOTICED_MS)
    server.kill('SIGCONT')
    await client.said(/is back after/)
    assert.equal((await ask({ port, host: client.host })).body, 'hello')
    assert.equal(client.stdout, `${client.url}\n`)
    assert.equal(client.stderr.match(/is lost/g)?.length, 1)
  })
})

test('a frozen local service is not a dead peer: its visitors wait, and are answered', async (t) => {
  const heartbeatMs = 100
  const app = await startBodyApp(t)
  const server = await startServer(t, { heartbeatMs })
  const tunnel = await connect({ port: server.port, local: app.port, heartbeatMs })
  t.after(() => tunnel.close())
  const told: unknown[] = []
  tunnel.on('lost', (error) => told.push(error))
  let beats = 0
  server.on('latency', () => (beats += 1))
  app.kill('SIGSTOP')
  const few = Array.from({ length: FEW }, () =>
    ask({ port: server.port, host: new URL(tunnel.url).host }, { path: '/5/seed/length/0' }),
  )
  await until(() => beats > 20, 'twenty beats')
  assert.deepEqual(told, [])
  app.kill('SIGCONT')
  for (const { status, body } of await within(Promise.all(few), 'the answers'))
    assert.deepEqual([status, body.length], [200, 5])
})
