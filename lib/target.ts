/**
 * What a client makes public, as the user names it: a port, a host and port, a URL, a unix socket or a folder. Only the
 * text is judged here; whether something listens there, or the folder exists, is found out by whoever uses it.
 */
import { isIP } from 'node:net'
import { TunnelError } from './errors.ts'

/** A service that speaks http. `host` is a name or an address, without brackets. */
export interface Port {
  kind: 'port'
  host: string
  port: number
  tls: boolean
}

export interface UnixSocket {
  kind: 'unix'
  path: string
}

export interface Folder {
  kind: 'folder'
  path: string
}

/** What can be connected to. */
export type Service = Port | UnixSocket

export type Target = Service | Folder

/**
 * The target in `3000`, `:3000`, `host:3000`, `[::1]:3000`, `http://host:port`, `https://host:port`,
 * `unix:/path/of.sock`, `./folder`. Throws `usage`.
 */
export function parseTarget(text: string): Target {
  if (/[\s\p{Cc}]/u.test(text) && !isPath(text)) throw bad(text, 'without spaces')
  if (/^:?\d+$/.test(text)) return portOf(`http://localhost:${text.replace(':', '')}`, text)
  if (/^unix:/i.test(text)) return unixSocket(text)
  if (/^https?:\/\//i.test(text)) return portOf(text, text)
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) throw bad(text, 'that begins with http:// or https://')
  if (isPath(text)) return { kind: 'folder', path: text }
  if (/^([^:/]+|\[[^\]/]+\]):\d+(\/|$)/.test(text)) return portOf(`http://${text}`, text)
  throw bad(text, cureOf(text))
}

/** A slash makes a folder of what is no URL and does not begin with host:port. */
function isPath(text: string): boolean {
  return /^\.{1,2}$|^[./]*\/|^[^:]+\//.test(text)
}

function unixSocket(text: string): UnixSocket {
  const path = text.slice('unix:'.length).replace(/^\/\/(?=\/)/, '')
  if (path === '' || path.endsWith('/')) throw bad(text, 'such as unix:/run/app.sock')
  return { kind: 'unix', path }
}

function portOf(url: string, text: string): Port {
  if (!URL.canParse(url)) throw bad(text, 'with a port from 1 to 65535')
  const { protocol, hostname, port, username, password, pathname, search, hash } = new URL(url)
  if (username !== '' || password !== '')
    throw new TunnelError(
      'usage',
      'expected a local service without a password, got one with it; see --header for Authorization',
    )
  if (pathname !== '/' || search !== '' || hash !== '')
    throw bad(text, 'without a path: visitors name the path; leave it out')
  if (port === '0') throw bad(text, 'with a port from 1 to 65535')
  const tls = protocol === 'https:'
  return {
    kind: 'port',
    host: hostname.replace(/^\[|\]$/g, ''),
    port: Number(port || (tls ? 443 : 80)),
    tls,
  }
}

function cureOf(text: string): string {
  if (isIP(text) === 6 || /^[0-9a-f]*:[0-9a-f:]*:\d+$/i.test(text))
    return 'with IPv6 addresses in brackets: [::1]:3000'
  return `such as 3000, host:3000, https://localhost:8443, unix:/app.sock or ./folder`
}

function bad(text: string, expected: string): TunnelError {
  return new TunnelError('usage', `expected a local service ${expected}, got ${JSON.stringify(text)}`)
}

/** The target in words, for people: `port 3000`, `https://localhost:8443`, `unix:/app.sock`, `./folder`. */
export function describe(target: Target): string {
  if (target.kind === 'folder') return target.path
  if (target.kind === 'unix') return `unix:${target.path}`
  if (!target.tls && target.host === 'localhost') return `port ${target.port}`
  return target.tls ? originOf(target) : `${bracketed(target.host)}:${target.port}`
}

/** The URL at which the target believes itself to be, without a last slash: what a browser beside it would ask for. */
export function originOf(target: Target): string {
  if (target.kind !== 'port') return 'http://localhost'
  const { host, port, tls } = target
  const own = port === (tls ? 443 : 80) ? '' : `:${port}`
  return `${tls ? 'https' : 'http'}://${bracketed(host)}${own}`
}

function bracketed(host: string): string {
  return isIP(host) === 6 ? `[${host}]` : host
}
