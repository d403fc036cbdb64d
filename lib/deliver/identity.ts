/**
 * Who the local service believes to be (`--host-header`). Rewriting Host alone breaks redirects, cookies and CSRF
 * checks, so everything that names the public host goes in step: to the service Host, Origin, Referer and Destination
 * name itself, and what a proxy would tell of another host (X-Forwarded-Host, Forwarded, ...) is left out; in its
 * answers Location, Content-Location, Access-Control-Allow-Origin and the Domain of cookies name the public host again.
 * Links inside of pages are bodies, and pass as they are.
 */
import { TunnelError } from '../errors.ts'
import type { Field } from '../http/fields.ts'
import { originOf, type Target } from '../target.ts'
import { valueOf, without } from './fields.ts'

export interface IdentityOptions {
  /** The Host that the local service gets: `rewrite` for its own, or this one; default the public one. */
  hostHeader?: string | undefined
}

/** A scheme with a host, such as `https://myapp.lvh.me`. */
type Origin = string

export interface Identity {
  /** The fields of a request as the service gets them. */
  request(fields: readonly Field[], visited: Origin): Field[]
  /** The fields of an answer as the visitor of that origin gets them. */
  answer(fields: readonly Field[], visited: Origin): Field[]
}

/** The origin that a visitor sees, as the server tells it (lib/http/forwarded.ts). */
export function visitedOrigin(fields: readonly Field[]): Origin {
  const proto = firstOf(fields, 'x-forwarded-proto') === 'https' ? 'https' : 'http'
  const hosts = [firstOf(fields, 'x-forwarded-host'), valueOf(fields, 'host')]
  const url = hosts.map((host) => `${proto}://${host ?? ''}`).find((text) => URL.canParse(text))
  return url === undefined ? `${proto}://localhost` : new URL(url).origin
}

function firstOf(fields: readonly Field[], name: string): string | undefined {
  return valueOf(fields, name)?.split(',', 1)[0]?.trim()
}

/** Throws `usage`. */
export function identity({ hostHeader }: IdentityOptions, target: Target): Identity | undefined {
  if (hostHeader === undefined) return undefined
  const own = new URL(originOf(target))
  const host = hostHeader === 'rewrite' ? own.host : parseHostHeader(hostHeader)
  const self = `${own.protocol}//${host}`
  const known = [self, ...selvesOf(own)]
  return {
    request: (fields, visited) => requestAs(fields, self, visited),
    answer: (fields, visited) => answerAs(fields, known, visited),
  }
}

function parseHostHeader(text: string): string {
  if (/^[a-z0-9._-]+(:\d+)?$|^\[[0-9a-f:.]+\](:\d+)?$/i.test(text) && URL.canParse(`http://${text}`))
    return text.toLowerCase()
  const message = `expected --host-header rewrite or a host such as myapp.test:8080, got ${JSON.stringify(text)}`
  throw new TunnelError('usage', message)
}

const loopbacks = ['localhost', '127.0.0.1', '[::1]']

/** What a service may call itself: on this machine by any of its names. */
function selvesOf(own: URL): Origin[] {
  const hosts = loopbacks.includes(own.hostname) ? loopbacks : [own.hostname]
  const port = own.port === '' ? '' : `:${own.port}`
  return hosts.map((host) => `${own.protocol}//${host}${port}`)
}

const told = new Set(['x-forwarded-host', 'x-forwarded-port', 'x-forwarded-proto', 'forwarded'])
const named = new Set(['origin', 'referer', 'destination'])

function requestAs(fields: readonly Field[], self: Origin, visited: Origin): Field[] {
  const publicOnes = [visited, `http://${valueOf(fields, 'host')}`]
  return without(fields, told).map(({ name, value }) => {
    const lower = name.toLowerCase()
    if (lower === 'host') return { name, value: authorityOf(self) }
    return { name, value: named.has(lower) ? moved(value, publicOnes, self) : value }
  })
}

const naming = new Set(['location', 'content-location', 'access-control-allow-origin'])

function answerAs(fields: readonly Field[], known: readonly Origin[], visited: Origin): Field[] {
  return fields.map(({ name, value }) => {
    const lower = name.toLowerCase()
    if (lower === 'set-cookie') return { name, value: cookieFor(value, known, visited) }
    return { name, value: naming.has(lower) ? moved(value, known, visited) : value }
  })
}

/** A URL whose authority is one of `from`, whatever its scheme, moved to `to`; any other value as it is. */
function moved(url: string, from: readonly Origin[], to: Origin): string {
  const [, scheme, authority = '', rest = ''] = /^(?:(https?):)?\/\/([^/?#]+)(.*)$/is.exec(url) ?? []
  if (!from.some((origin) => authorityOf(origin) === plain(scheme ?? schemeOf(origin), authority))) return url
  return scheme === undefined ? `//${authorityOf(to)}${rest}` : `${to}${rest}`
}

function cookieFor(cookie: string, known: readonly Origin[], visited: Origin): string {
  return cookie.replace(
    /(;[ \t]*domain[ \t]*=[ \t]*)\.?([^;]*)/i,
    (whole, attribute: string, value: string) => {
      const domain = value.trim().toLowerCase()
      const isOwn = known.some((origin) => isWithin(new URL(origin).hostname, domain))
      return isOwn ? `${attribute}${new URL(visited).hostname}` : whole
    },
  )
}

/** Whether a cookie of this domain is for the host (RFC 6265 section 5.1.3). */
function isWithin(host: string, domain: string): boolean {
  return host === domain || (domain !== '' && host.endsWith(`.${domain}`))
}

function schemeOf(origin: Origin): string {
  return origin.slice(0, origin.indexOf(':'))
}

function authorityOf(origin: Origin): string {
  return plain(schemeOf(origin), origin.slice(origin.indexOf('://') + 3))
}

/** In lower case, without the scheme's own port. */
function plain(scheme: string, authority: string): string {
  const own = /^https$/i.test(scheme) ? /:(443)?$/ : /:(80)?$/
  return authority.toLowerCase().replace(own, '')
}
