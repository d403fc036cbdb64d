import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { test } from 'node:test'
import { connect, type TunnelError } from '../groktunnel.ts'
import {
  ask,
  bodyOf,
  httpApp,
  openTunnel,
  startPeer,
  startServer,
  tcpApp,
  tunnelTo,
  until,
  visitor,
  within,
} from './helpers.ts'

const MiB = 1024 * 1024

/** How an answer is cut, and what of it comes before. */
const cuts: [what: string, sent: string, end: (socket: Socket) => void][] = [
  ['an end in mid Content-Length', 'Content-Length: 100\r\n\r\nhalf', (socket) => socket.end()],
  ['a reset in mid Content-Length', 'Content-Length: 100\r\n\r\nhalf', (socket) => socket.resetAndDestroy()],
  ['an end in mid chunk', 'Transfer-Encoding: chunked\r\n\r\n64\r\nhalf', (socket) => socket.end()],
  ['an end between chunks', 'Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n', (socket) => socket.end()],
  ['an end in trailers', 'Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n', (socket) => socket.end()],
  [
    'a reset in mid chunk',
    'Transfer-Encoding: chunked\r\n\r\n64\r\nhalf',
    (socket) => socket.resetAndDestroy(),
  ],
  [
    'a reset of an answer without length',
    'Connection: close\r\n\r\nhalf',
    (socket) => socket.resetAndDestroy(),
  ],
]

for (const [what, sent, end] of cuts) {
  test(`${what} is a reset at the visitor, after the bytes before it`, async (t) => {
    let cut = () => {}
    const app = await tcpApp(t, (socket) => {
      socket.once('data', () => socket.write(`HTTP/1.1 200 OK\r\n${sent}`))
      cut = () => end(socket)
    })
    const way = await tunnelTo(t, app.port)
    const one = visitor(t, way).send(`GET / HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`)
    await one.got('half')
    cut()
    assert.equal(await one.ended(), 'ECONNRESET')
    await until(() => app.sockets.size === 0, 'the connection to the local service to close')
  })
}

for (const sent of ['', 'HTTP/1.1 200 OK\r\nContent-Le']) {
  test(`a local service that leaves after ${JSON.stringify(sent)} is answered for: 502`, async (t) => {
    const app = await tcpApp(t, (socket) => void socket.once('data', () => socket.end(sent)))
    const way = await tunnelTo(t, app.port)
    const one = visitor(t, way).send(`GET / HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`)
    assert.equal(await one.ended(), 'end')
    assert.match(one.text, /^HTTP\/1\.1 502 [^]*X-Groktunnel-Error: bad-answer/)
  })
}

for (const leave of ['destroy', 'resetAndDestroy'] as const) {
  test(`a visitor who leaves in mid download (${leave}) is told to the local service`, async (t) => {
    const app = await httpApp(t, (_, response) => {
      pipeline(Readable.from(bodyOf(512 * MiB, 'leave')), response).catch(() => left.push('download'))
    })
    const left: string[] = []
    const way = await tunnelTo(t, app.port)
    const one = visitor(t, way).send(`GET / HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`)
    await until(() => one.text.length > MiB, 'some of the download')
    one.socket[leave]()
    await until(() => left.length === 1, 'the local service to be told')
  })

  test(`a visitor who leaves in mid upload (${leave}) is told to the local service, not as a whole upload`, async (t) => {
    const endings: string[] = []
    const app = await httpApp(t, (request) => {
      let bytes = 0
      request.on('data', (part: Buffer) => (bytes += part.length))
      request.on('end', () => endings.push('whole'))
      request.on('error', () => endings.push(`cut after ${bytes}`))
    })
    const way = await tunnelTo(t, app.port)
    for (const framing of ['Content-Length: 100', 'Transfer-Encoding: chunked']) {
      const had = endings.length
      const arrived = once(app, 'request')
      const one = visitor(t, way).send(`POST / HTTP/1.1\r\nHost: ${way.host}\r\n${framing}\r\n\r\n`)
      await within(arrived, 'the request')
      one.socket[leave]()
      await until(() => endings.length > had, 'the local service to be told')
    }
    assert.deepEqual(endings, ['cut after 0', 'cut after 0'])
  })
}

