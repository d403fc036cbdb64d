/**
 * yamux over a socket: a session carries channels, and a channel is a Node `Duplex`.
 * Spec: https://github.com/hashicorp/yamux/blob/master/spec.md
 *
 * @chainsafe/libp2p-yamux keeps each stream's state, id and send window. What comes in is read by our own frame
 * reader and given to the channel directly: so no frame is ever held whole, credit follows the consumer, and a
 * hostile peer finds every free service rationed. Frames go out gathered.
 *
 * It does not notice dead peers (lib/heartbeat.ts) and does not reconnect (lib/reconnect.ts).
 */
import { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import { yamux } from '@chainsafe/libp2p-yamux'
import type { Logger, MessageStream } from '@libp2p/interface'
import { LONGEST_MS } from './deadline.ts'
import { cut, dismiss, turnAway } from './ending.ts'
import { codeOf, TunnelError } from './errors.ts'
import { Channel, INITIAL_WINDOW_BYTES } from './mux/channel.ts'
import type { Carrier, Stream } from './mux/channel.ts'
import { encodeHeader, Flag, FrameReader, FrameType, GoAway, HEADER_BYTES } from './mux/frames.ts'
import type { Frame, FrameSink } from './mux/frames.ts'
import { Gather } from './mux/gather.ts'
import { NumberMap } from './number-map.ts'
import { Rate } from './rate.ts'

export type { Channel } from './mux/channel.ts'

export interface SessionOptions {
  /** The server opens channels and refuses any its peer opens; the client takes them. */
  side: 'client' | 'server'
  /** Channels open at once; default 10,000. */
  maxChannels?: number
  /** A channel's receive window at most, in bytes; default 16 MiB. It starts at the spec's 256 KiB. */
  maxWindowBytes?: number
  /** Bytes by which all windows of the session together may grow; default 32 MiB. */
  maxGrowthBytes?: number
  /** The id after which no channel is opened; default 2^32 less 2^20. */
  lastId?: number
}

interface SessionEvents {
  channel: [channel: Channel]
  /** The peer wants no new channels and will close; those that are open go on. */
  goodbye: []
  /** It opens no more channels: their numbers are used up. It closes when those that are open have ended, or 2 s later. */
  spent: []
  /** Last of all, once. The error says why; it is absent after an orderly end, by us or by the peer. */
  close: [error: TunnelError | undefined, byUs: boolean]
}

/** Pings, refused and stray frames that a peer may send: far more than an honest one does, too few to hurt. */
const STRAY_BURST = 10_000
const STRAY_PER_SECOND = 1_000
/**
 * Before a peer is read more slowly: channels that it resets after they have begun, for which visitors may be to blame, and
 * window updates that grant next to nothing, which a simple peer may send.
 */
const TRIFLE_BURST = 10_000
const TRIFLES_PER_SECOND = 2_000
const SMALL_GRANT_BYTES = 1024
/** Answers that may wait for a peer that does not read: pongs, and refusals of channels. */
const ANSWERS_OWED = 1_000
/** Pings of ours that may be without an answer: eight hours of a heartbeat of 3 s. */
const PINGS_UNANSWERED = 10_000
/** The last ids are kept for what is under way when a session retires. Ids are even or odd numbers of 32 bits. */
const LAST_ID = 2 ** 32 - 2 ** 20
/** Within the time that visitors wait for a tunnel to come back. */
const RETIRING_MS = 2_000
/** Frames in one read after which other sockets have their turn. */
const CROWD = 500

export class Session extends EventEmitter<SessionEvents> implements FrameSink, Carrier {
  readonly gather: Gather
  readonly maxWindowBytes: number
  /** The least round trip seen, in ms; 0 until the first answer, so that no window grows before. */
  rttMs = 0
  /** The last round trip in ms. */
  latencyMs = 0
  readonly #socket: Socket
  readonly #isServer: boolean
  readonly #maxChannels: number
  readonly #maxId: number
  readonly #reader = new FrameReader(this)
  readonly #muxer
  readonly #channels = new NumberMap<Channel>()
  /** Channels the peer announced without a byte so far, and the window it granted: they cost us this entry. */
  readonly #announced = new NumberMap<number>()
  /** being opened by us */
  #opening = 0
  #arrived: Channel[] = []
  readonly #strays = new Rate(STRAY_BURST, STRAY_PER_SECOND)
  readonly #trifles = new Rate(TRIFLE_BURST, TRIFLES_PER_SECOND)
  /** for how long no more should be read */
  #restMs = 0
  #strayBytes = 0
  #growthLeft: number
  #lastId = 0
  /** those under way, by their value: some peers answer a few at once in any order */
  readonly #pings = new Map<number, { sentAt: number; resolve: (rttMs: number) => void }>()
  #lastPing = 0
  /** Answers to what the peer asked since it last caught up. */
  #answersOwed = 0
  #drains = 0
  /** the peer has said goodbye */
  #isLeaving = false
  /** we have, and it was heard */
  #isHeard = false
  #graceTimer: NodeJS.Timeout | undefined
  #closed = false
  #isByUs = false
  #isToldOf = false
  #error: TunnelError | undefined

  constructor(socket: Socket, options: SessionOptions) {
    super()
    this.#socket = socket
    this.#isServer = options.side === 'server'
    this.#maxChannels = options.maxChannels ?? 10_000
    this.#maxId = options.lastId ?? LAST_ID
    this.maxWindowBytes = options.maxWindowBytes ?? 16 * 1024 * 1024
    this.#growthLeft = options.maxGrowthBytes ?? 32 * 1024 * 1024
    this.gather = new Gather(socket, () => this.channelCount > 1)
    this.#muxer = createMuxer(options.side, this.#maxChannels, (frame) => this.#sendFrame(frame))
    this.#muxer.addEventListener('stream', ({ detail }) => this.emit('channel', this.#adopt(detail)))
    socket.setNoDelay(true)
    socket.setTimeout(0)
    socket.on('data', (bytes: Buffer) => this.#onData(bytes))
    socket.on('error', (error) => (this.#error ??= lost(error)))
    socket.on('end', () => socket.destroy())
    socket.on('close', () => this.#onClose())
    void this.ping()
  }

  /** Grows with every byte that comes from the peer. */
  get bytesHeard(): number {
    return this.#socket.bytesRead
  }

  get channelCount(): number {
    return this.#channels.size + this.#announced.size
  }

  get #isIdle(): boolean {
    return this.channelCount + this.#opening === 0
  }

  /** Opens a channel to the peer. Throws `session-closed`, or `server-full` at `maxChannels`. */
  async open(): Promise<Channel> {
    if (this.#closed || this.#isLeaving || this.#isByUs) throw ended
    if (this.#channels.size + this.#opening >= this.#maxChannels) {
      throw new TunnelError('server-full', `the tunnel already has ${this.#maxChannels} connections`)
    }
    this.#opening += 1
    const stream = await this.#muxer.createStream().finally(() => (this.#opening -= 1))
    this.#lastId = Math.max(this.#lastId, stream.streamId)
    if (stream.streamId >= this.#maxId) this.#retire()
    if (!this.#closed) return this.#adopt(stream)
    stream.abort(ended)
    throw ended
  }

  /** The spec has no way on from the last id but a new connection. */
  #retire(): void {
    if (this.#isByUs) return
    this.leave(RETIRING_MS)
    this.emit('spent')
  }

  /** One round trip in ms. Never settles when the session ends first. */
  ping(): Promise<number> {
    if (this.#pings.size === PINGS_UNANSWERED)
      this.destroy(new TunnelError('protocol-violation', 'the peer answers no pings'))
    const value = (this.#lastPing = (this.#lastPing + 1) >>> 0)
    this.gather.write(encodeHeader(FrameType.ping, Flag.syn, 0, value))
    return new Promise((resolve) => this.#pings.set(value, { sentAt: performance.now(), resolve }))
  }

  /** Says goodbye, and closes when the last channel has ended, or after `graceMs`. */
  leave(graceMs: number): void {
    if (this.#closed || this.#isByUs) return
    this.#isByUs = true
    this.#graceTimer = setTimeout(() => this.close(), Math.min(graceMs, LONGEST_MS))
    this.#goAway(GoAway.normal)
    // The answer comes behind the last channel that the peer opened before it heard.
    void this.ping().then(() => {
      this.#isHeard = true
      if (this.#isIdle) this.close()
    })
  }

  /** Says goodbye, cuts what is open, and closes: `close` comes when the peer has heard it, or after 5 s. */
  close(): void {
    if (this.#closed) return
    if (this.#isByUs) this.gather.flush()
    else this.#goAway(GoAway.normal)
    this.#isByUs = true
    this.#end()
    dismiss(this.#socket)
  }

  /** Ends the session at once because of `error`; the peer is told why, unless it is `session-lost`. */
  destroy(error: TunnelError): void {
    if (this.#closed) return
    this.#error = error
    const isLost = error.code === 'session-lost'
    if (!isLost) this.#goAway(GoAway.protocolError)
    this.#onClose()
    // Who does not listen need not be told.
    if (isLost) cut(this.#socket)
    else turnAway(this.#socket)
  }

  // Carrier, for the channels

  grant(id: number, bytes: number): void {
    if (!this.#closed) this.gather.write(encodeHeader(FrameType.windowUpdate, 0, id, bytes))
  }

  grow(bytes: number): boolean {
    if (bytes > this.#growthLeft) return false
    this.#growthLeft -= bytes
    return true
  }

  forget(id: number, credit: number): void {
    this.#channels.delete(id)
    this.#strayBytes += credit
    // The channel's own last frame goes first.
    if (this.#isHeard && this.#isIdle) setImmediate(() => this.close())
  }

  arrived(channel: Channel): void {
    this.#arrived.push(channel)
  }

  // FrameSink, for the reader

  onFrame(frame: Frame): void {
    switch (frame.type) {
      case FrameType.data:
        return this.#onDataFrame(frame)
      case FrameType.windowUpdate:
        return this.#onWindowUpdate(frame)
      case FrameType.ping:
        return this.#onPing(frame)
      case FrameType.goAway:
        return this.#onGoAway(frame)
      default:
        throw new TunnelError('protocol-violation', `unknown yamux frame type ${frame.type}`)
    }
  }

  onPayload(frame: Frame, bytes: Buffer, isLast: boolean): void {
    const channel = this.#channels.get(frame.id)
    channel?.receive(bytes)
    if (isLast && frame.flags !== 0 && channel !== undefined) this.#control(channel, frame.flags, 0)
  }

  #onDataFrame(frame: Frame): void {
    if (frame.flags & Flag.syn) this.#onSyn({ ...frame, length: 0 })
    this.#materialise(frame.id)
    const channel = this.#channels.get(frame.id)
    if (channel === undefined) return this.#onStray(frame.id, frame.length)
    if (frame.length === 0) this.#ration('empty frames')
    channel.spend(frame.length)
  }

  #onWindowUpdate(frame: Frame): void {
    if (frame.flags & Flag.syn) this.#onSyn(frame)
    if (frame.flags & Flag.rst && this.#announced.delete(frame.id))
      return this.#ration('channels opened in vain')
    if (frame.flags & Flag.fin) this.#materialise(frame.id)
    const granted = this.#announced.get(frame.id)
    const channel = this.#channels.get(frame.id)
    if (granted !== undefined) this.#announced.set(frame.id, granted + frame.length)
    else if (channel !== undefined) this.#onGrant(channel, frame)
    else if ((frame.flags & Flag.syn) === 0) this.#onStray(frame.id, 0)
  }

  #onGrant(channel: Channel, { flags, length }: Frame): void {
    const isNews = channel.acknowledge(flags) || (flags & (Flag.fin | Flag.rst)) !== 0
    if (!isNews && length < SMALL_GRANT_BYTES) this.#restMs = this.#trifles.borrow()
    this.#control(channel, flags, length)
  }

  #control(channel: Channel, flags: number, granted: number): void {
    if (flags & Flag.rst) this.#restMs = this.#trifles.borrow()
    channel.control(flags, granted)
  }

  /** The peer opens a channel. A server has no use for that; a client announces it to nobody before it speaks. */
  #onSyn({ id }: Frame): void {
    if (this.#isOurs(id) || this.#channels.get(id) !== undefined || this.#announced.get(id) !== undefined) {
      throw new TunnelError(
        'protocol-violation',
        `channel ${id} cannot be opened by the peer, or is open already`,
      )
    }
    this.#lastId = Math.max(this.#lastId, id)
    if (!this.#isServer && this.channelCount < this.#maxChannels) {
      this.#announced.set(id, 0)
      return
    }
    this.#ration('refused channels')
    this.#strayBytes += INITIAL_WINDOW_BYTES
    this.#answer(encodeHeader(FrameType.windowUpdate, Flag.rst, id, 0))
  }

  #materialise(id: number): void {
    const granted = this.#announced.get(id)
    if (granted === undefined) return
    this.#announced.delete(id)
    this.#muxer.onData(encodeHeader(FrameType.windowUpdate, Flag.syn, id, granted))
  }

  #adopt(stream: Stream): Channel {
    const channel = new Channel(stream, this)
    this.#channels.set(channel.id, channel)
    return channel
  }

  /** A frame for a channel that is no more. What was on its way when it ended is honest; more is not. */
  #onStray(id: number, bytes: number): void {
    if (id === 0 || id > this.#lastId || bytes > this.#strayBytes) {
      throw new TunnelError('protocol-violation', `frame for channel ${id}, which is not open`)
    }
    this.#strayBytes -= bytes
    if (bytes === 0) this.#ration('frames for closed channels')
  }

  #onPing({ flags, length }: Frame): void {
    if (flags === Flag.ack) return this.#onPong(length)
    this.#ration('pings')
    this.#answer(encodeHeader(FrameType.ping, Flag.ack, 0, length))
  }

  /** What a peer asks for nothing, and then does not read, waits in our memory. */
  #answer(frame: Buffer): void {
    const { drains, isBehind } = this.gather
    this.#answersOwed = isBehind && drains === this.#drains ? this.#answersOwed + 1 : 0
    this.#drains = drains
    if (this.#answersOwed > ANSWERS_OWED)
      throw new TunnelError('protocol-violation', 'asks on and on, and does not read the answers')
    this.gather.write(frame)
  }

  #onPong(value: number): void {
    const ping = this.#pings.get(value)
    if (ping === undefined) throw new TunnelError('protocol-violation', 'answer to a ping that was not sent')
    this.#pings.delete(value)
    this.latencyMs = performance.now() - ping.sentAt
    this.rttMs = Math.min(this.latencyMs, this.rttMs || Infinity)
    ping.resolve(this.latencyMs)
  }

  /** "No new channels"; those that are open go on until the peer closes the connection. */
  #onGoAway({ length }: Frame): void {
    if (length !== GoAway.normal) {
      this.#deliver()
      throw new TunnelError('session-closed', `the peer gave up (code ${length})`)
    }
    this.#ration('goodbyes')
    if (!this.#isLeaving) queueMicrotask(() => this.#onGoodbye())
    this.#isLeaving = true
  }

  #onGoodbye(): void {
    this.emit('goodbye')
    for (const channel of this.#channels.values()) channel.emit('goodbye')
  }

  #ration(what: string): void {
    if (!this.#strays.take()) throw new TunnelError('protocol-violation', `too many ${what}`)
  }

  #isOurs(id: number): boolean {
    return id === 0 || (id % 2 === 0) === this.#isServer
  }

  // The socket

  #onData(bytes: Buffer): void {
    if (this.#closed) return
    try {
      const before = this.#reader.frames
      this.#reader.read(bytes)
      this.#deliver()
      if (this.#restMs > 0 || this.#reader.frames - before > CROWD) this.#rest()
    } catch (error) {
      this.destroy(
        error instanceof TunnelError ? error : new TunnelError('protocol-violation', String(error)),
      )
    }
  }

  /** Node would read on, up to 2 MiB, before any other socket: a crowd of tiny frames must not hold up the rest. */
  #rest(): void {
    if (this.#closed) return
    const goOn = () => this.#closed || this.#socket.resume()
    this.#socket.pause()
    if (this.#restMs === 0) setImmediate(goOn)
    else setTimeout(goOn, this.#restMs)
    this.#restMs = 0
  }

  #deliver(): void {
    const arrived = this.#arrived
    this.#arrived = []
    for (const channel of arrived) channel.deliver()
  }

  #sendFrame(frame: Iterable<Uint8Array>): void {
    if (this.#closed) return
    for (const piece of frame) {
      if (this.#isServer && isEnd(piece)) this.gather.writeLate(piece)
      else this.gather.write(piece)
    }
  }

  #goAway(reason: number): void {
    this.gather.write(encodeHeader(FrameType.goAway, 0, 0, reason))
    this.gather.flush()
  }

  #onClose(): void {
    this.#end()
    if (this.#isToldOf) return
    this.#isToldOf = true
    this.emit('close', this.#error, this.#isByUs)
  }

  #end(): void {
    if (this.#closed) return
    this.#closed = true
    clearTimeout(this.#graceTimer)
    for (const channel of this.#channels.values()) channel.cut(this.#error ?? ended)
    this.#announced.clear()
  }
}

const ended = new TunnelError('session-closed', 'the session has ended')

function lost(cause: Error): TunnelError {
  return new TunnelError('session-lost', `the connection broke (${codeOf(cause)})`, { cause })
}

/** A frame that only ends our side of a channel. The server's mean "no more of this request": nobody waits for them. */
function isEnd(frame: Uint8Array): boolean {
  return frame.length === HEADER_BYTES && frame[1] === FrameType.windowUpdate && frame[3] === Flag.fin
}

/** The library over nothing but our `send`: its timers, pings and reading are left unused. */
function createMuxer(
  side: 'client' | 'server',
  maxStreams: number,
  send: (frame: Iterable<Uint8Array>) => void,
) {
  const transport = Object.assign(new EventTarget(), {
    direction: side === 'client' ? 'outbound' : 'inbound',
    log: silent,
    send(frame: Uint8Array | Iterable<Uint8Array>) {
      send(frame instanceof Uint8Array ? [frame] : frame)
      return true
    },
  })
  return yamux({
    enableKeepAlive: false,
    maxInboundStreams: maxStreams,
    maxOutboundStreams: maxStreams,
  })().createStreamMuxer(transport as unknown as MessageStream)
}

const silent: Logger = Object.assign(() => {}, {
  enabled: false,
  error() {},
  trace() {},
  newScope: () => silent,
})
