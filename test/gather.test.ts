import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import { type TestContext, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { Gather } from '../lib/mux/gather.ts'

/** A connected socket whose peer reads everything. */
async function connected(t: TestContext): Promise<net.Socket> {
  const server = net.createServer((peer) => peer.resume()).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const socket = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1')
  t.after(() => {
    socket.destroy()
    server.close()
  })
  await once(socket, 'connect')
  return socket
}

test('frames of one turn are written together, at its end', async (t) => {
  const socket = await connected(t)
  const gather = new Gather(socket, () => false)
  gather.write(Buffer.from('ab'))
  gather.write(Buffer.from('c'))
  assert.equal(socket.bytesWritten, 0)
  await turn()
  assert.equal(socket.bytesWritten, 3)
})

test('where channels share the session, little waits for one turn more, and what comes meanwhile joins it', async (t) => {
  const socket = await connected(t)
  const gather = new Gather(socket, () => true)
  gather.write(Buffer.from('ab'))
  await turn()
  assert.equal(socket.bytesWritten, 0)
  gather.write(Buffer.from('c'))
  await turn()
  assert.equal(socket.bytesWritten, 3)
  gather.write(Buffer.from('d'))
  await turn()
  await turn()
  assert.equal(socket.bytesWritten, 4)
})

test('much does not wait for a second turn', async (t) => {
  const socket = await connected(t)
  const gather = new Gather(socket, () => true)
  gather.write(Buffer.alloc(64 * 1024))
  await turn()
  assert.equal(socket.bytesWritten, 64 * 1024)
})

test('what nobody waits for goes with the next write', async (t) => {
  const socket = await connected(t)
  const gather = new Gather(socket, () => false)
  gather.writeLate(Buffer.from('late'))
  await turn()
  assert.equal(socket.bytesWritten, 0)
  gather.write(Buffer.from('now'))
  await turn()
  assert.equal(socket.bytesWritten, 7)
})

test('what nobody waits for goes alone after a moment', async (t) => {
  const socket = await connected(t)
  new Gather(socket, () => false).writeLate(Buffer.from('late'))
  while (socket.bytesWritten === 0) await turn()
  assert.equal(socket.bytesWritten, 4)
})
