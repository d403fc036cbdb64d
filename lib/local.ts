/**
 * The local service, as the client reaches it. `localhost` may be ::1 or 127.0.0.1, and many a development server
 * listens on one of them only: both are tried, and the one that answered is tried first from then on.
 */
import net from 'node:net'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { join } from '../join.ts'
import { answer } from './answer.ts'
import { farewell } from './ending.ts'
import { codeOf, TunnelError } from './errors.ts'
import { RequestReader } from './http/reader.ts'
import type { RequestHead } from './http/request.ts'

export type Dial = () => Promise<Socket>

/** Dials a port of this machine. Rejects with `local-unreachable`. */
export function dialer(port: number): Dial {
  const addresses = ['127.0.0.1', '::1']
  return async () => {
    let reason = ''
    for (const host of addresses.slice()) {
      const socket = net.connect({ host, port, allowHalfOpen: true, noDelay: true })
      try {
        await connected(socket)
        if (addresses[0] !== host) addresses.reverse()
        return socket
      } catch (error) {
        reason ||= codeOf(error)
      }
    }
    throw new TunnelError(
      'local-unreachable',
      `expected a service on port ${port}, got ${reason}; is it running?`,
    )
  }
}

function connected(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject))
}

/** Joins a channel with a new connection to the local service, or answers 502 on it. Never rejects. */
export async function deliver(channel: Duplex, dial: Dial): Promise<void> {
  channel.on('error', () => undefined) // the visitor left; join, or the end of this, sees to it
  await new Promise(setImmediate) // whoever opens channels and resets them at once shall cost no connection
  if (channel.destroyed) return
  try {
    const local = await dial()
    if (channel.destroyed) local.resetAndDestroy()
    else await join(channel, local)
  } catch (error) {
    channel.write(answer(error as TunnelError, await firstHead(channel)))
    farewell(channel)
  }
}

/** The head of the request that waits on a channel, for what the visitor accepts; undefined if it never comes. */
async function firstHead(channel: Duplex): Promise<RequestHead | undefined> {
  const reader = new RequestReader()
  try {
    for await (const bytes of channel.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      reader.read(bytes)
      if (reader.event === 'head') break
    }
  } catch {
    // not HTTP, or gone: then nobody minds the form of the answer
  }
  return reader.head
}
