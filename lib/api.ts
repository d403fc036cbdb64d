/** The shapes of the library entry: what `serve` and `connect` take and give. */
import type { EventEmitter } from 'node:events'
import type { Duplex } from 'node:stream'
import type { AdmissionOptions } from './arrivals/admission.ts'
import type { ProxyOptions } from './arrivals/proxies.ts'
import type { DeliverOptions } from './deliver/options.ts'
import type { TunnelError } from './errors.ts'
import type { HeartbeatOptions } from './heartbeat.ts'
import type { NameOptions } from './names/names.ts'
import type { RegistrationOptions } from './names/registrations.ts'
import type { TokenOptions } from './names/tokens/tokens.ts'
import type { SiteOptions } from './site.ts'
import type { TlsOptions } from './tls/tls.ts'

export interface ServeOptions
  extends
    SiteOptions,
    TlsOptions,
    TokenOptions,
    NameOptions,
    RegistrationOptions,
    AdmissionOptions,
    ProxyOptions,
    HeartbeatOptions {
  /** Default 9999; 0 picks a free one. */
  port?: number
  /** The address to listen on; default 127.0.0.1. */
  bind?: string
  /** For a request's head, a chunk's line or trailers, from the first byte on; default 10,000. Then 408. */
  headTimeoutMs?: number
  /** Public connections at once, for each tunnel; default 5,000. Then 503. */
  maxConnectionsPerTunnel?: number
  /** A file that keeps the names of owners over a restart; default none. */
  stateFile?: string | undefined
  /** When closing: for requests under way to finish; default 10,000. */
  graceMs?: number
  /** Aborting it closes the server. */
  signal?: AbortSignal | undefined
}

export interface ServerEvents {
  /** A client has registered; its public host is such as `myapp.localhost:9999`. */
  start: [publicHost: string]
  /** Its session has ended; the error says why, unless it was an orderly goodbye. */
  end: [publicHost: string, error: TunnelError | undefined]
  /** A round trip to a client took so many ms. */
  latency: [publicHost: string, ms: number]
  /** Something unexpected ended one connection, or keeps the server from a part of its work. */
  fault: [error: TunnelError]
}

export interface Server extends EventEmitter<ServerEvents> {
  readonly port: number
  /** Where its landing page is. */
  readonly url: string
  /** No token is asked for. */
  readonly isOpen: boolean
  /** Reads token files and certificates again. Throws `usage` when they are bad; then the old ones stay. */
  reload(): void
  /** Stops listening, lets requests under way finish for `graceMs`, then ends every session. Settles like `closed`. */
  close(): Promise<void>
  /** Settles when the server has closed. */
  readonly closed: Promise<void>
}

export interface ConnectOptions extends HeartbeatOptions, DeliverOptions {
  /** What to make public: a port, `host:3000`, `https://…`, `unix:/path` or `./folder`. */
  local: number | string
  /** The server's own host name and port; default 'localhost' and 9999. */
  host?: string
  port?: number
  /** Speak TLS to the server, whose certificate is verified; default false. */
  tls?: boolean
  /** A PEM file with the authorities to trust instead of the usual ones. */
  ca?: string | undefined
  /** An HTTP proxy on the way, such as `http://proxy:3128`; default HTTPS_PROXY of the environment, false for none. */
  proxy?: string | false | undefined
  /** The name to ask for; default ten random characters. */
  subdomain?: string
  /** Proves who owns the name, so that a later client with the same key gets it at once; default a random one. */
  key?: string | undefined
  /** The server's token, where it asks for one; or the file that holds it. */
  token?: string | undefined
  tokenFile?: string | undefined
  /** Keep trying also when the first connection fails; default false. */
  wait?: boolean
  /** Told once, when `wait` makes it wait: why the first connection failed. */
  onWait?: (error: unknown) => void
  /** When closing: for what is open to finish; default 10,000. */
  graceMs?: number
  /** Aborting it closes the tunnel, or gives up on opening it. */
  signal?: AbortSignal | undefined
}

/** One request that came through a tunnel, with its answer. */
export interface RequestRecord {
  /** When its head came. */
  at: Date
  method: string
  /** The request target as sent. */
  path: string
  /** Of the final answer; undefined when there was none. */
  status: number | undefined
  /** From its head to the last byte of its answer. */
  durationMs: number
  /** Of the bodies, as sent. */
  requestBytes: number
  answerBytes: number
}

/** What a client does with a channel, which it then owns. Features of delivery are wrappers: Deliver => Deliver. */
export type Deliver = (channel: Duplex) => void

export interface TunnelEvents {
  /** A request has had its answer, or will have none. */
  request: [record: RequestRecord]
  /** A public connection has come or gone: how many are open now, and how many there were. */
  connections: [open: number, total: number]
  /** The session was lost; the client redials until it is back. Once a loss. */
  lost: [error: TunnelError]
  /** A session is there again, after so many ms. */
  back: [awayMs: number]
}

export interface Tunnel extends EventEmitter<TunnelEvents> {
  /** Such as `http://myapp.localhost:9999`. */
  readonly url: string
  /** The public name, such as `myapp`. */
  readonly subdomain: string
  /** The last round trip to the server in ms; 0 before the first. */
  readonly latencyMs: number
  /** Says goodbye (the name is free at once), lets finish what is open, and closes. Settles like `closed`. */
  close(): Promise<void>
  /** Settles when the tunnel was closed; rejects when it ended otherwise and will not come back. */
  readonly closed: Promise<void>
}

/** Opens a tunnel. Features of the client are wrappers of this one shape (lib/reconnect.ts). */
export type Connect = (options: ConnectOptions) => Promise<Tunnel>