test('a visitor who stops reading and then leaves is told to the local service', async (t) => {
  let local: Socket | undefined
  const app = await tcpApp(t, (socket) => {
    local = socket.once('data', () => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${512 * MiB}\r\n\r\n`)
      pipeline(Readable.from(bodyOf(512 * MiB, 'leave')), socket).catch(() => undefined)
    })
  })
  const way = await tunnelTo(t, app.port)
  const one = visitor(t, way).send(`GET / HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`)
  await one.got('200 OK')
  one.socket.pause()
  // The way is full when for 20 looks in a row the app could write nothing more.
  let [written, looks] = [0, 0]
  const isFull = () => {
    const now = (local?.bytesWritten ?? 0) - (local?.writableLength ?? 0)
    looks = now === written ? looks + 1 : 0
    written = now
    return looks > 20 && now > 0
  }
  await until(isFull, 'the way to be full')
  assert.ok(written < 64 * MiB)
  one.socket.destroy()
  await until(() => app.sockets.size === 0, 'the local service to be told')
})

test('visitors who leave while their channel opens leave nothing behind', async (t) => {
  const app = await tcpApp(t, (socket) => {
    socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'))
    socket.on('end', () => socket.end())
  })
  const way = await tunnelTo(t, app.port)
  for (let n = 0; n < 300; n++) {
    const one = visitor(t, way)
    await once(one.socket, 'connect')
    const leave = () => (n % 3 === 0 ? one.socket.destroy() : one.socket.resetAndDestroy())
    one.socket.write(`GET / HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`, () =>
      n % 2 === 0 ? leave() : setImmediate(leave),
    )
  }
  assert.equal((await ask(way)).body, 'ok')
  await until(() => app.sockets.size <= 1, 'the connections of those who left to close')
})

test('500 readers who leave in mid body do not hurt the tunnel', async (t) => {
  let open = 0
  const app = await httpApp(t, (request, response) => {
    if (request.url === '/small') return response.end('small')
    open += 1
    response.on('close', () => (open -= 1))
    pipeline(Readable.from(bodyOf(64 * MiB, 'leave')), response).catch(() => undefined)
  })
  const way = await tunnelTo(t, app.port)
  for (let wave = 0; wave < 5; wave++) {
    const readers = Array.from({ length: 100 }, async (_, n) => {
      const one = visitor(t, way).send(`GET / HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`)
      one.socket.removeAllListeners('data')
      await within(once(one.socket, 'data'), 'the answer')
      if (n % 2 === 0) one.socket.destroy()
      else one.socket.resetAndDestroy()
    })
    await Promise.all(readers)
  }
  assert.equal((await ask(way, { path: '/small' })).body, 'small')
  await until(() => open === 0, 'the local service to be told of all who left')
  assert.equal((await ask(way, { path: '/small' })).body, 'small')
})

test('when the client closes, the server forgets the name at once: 404, and anyone may have it', async (t) => {
  const server = await startServer(t)
  const app = await httpApp(t, (_, response) => response.end('here'))
  const events: string[] = []
  server.on('start', (host) => events.push(`start ${host}`))
  server.on('end', (host, error) => events.push(`end ${host} ${error?.message}`))
  const way = await openTunnel(t, server, app.port, 'mine')
  assert.equal((await ask(way)).body, 'here')
  await way.tunnel.close()
  await until(() => events.length === 2, 'the end of the session')
  assert.deepEqual(events, [`start ${way.host}`, `end ${way.host} undefined`])
  const gone = await ask(way)
  assert.deepEqual([gone.status, gone.headers['x-groktunnel-error']], [404, 'no-such-tunnel'])
  const again = await openTunnel(t, server, app.port, 'mine')
  assert.equal((await ask(again)).body, 'here')
})

test('once close() has settled the name is free, and visitors are told 404', async (t) => {
  const server = await startServer(t)
  for (let n = 0; n < 20; n++) {
    const way = await openTunnel(t, server, 1, 'mine')
    await way.tunnel.close()
    if (n % 2 === 0) assert.equal((await ask(way)).status, 404)
  }
})

test('a name that is taken is refused, its owner undisturbed', async (t) => {
  const server = await startServer(t)
  const app = await httpApp(t, (_, response) => response.end('first'))
  const way = await openTunnel(t, server, app.port, 'mine')
  await assert.rejects(connect({ port: server.port, local: app.port, subdomain: 'MINE' }), {
    code: 'name-taken',
  })
  await assert.rejects(connect({ port: server.port, local: app.port, subdomain: '-x' }), { code: 'bad-name' })
  assert.equal((await ask(way)).body, 'first')
})

test('when the client’s process is killed its visitors are reset, and the name is kept for its owner: 503, after the hold 404', async (t) => {
  const gapMs = 100
  const server = await startServer(t, { gapMs, holdMs: 2_000 })
  const app = await httpApp(t, (_, response) => void response.write('half'))
  const [client, url] = await startPeer<string>(t, 'client', server.port, app.port, 'mine')
  const way = { port: server.port, host: new URL(url).host }
  const one = visitor(t, way).send(`GET / HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`)
  await one.got('half')
  client.kill('SIGKILL')
  assert.equal(await one.ended(), 'ECONNRESET')
  const before = performance.now()
  const away = await ask(way)
  assert.ok(performance.now() - before >= gapMs - 1, 'a visitor waits for the client to come back')
  assert.deepEqual([away.status, away.headers['x-groktunnel-error']], [503, 'tunnel-away'])
  assert.match(away.headers['retry-after'] ?? '', /^[1-9]\d*$/)
  const another = { port: server.port, local: app.port, subdomain: 'mine' }
  await assert.rejects(connect(another), { code: 'name-taken' })
  let answer = away
  while (answer.status === 503) answer = await ask(way)
  assert.deepEqual([answer.status, answer.headers['x-groktunnel-error']], [404, 'no-such-tunnel'])
  await openTunnel(t, server, app.port, 'mine')
})

test('a visitor who still waits for an answer when the client goes is told so: 503', async (t) => {
  const server = await startServer(t)
  const app = await httpApp(t, () => undefined)
  const tunnel = await connect({ port: server.port, local: app.port, graceMs: 0 })
  const way = { port: server.port, host: new URL(tunnel.url).host }
  const asked = once(app, 'request')
  const one = visitor(t, way).send(`GET / HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`)
  await asked
  void tunnel.close()
  await one.got(/^HTTP\/1\.1 503 [^]*X-Groktunnel-Error: session-closed\r\n/)
  assert.equal(await one.ended(), 'end')
})

test('when the server closes, the client is told, and so are the local service and the visitors', async (t) => {
  const server = await startServer(t)
  let left = 0
  const app = await httpApp(t, (_, response) => {
    response.on('close', () => (left += 1))
    response.write('half')
  })
  const way = await openTunnel(t, server, app.port)
  const one = visitor(t, way).send(`GET / HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`)
  await one.got('half')
  const told: TunnelError[] = []
  way.tunnel.on('lost', (error) => told.push(error))
  await within(server.close(), 'the server to close')
  await until(() => told.length > 0, 'the client to be told')
  assert.deepEqual(
    told.map(({ code }) => code),
    ['session-closed'],
  )
  assert.equal(await one.ended(), 'ECONNRESET')
  await until(() => left === 1, 'the local service to be told')
})

// In these two the other side is silent, and whoever closes must not need the heartbeat to see it.

test('a server closes also while a client has stopped and owes much, and visitors do not read', async (t) => {
  const server = await startServer(t, { heartbeatMs: 60_000 })
  const app = await httpApp(t, (_, response) => response.end(Buffer.alloc(16 * MiB)))
  const [client, url] = await startPeer<string>(t, 'client', server.port, app.port)
  const host = new URL(url).host
  const reader = visitor(t, server).send(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`)
  await reader.got('200 OK')
  reader.socket.pause()
  client.kill('SIGSTOP')
  const part = Buffer.alloc(300_000)
  const sent = Array.from({ length: 100 }, async () => {
    const one = visitor(t, server).send(`POST / HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 300000\r\n\r\n`)
    await new Promise((resolve) => one.socket.write(part.subarray(0, 100_000), resolve))
  })
  await within(Promise.all(sent), 'the uploads to be under way')
  await within(server.close(), 'the server to close')
})

test('a client closes also while its server has stopped and owes much', async (t) => {
  const app = await httpApp(t, (_, response) => response.end(Buffer.alloc(16 * MiB)))
  const [server, port] = await startPeer<number>(t, 'server')
  const tunnel = await connect({ port, local: app.port, graceMs: 0, heartbeatMs: 60_000 })
  const way = { port, host: new URL(tunnel.url).host }
  const readers = Array.from({ length: 50 }, async () => {
    const one = visitor(t, way).send(`GET / HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`)
    await one.got('200 OK')
    one.socket.pause()
  })
  await Promise.all(readers)
  server.kill('SIGSTOP')
  await within(tunnel.close(), 'the client to close')
})

test('a local service that resets together with its last bytes is a reset at the visitor, not an end', async (t) => {
  const app = await tcpApp(t, (socket) => {
    socket.once('data', () => {
      const half = 'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf'
      socket.write(half, () => socket.resetAndDestroy())
    })
  })
  const way = await tunnelTo(t, app.port)
  for (let n = 0; n < 20; n++) {
    const client = visitor(t, way).send(`GET / HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`)
    // The reset reaches us together with the bytes as well, and Node calls it an end: but the peer is gone then.
    let wasReset = false
    client.socket.on('end', () => (wasReset = client.socket.remoteAddress === undefined))
    const ending = await client.ended()
    assert.ok(ending === 'ECONNRESET' || wasReset, `${ending} after ${JSON.stringify(client.text)}`)
  }
})
