/** The shapes of the library entry: what `serve` and `connect` take and give. */
import type { EventEmitter } from 'node:events'
import type { AdmissionOptions } from './admission.ts'
import type { TunnelError } from './errors.ts'
import type { ProxyOptions } from './proxies.ts'

export interface ServeOptions extends AdmissionOptions, ProxyOptions {
  /** The server's own host name: it serves `*.host`. Default 'localhost'. */
  host?: string
  /** Default 9999; 0 picks a free one. */
  port?: number
  /** The address to listen on; default 127.0.0.1. */
  bind?: string
  /** For a request's head, a chunk's line or trailers, from the first byte on; default 10,000. Then 408. */
  headTimeoutMs?: number
  /** Aborting it closes the server. */
  signal?: AbortSignal | undefined
}

export interface ServerEvents {
  /** A client has registered; its public host is such as `myapp.localhost:9999`. */
  start: [publicHost: string]
  /** Its session has ended; the error says why, unless it was an orderly goodbye. */
  end: [publicHost: string, error: TunnelError | undefined]
}

export interface Server extends EventEmitter<ServerEvents> {
  readonly port: number
  /** Where its landing page is. */
  readonly url: string
  /** Stops listening and ends every session and public connection. Settles like `closed`. */
  close(): Promise<void>
  /** Settles when the server has closed. */
  readonly closed: Promise<void>
}

export interface ConnectOptions {
  /** The local port to make public. */
  local: number
  /** The server's own host name and port; default 'localhost' and 9999. */
  host?: string
  port?: number
  /** The name to ask for; default ten random characters. */
  subdomain?: string
  /** Keep trying also when the first connection fails; default false. */
  wait?: boolean
  /** Aborting it closes the tunnel, or gives up on opening it. */
  signal?: AbortSignal | undefined
}

export interface TunnelEvents {
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
  /** Closes the tunnel; the name is free at once. Settles like `closed`. */
  close(): Promise<void>
  /** Settles when the tunnel was closed; rejects when it ended otherwise and will not come back. */
  readonly closed: Promise<void>
}

/** Opens a tunnel. Features of the client are wrappers of this one shape (lib/reconnect.ts). */
export type Connect = (options: ConnectOptions) => Promise<Tunnel>
