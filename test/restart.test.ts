import assert from 'node:assert/strict'
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { ask, httpApp, tcpApp, tunnelTo, until, visitor, within } from './helpers.ts'
import { folder, freePort, startBodyApp, startClientOf, startServerAt, refusalOf } from './programs.ts'
import { download, type Transfer, upload } from './transfers.ts'

const MiB = 1024 * 1024
const TRANSFERS = 50
/** More than is passed on in a moment, so that all are in the middle at once. */
const BODY = { bytes: 4 * MiB, pauseMs: 20 }

test('a server killed in the middle of 50 transfers: each is seen to break, and the same URLs come back', async (t) => {
  const [port, state] = [await freePort(), folder(t)]
  const app = await startBodyApp(t)
  const first = await startServerAt(t, port, { state })
  const clients = [
    await startClientOf(t, port, { argv: [app.port] }),
    await startClientOf(t, port, { argv: ['-s', 'myapp', app.port] }),
  ]
  const transfers = Array.from({ length: TRANSFERS }, (_, n): Transfer => {
    const transfer = n % 2 === 0 ? download : upload
    const framing = n % 4 < 2 ? 'length' : 'chunked'
    const host = clients[n % 3 === 0 ? 1 : 0]?.host ?? ''
    return transfer({ port, host }, { ...BODY, seed: `seed${n}`, framing })
  })
  await until(() => transfers.every(({ passed }) => passed > 64 * 1024), 'all to be in the middle')
  first.kill('SIGKILL')
  const outcomes = await within(Promise.all(transfers.map(({ outcome }) => outcome)), 'their ends')
  for (const outcome of outcomes) assert.match(outcome, /^broken: (ECONNRESET|EPIPE)$/)

  await startServerAt(t, port, { state })
  for (const client of clients) {
    await client.said(/is back after/)
    assert.equal(client.stdout, `${client.url}\n`)
    for (const transfer of [download, upload]) {
      const again = transfer(
        { port, host: client.host },
        { bytes: MiB, seed: 'again', framing: 'chunked', pauseMs: 0 },
      )
      assert.equal(await within(again.outcome, 'a transfer'), 'right')
    }
  }
  assert.equal(app.stderr, '')
})

test('a killed server knows the owners of its names when it is back, and visitors wait for them', async (t) => {
  const [port, state] = [await freePort(), folder(t)]
  const app = await httpApp(t, (_, response) => response.end('hello'))
  const first = await startServerAt(t, port, { state })
  const argv = ['-s', 'myapp', app.port]
  const owner = await startClientOf(t, port, { argv, env: { GROKTUNNEL_KEY: 'key-of-the-owner' } })
  const file = join(state, 'groktunnel', `names-127.0.0.1-${port}.json`)
  await until(() => textOf(file).includes('"myapp"'), 'the names on disk')
  assert.doesNotMatch(textOf(file), /key-of-the-owner/)
  assert.equal(statSync(file).mode & 0o777, 0o600)

  // So that the stranger comes before the owner does.
  owner.kill('SIGSTOP')
  first.kill('SIGKILL')
  await first.ended()
  await startServerAt(t, port, { state })
  assert.match(await refusalOf(startClientOf(t, port, { argv })), /got 5: groktunnel: [^\n]* myapp is taken/)
  const waiting = visitor(t, { port }).send(`GET / HTTP/1.1\r\nHost: ${owner.host}\r\n\r\n`)
  owner.kill('SIGCONT')
  await owner.said(/is back after/)
  await waiting.got('hello')
  assert.equal(owner.stdout, `${owner.url}\n`)
})

test('names that were said goodbye to are free after a restart', async (t) => {
  const [port, state] = [await freePort(), folder(t)]
  const first = await startServerAt(t, port, { state })
  const client = await startClientOf(t, port, { argv: ['-s', 'myapp', 1] })
  assert.equal(await client.kill('SIGINT').ended(), 0)
  assert.equal(await first.kill('SIGTERM').ended(), 0)
  await startServerAt(t, port, { state })
  assert.equal((await ask({ port, host: client.host })).status, 404)
  await startClientOf(t, port, { argv: ['-s', 'myapp', 1] })
})

test('a local service that resets right after its last bytes is a reset at the visitor, never a whole answer', async (t) => {
  const app = await tcpApp(t, (socket) => {
    socket.once('data', () =>
      socket.write('HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf', () => socket.resetAndDestroy()),
    )
  })
  const { port, host } = await tunnelTo(t, app.port)
  for (let n = 0; n < 20; n++) {
    const cut = download({ port, host }, { bytes: 100, seed: 'cut', framing: 'close', pauseMs: 0 })
    assert.match(await within(cut.outcome, 'an end'), /^broken: ECONNRESET|502 bad-answer$/)
  }
})

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}
