/**
 * A passive tap: tells of each request that passes through a channel, and of its answer. It hears what a channel says it
 * received and sent (lib/mux/channel.ts), so that it holds, delays and changes nothing, and sees every answer: those of
 * the local service, those of a proxy before it and our own.
 *
 * Both directions are read by the strict reader (lib/http). What is not HTTP, or odd, or a crowd, is no longer read from
 * there on; its bytes pass as before, and nobody is told. After a 101 nothing is read, nor where nobody listens any more.
 */
import type { Duplex } from 'node:stream'
import type { Deliver, RequestRecord, Tunnel } from './api.ts'
import { RequestReader, ResponseReader } from './http/reader.ts'
import type { RequestHead } from './http/request.ts'

/** Requests of one channel that wait for their answers; a peer that sends more is not followed further. */
const MAX_PENDING = 100

/** A path in a head longer than this is copied: a part of a long text keeps all of it. */
const LONG_BYTES = 8192

export interface TapOptions {
  /** Asked at each request: where nobody wants to hear of it, the channel is not read any more. Default always. */
  isWanted?: () => boolean
  /** A clock in ms that only goes forward. */
  now?: () => number
}

/** `onRequest` is told of the requests of each channel that goes to `deliver`, a moment after. It may throw. */
export function tap(
  deliver: Deliver,
  onRequest: (record: RequestRecord) => void,
  { isWanted = () => true, now = () => performance.now() }: TapOptions = {},
): Deliver {
  return (channel) => {
    if (isWanted()) new Tap(channel, { onRequest, isWanted, now })
    deliver(channel)
  }
}

/** `onCount` is told how many of the channels that go to `deliver` are open, and how many there were; a moment after. */
export function count(deliver: Deliver, onCount: (open: number, total: number) => void): Deliver {
  let open = 0
  let total = 0
  const tell = () => process.nextTick(onCount, open, total)
  const onClose = () => {
    open -= 1
    tell()
  }
  return (channel) => {
    open += 1
    total += 1
    tell()
    channel.on('close', onClose)
    deliver(channel)
  }
}

/** Both, as events of `tunnel()` once there is one. Channels are tapped while somebody listens for requests. */
export function watched(deliver: Deliver, tunnel: () => Tunnel | undefined): Deliver {
  const counted = count(deliver, (...counts) => tunnel()?.emit('connections', ...counts))
  const isWanted = () => (tunnel()?.listenerCount('request') ?? 0) > 0
  return tap(counted, (record) => tunnel()?.emit('request', record), { isWanted })
}

interface Exchange extends RequestRecord {
  startedAt: number
}

interface TapParts extends Required<TapOptions> {
  onRequest: (record: RequestRecord) => void
}

class Tap {
  readonly #channel: Duplex
  readonly #onRequest: (record: RequestRecord) => void
  readonly #isWanted: () => boolean
  readonly #now: () => number
  readonly #requests = new RequestReader()
  readonly #answers = new ResponseReader(() => this.#pending[0]?.method ?? 'GET')
  /** without a whole answer, in the order they came */
  #pending: Exchange[] = []
  /** whose body comes, or came last */
  #asking: Exchange | undefined
  #isReadingRequests = true

  constructor(channel: Duplex, { onRequest, isWanted, now }: TapParts) {
    this.#channel = channel
    this.#onRequest = onRequest
    this.#isWanted = isWanted
    this.#now = now
    channel.on('received', this.#onReceived).on('sent', this.#onSent)
    channel.on('finish', this.#onEnd).on('close', this.#onEnd)
  }

  readonly #onReceived = (bytes: Buffer): void => {
    try {
      this.#readRequests(bytes)
    } catch {
      this.#ignoreRequests()
    }
  }

  readonly #onSent = (bytes: Buffer): void => {
    try {
      this.#readAnswers(bytes)
    } catch {
      this.#onEnd()
    }
  }

  /** Nothing more will be answered, or nothing that can be read. */
  readonly #onEnd = (): void => {
    this.#letGo()
    for (const exchange of this.#pending) this.#tell(exchange)
    this.#pending = []
  }

  #readRequests(bytes: Buffer): void {
    const reader = this.#requests
    for (let at = 0; (at < bytes.length || reader.event === 'head') && this.#isReadingRequests;) {
      const used = reader.read(bytes, at)
      at += used
      if (reader.event === 'head' && reader.head !== undefined) {
        this.#onHead(reader.head)
      } else if (this.#asking !== undefined && reader.event !== 'more') this.#asking.requestBytes += used
    }
  }

  #onHead({ method, target, raw }: RequestHead): void {
    if (this.#pending.length === MAX_PENDING || !this.#isWanted()) return this.#ignoreRequests()
    const counts = { status: undefined, durationMs: 0, requestBytes: 0, answerBytes: 0 }
    const path = raw.length > LONG_BYTES ? Buffer.from(target, 'latin1').toString('latin1') : target
    this.#asking = { at: new Date(), startedAt: this.#now(), method, path, ...counts }
    this.#pending.push(this.#asking)
  }

  /** Those that were read may still have their answers. */
  #ignoreRequests(): void {
    this.#channel.off('received', this.#onReceived)
    this.#isReadingRequests = false
    if (this.#pending.length === 0) this.#letGo()
  }

  #readAnswers(bytes: Buffer): void {
    const reader = this.#answers
    for (let at = 0; at < bytes.length || reader.event === 'head';) {
      const exchange = this.#pending[0]
      if (exchange === undefined) return this.#letGo()
      const used = reader.read(bytes, at)
      at += used
      const status = reader.head?.status ?? 0
      if (reader.event === 'head') {
        if (status === 101) return this.#onUpgrade(exchange)
        if (status >= 200) exchange.status = status
      } else if (exchange.status !== undefined && reader.event !== 'more') {
        exchange.answerBytes += used
        if (reader.event === 'end') this.#onAnswered(exchange)
      }
    }
  }

  #onAnswered(exchange: Exchange): void {
    this.#pending.shift()
    this.#tell(exchange)
  }

  #onUpgrade(exchange: Exchange): void {
    exchange.status = 101
    this.#letGo()
    this.#pending = []
    this.#tell(exchange)
  }

  /** Later, so that what a listener throws meets no channel. */
  #tell({ startedAt, ...record }: Exchange): void {
    record.durationMs = this.#now() - startedAt
    process.nextTick(this.#onRequest, record)
  }

  #letGo(): void {
    const channel = this.#channel.off('received', this.#onReceived).off('sent', this.#onSent)
    channel.off('finish', this.#onEnd).off('close', this.#onEnd)
  }
}
