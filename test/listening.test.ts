import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import net from 'node:net'
import { test } from 'node:test'
import { isListening } from '../lib/local/listening.ts'
import { listening } from './helpers.ts'

const skip = existsSync('/proc/net/tcp') ? false : 'no /proc/net/tcp'

for (const bind of ['127.0.0.1', '0.0.0.0', '::1', '::']) {
  test(`what listens on ${bind} is seen, and no more when it has closed`, { skip }, async (t) => {
    const listener = net.createServer()
    t.after(() => listener.close())
    const port = await listening(listener, 0, bind).catch(() => undefined)
    if (port === undefined) return t.skip(`no ${bind} here`)
    assert.equal(isListening(port), true)
    await once(listener.close(), 'close')
    assert.equal(isListening(port), false)
  })
}

test('a port that is only one end of a connection is not taken for a listener', { skip }, async (t) => {
  const listener = net.createServer()
  const port = await listening(listener, 0)
  const socket = net.connect({ port, host: '127.0.0.1' })
  const [[far]] = (await Promise.all([once(listener, 'connection'), once(socket, 'connect')])) as [
    [net.Socket],
    unknown,
  ]
  t.after(() => {
    socket.destroy()
    far.destroy()
    listener.close()
  })
  assert.equal(isListening(socket.localPort ?? 0), false)
})
