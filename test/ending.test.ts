/** The ways to end a socket, at moments when Node or libuv would not. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { test } from 'node:test'
import { cut, farewell } from '../lib/ending.ts'
import { tcpApp, until, visitor } from './helpers.ts'

test('a cut is a reset', async (t) => {
  const app = await tcpApp(t, (socket) => {
    socket.write('half')
    socket.once('data', () => cut(socket))
  })
  const peer = visitor(t, app)
  await peer.got('half')
  peer.send('I have it')
  assert.equal(await peer.ended(), 'ECONNRESET')
  await until(() => app.sockets.size === 0, 'the socket to close')
})

test('a cut waits for no peer that does not read, whether the socket was ended or not', async (t) => {
  for (const begin of ['write', 'end'] as const) {
    let isClosed = false
    const app = await tcpApp(t, (socket) => {
      socket.on('close', () => (isClosed = true))
      socket[begin](Buffer.alloc(64 * 1024 * 1024))
      setImmediate(cut, socket)
    })
    visitor(t, app).socket.pause()
    await until(() => isClosed, 'the socket to close')
  }
})

test('a cut closes a socket whose FIN is on its way, and what was said is heard', async (t) => {
  const farewells: ((socket: Socket) => Socket)[] = [(socket) => socket.end(), (socket) => socket.end('bye')]
  for (const say of farewells) {
    const app = await tcpApp(t, (socket) => cut(say(socket)))
    const peer = visitor(t, app)
    assert.equal(await peer.ended(), 'end')
    await until(() => app.sockets.size === 0, 'the socket to close')
  }
})

test('of who sends on after a farewell not much more is read', async (t) => {
  let far: Socket | undefined
  const app = await tcpApp(t, (socket) => {
    far = socket
    farewell(socket, Buffer.from('bye'))
  })
  const peer = visitor(t, app)
  await peer.got('bye')
  for (let sent = 0; sent < 1024 && peer.ending === undefined; sent++) {
    const isTaken = peer.socket.write(Buffer.alloc(64 * 1024))
    if (!isTaken)
      await Promise.race([once(peer.socket, 'drain'), until(() => peer.ending !== undefined, 'an end')])
  }
  await until(() => app.sockets.size === 0, 'the socket to close', 8_000)
  assert.ok((far?.bytesRead ?? 0) < 2 * 1024 * 1024, `${far?.bytesRead} bytes were read`)
})

test('a farewell has its limit also where our side had ended before', async (t) => {
  const app = await tcpApp(t, (socket) => socket.end('bye', () => setImmediate(farewell, socket)))
  const peer = visitor(t, { port: app.port }) // keeps its half open
  await peer.got('bye')
  await until(() => app.sockets.size === 0, 'the socket to close', 8_000)
})
