import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ask, askPeer, httpApp, startPeer, until, visitor } from './helpers.ts'
import type { Usage } from './fixtures/peer.ts'

const CONNECTIONS = 10_000
const AT_ONCE = 100

test('after 10,000 connections heap, handles and channels of server and client are back where they began', async (t) => {
  const app = await httpApp(t, (_, response) => response.end('ok'))
  const [server, port] = await startPeer<number>(t, 'server')
  const [client, url] = await startPeer<string>(t, 'client', port, app.port)
  const way = { port, host: new URL(url).host }
  const wave = async (kinds: number) => {
    await Promise.all(Array.from({ length: AT_ONCE }, (_, n) => visit(n % kinds)))
  }
  /** Visitors of four kinds: in order, gone after the answer, gone before it, gone in mid request. */
  const visit = async (kind: number): Promise<void> => {
    const one = visitor(t, way)
    if (kind === 0) one.send(`GET / HTTP/1.1\r\nHost: ${way.host}\r\nConnection: close\r\n\r\n`)
    else if (kind === 3) one.send(`POST / HTTP/1.1\r\nHost: ${way.host}\r\nContent-Length: 9\r\n\r\nhalf`)
    else one.send(`GET / HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`)
    if (kind === 0) assert.equal(await one.ended(), 'end')
    if (kind < 2) await one.got(/ok/)
    else await new Promise((resolve) => one.socket.write('', resolve))
    one.socket[kind % 2 === 0 ? 'destroy' : 'resetAndDestroy']()
  }
  const usage = () => Promise.all([askPeer<Usage>(server, 'usage'), askPeer<Usage>(client, 'usage')])
  const isQuiet = async () => {
    const [atServer, atClient] = await usage()
    return atServer.channels + atClient.channels === 0
  }
  for (let n = 0; n < 10; n++) await wave(4)
  await eventually(isQuiet, 'no channels before')
  const before = await usage()
  for (let n = 0; n < CONNECTIONS / AT_ONCE; n++) await wave(4)
  assert.equal((await ask(way, { headers: { connection: 'close' } })).body, 'ok')
  await eventually(isQuiet, 'no channels after')
  const after = await usage()
  for (const [n, name] of ['server', 'client'].entries()) {
    const [was, is] = [before[n], after[n]]
    assert.ok(was && is)
    const grown = Math.round((is.heapUsed + is.external - was.heapUsed - was.external) / 1024)
    t.diagnostic(
      `${name}: heap ${grown} KiB, handles ${was.handles} -> ${is.handles}, channels ${is.channels}`,
    )
    assert.ok(grown < 2_048, `${name}: the heap has grown by ${grown} KiB`)
    assert.equal(is.handles, was.handles, `${name}: handles`)
    assert.equal(is.channels, 0)
    assert.equal(is.sessions, 1)
  }
})

async function eventually(isTrue: () => Promise<boolean>, what: string): Promise<void> {
  let answer = false
  let asking = false
  await until(() => {
    if (!asking && !answer) {
      asking = true
      void isTrue().then((is) => ([answer, asking] = [is, false]))
    }
    return answer
  }, what)
}
