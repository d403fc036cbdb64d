/** Where a server is seen from outside: its own host, and the public address of each name under it. */
import { isIP } from 'node:net'
import { TunnelError } from './errors.ts'

export interface SiteOptions {
  /** The server's own host name: it serves `*.host`. Default 'localhost', or the host of `publicUrl`. */
  host?: string | undefined
  /** Where visitors reach the server when a proxy stands in front, such as `https://lvh.me`. */
  publicUrl?: string | undefined
}

export interface Site {
  readonly host: string
  /** Of the landing page. */
  readonly url: string
  /** What a client is started with to reach it. */
  readonly clientOptions: string
  /** Such as `myapp.lvh.me:9999`; the port is left out where it is the scheme's own. */
  hostOf(name: string): string
  urlOf(name: string): string
}

/**
 * `port` and `scheme` are where the server itself listens, and count where no public URL says otherwise. Throws `usage`
 * when there can be no names under the host.
 */
export function siteOf({ host, publicUrl }: SiteOptions): (port: number, scheme: 'http' | 'https') => Site {
  const seen = publicUrl === undefined ? undefined : parse(publicUrl)
  const own = (host ?? seen?.hostname ?? 'localhost').toLowerCase()
  if (isIP(own.replace(/^\[|\]$/g, '')) !== 0) {
    throw new TunnelError(
      'usage',
      `expected a host name to serve names under, such as lvh.me, got the address ${own}`,
    )
  }
  if (!/^[a-z0-9_-]+(\.[a-z0-9_-]+)*$/.test(own) || own.length > 189) throw noHost(own)
  return (port, scheme) => {
    const url = seen ?? new URL(`${scheme}://${own}:${port}`)
    const suffix = url.port === '' ? '' : `:${url.port}`
    const hostOf = (name: string) => `${name}.${own}${suffix}`
    const home = `${url.protocol}//${own}${suffix}`
    const clientOptions = url.protocol === 'https:' ? `-h ${home}` : `-h ${own} -p ${url.port || '80'}`
    return {
      host: own,
      url: home,
      clientOptions,
      hostOf,
      urlOf: (name) => `${url.protocol}//${hostOf(name)}`,
    }
  }
}

/** A name under it is a host name too: 253 characters at most (RFC 1035 section 2.3.4), of which a label has 63. */
function noHost(own: string): TunnelError {
  const got = JSON.stringify(own.slice(0, 200))
  return new TunnelError(
    'usage',
    `expected a host name of letters, digits and hyphens, such as lvh.me, got ${got}`,
  )
}

function parse(publicUrl: string): URL {
  const url = URL.canParse(publicUrl) ? new URL(publicUrl) : undefined
  const isPlain =
    url !== undefined && /^https?:$/.test(url.protocol) && `${url.pathname}${url.search}${url.hash}` === '/'
  if (isPlain && `${url.username}${url.password}` === '') return url
  throw new TunnelError(
    'usage',
    `expected --public-url to be such as https://lvh.me, got ${JSON.stringify(publicUrl)}`,
  )
}
