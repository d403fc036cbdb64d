/**
 * What a client does with a channel. Asked for nothing, it joins it with a connection to the local service, byte for
 * byte. Where the user wants something changed or checked, or shares a folder, the channel's requests go one by one
 * through what was asked for (lib/deliver/).
 */
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { join } from '../../join.ts'
import { answer } from '../answer.ts'
import type { Deliver } from '../api.ts'
import { farewell } from '../ending.ts'
import { asTunnelError } from '../errors.ts'
import { RequestReader } from '../http/reader.ts'
import type { RequestHead } from '../http/request.ts'
import { type Dial, dialer } from '../local/local.ts'
import type { Target } from '../target.ts'
import { type Hints, hints } from './hints.ts'
import { type DeliverOptions, isPlain } from './options.ts'

export type { DeliverOptions } from './options.ts'

/** What to do with each channel of a tunnel to `target`. Rejects with `usage`. */
export async function delivery(target: Target, options: DeliverOptions = {}): Promise<Deliver> {
  const { onHint, hostHeader } = options
  const watch = onHint === undefined || hostHeader !== undefined ? undefined : hints(onHint)
  if (target.kind !== 'folder' && isPlain(options)) return joining(dialer(target, options), watch)
  // What reads and changes requests is slow to load.
  const { serving } = await import('./requests.ts')
  return serving(target, options, watch)
}

/** Joins each channel with a new connection to the service, or answers 502 on it. */
function joining(dial: Dial, watch: Hints | undefined): Deliver {
  const onLocal = (channel: Duplex, local: Socket) => {
    if (channel.destroyed) return void local.resetAndDestroy()
    const look = watch?.ofConnection()
    if (look !== undefined) local.on('data', look)
    void join(channel, local)
  }
  const start = (channel: Duplex) => {
    if (channel.destroyed) return
    dial()
      .then((local) => onLocal(channel, local))
      .catch((error) => excuse(channel, error))
  }
  return (channel) => {
    channel.on('error', ignore) // the visitor left; join, or the end of this, sees to it
    setImmediate(start, channel) // whoever opens channels and resets them at once shall cost no connection
  }
}

const ignore = () => undefined

/** Answers 502, in the form that the visitor accepts. */
async function excuse(channel: Duplex, error: unknown): Promise<void> {
  channel.write(answer(asTunnelError(error), await firstHead(channel)))
  farewell(channel)
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
