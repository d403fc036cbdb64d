/**
 * The way to the server through an HTTP proxy, by CONNECT (RFC 9110 section 9.3.6) whether the server speaks http or
 * https: what a session carries, no proxy could read. What goes wrong at the proxy is told as the proxy's doing, and
 * never taken for an answer of the server.
 *
 * It speaks no SOCKS, and proves who we are by Basic alone.
 */
import { type Agent, type ClientRequest, STATUS_CODES } from 'node:http'
import { isIP, isIPv6, type Socket } from 'node:net'
import { checkServerIdentity, type PeerCertificate } from 'node:tls'
import { HttpsProxyAgent } from 'https-proxy-agent'
import { getProxyForUrl } from 'proxy-from-env'
import { certificateError } from '../certificates.ts'
import { codeOf, TunnelError } from '../errors.ts'

export interface ProxiedServer {
  host: string
  port: number
  /** The server speaks TLS. */
  tls?: boolean | undefined
  /** The proxy's URL, or false for none; default as the environment says. */
  proxy?: string | false | undefined
  /** PEM certificates of authorities to trust instead of the usual ones, for a proxy that speaks https. */
  ca?: string | undefined
  /** For the proxy to connect; default 10,000. */
  timeoutMs?: number | undefined
  /** Aborting it gives up on the proxy; a connection that was made stays. */
  signal?: AbortSignal | undefined
}

/**
 * An agent with which requests reach `server` through a proxy: the given one, or that of HTTPS_PROXY, ALL_PROXY and
 * NO_PROXY in process.env; undefined where there is none. It keeps no connection. A request fails with `unreachable`
 * or `bad-certificate` where the proxy is to blame. Throws `usage` when the proxy's URL is none.
 */
export function proxyAgent(server: ProxiedServer): Agent | undefined {
  const { proxy = fromEnvironment(server) } = server
  if (proxy === false) return undefined
  return new ConnectAgent(server, typeof proxy === 'string' ? parse(proxy, '--proxy') : proxy)
}

interface Proxy {
  /** Without user and password. */
  url: URL
  headers: Record<string, string>
  /** The option or the variable that it comes from, to name in errors. */
  source: string
}

/** In the order in which proxy-from-env looks at them, each in lower case first. */
const variables = ['npm_config_https_proxy', 'https_proxy', 'npm_config_proxy', 'all_proxy']

/** As with curl, also this machine is behind the proxy unless NO_PROXY says otherwise. */
function fromEnvironment({ host, port }: ProxiedServer): Proxy | false {
  const isExcepted = domainsOf(host).some((domain) => isDirect(domain, port))
  const names = variables.flatMap((name) => [name, name.toUpperCase()])
  const source = isExcepted ? undefined : names.find((name) => process.env[name])
  return source === undefined ? false : parse(process.env[source] ?? '', source)
}

/** The host and what it belongs to: in NO_PROXY, curl takes `example.com` for `a.example.com` as well. */
function domainsOf(host: string): string[] {
  if (isIP(host) !== 0) return [isIPv6(host) ? `[${host}]` : host]
  const labels = host.toLowerCase().split('.')
  return labels.map((_, at) => labels.slice(at).join('.'))
}

function isDirect(domain: string, port: number): boolean {
  // Not as text, which would be read by url.parse, of which Node 24 warns.
  const url = { protocol: 'https:', host: `${domain}:${port}`, port: String(port) }
  return getProxyForUrl(url as Parameters<typeof getProxyForUrl>[0]) === ''
}

/** As with curl, http:// may be left out. A password is not repeated, and kept from the package, which logs the URL. */
function parse(text: string, source: string): Proxy {
  try {
    const url = new URL(text.includes('://') ? text : `http://${text}`)
    const headers = credentials(url)
    url.username = url.password = ''
    if (/^https?:$/.test(url.protocol)) return { url, headers, source }
  } catch {
    // no URL, or %-escapes that mean nothing
  }
  throw new TunnelError(
    'usage',
    `expected ${source} to be such as http://user:password@proxy:3128, got another kind of URL or none; ` +
      'percent-encode what is special in user and password',
  )
}

function credentials({ username, password }: URL): Record<string, string> {
  if (username === '' && password === '') return {}
  const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`
  return { 'Proxy-Authorization': `Basic ${Buffer.from(pair).toString('base64')}` }
}

type Target = Parameters<HttpsProxyAgent<string>['connect']>[1]

class ConnectAgent extends HttpsProxyAgent<string> {
  readonly #server: ProxiedServer
  readonly #source: string

  constructor(server: ProxiedServer, { url, headers, source }: Proxy) {
    super(url, { ca: server.ca, headers })
    this.#server = server
    this.#source = source
  }

  /** The package would look for https in the stack trace. */
  override isSecureEndpoint(): boolean {
    return this.#server.tls === true
  }

  override async connect(request: ClientRequest, target: Target): Promise<Socket> {
    const { timeoutMs = 10_000, signal } = this.#server
    signal?.throwIfAborted()
    // Destroying a request does not reach the connection that is being made for it.
    const dial = new AbortController()
    const giveUp = () => dial.abort()
    const timer = setTimeout(giveUp, timeoutMs)
    signal?.addEventListener('abort', giveUp)
    try {
      this.connectOpts = { ...this.connectOpts, signal: dial.signal }
      return await this.#dial(request, target)
    } catch (error) {
      if (signal?.aborted) throw error
      throw this.#blame(target, dial.signal.aborted ? `nothing within ${timeoutMs / 1000} s` : error)
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener('abort', giveUp)
    }
  }

  /** The package hands a refusal on as if it were the server's answer; here it is thrown. */
  async #dial(request: ClientRequest, target: Target): Promise<Socket> {
    let status = 0
    request.once('proxyConnect', (answer: { statusCode: number }) => (status = answer.statusCode))
    const socket = await super.connect(request, identified(target))
    if (status === 200) return socket
    socket.destroy()
    const reason = STATUS_CODES[status] ?? ''
    throw this.#blame(target, Number.isInteger(status) ? `HTTP ${status} ${reason}`.trim() : notHttp)
  }

  #blame({ host, port }: Target, cause: unknown): Error {
    if (cause instanceof TunnelError) return cause
    const proxy = `the proxy ${this.proxy.host}`
    const came = typeof cause === 'string' ? cause : nameOf(cause)
    const cure = came.startsWith('HTTP 407') ? 'put user and password into' : 'check'
    const message = `expected ${proxy} to connect to ${host}:${port}, got ${came}; ${cure} ${this.#source}`
    return certificateError(cause, proxy) ?? new TunnelError('unreachable', message, { cause })
  }
}

const notHttp = 'an answer that is not HTTP'

/** Not the text of an error, for that may be the proxy's. */
function nameOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? codeOf(error) : notHttp
}

/** The package forgets whose certificate to expect where the server has an address for a name. */
function identified(target: Target): Target {
  const { host = '' } = target
  const isFor = (_: string, certificate: PeerCertificate) => checkServerIdentity(host, certificate)
  return { ...target, checkServerIdentity: isFor } as Target
}
