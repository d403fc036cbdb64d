/**
 * The head of a request (RFC 9112 section 3, RFC 9110 section 7). Every rule is one guard with its section.
 *
 *   two words, as HTTP/0.9 has them; any version but 1.0 and 1.1; the HTTP/2 preface   505   RFC 9112 section 2.3
 *   not exactly one space between three parts, spaces round the line      400   RFC 9112 section 3
 *   a method that is no token 400, longer than 32 characters 501          RFC 9110 section 9.1, RFC 9112 section 3
 *   CONNECT                                                               405   RFC 9110 section 9.3.6
 *   a target of other than visible ASCII, or with a fragment              400   RFC 9112 section 3.2
 *   a target that is not origin-form, http(s) absolute-form or OPTIONS *  400   RFC 9112 section 3.2
 *   absolute-form whose authority is not Host's, or has userinfo          400   RFC 9112 section 3.2, RFC 9110 4.2.4
 *   Host missing, repeated or malformed                                   400   RFC 9112 section 3.2
 *   Connection naming Host or a framing field                             400   RFC 9110 section 7.6.1
 */
import { connectionOptions, type Field, isToken, parseFields, persists, valuesOf } from './fields.ts'
import { type Framing, requestFraming } from './framing.ts'
import { parseAuthority, sameAuthority } from './host.ts'
import { confirmRequest } from './parser.ts'
import { refuse } from './refuse.ts'

const longestMethod = 32

export interface RequestLine {
  method: string
  target: string
  version: '1.0' | '1.1'
}

export interface RequestHead extends RequestLine {
  fields: Field[]
  /** the authority in Host, in lower case, port and trailing dot kept */
  host: string
  framing: Framing
  keepAlive: boolean
  /** the lower-case options of Connection */
  options: string[]
  /** the value of Upgrade when Connection lists it */
  upgrade: string | undefined
  /** the bytes as sent, last empty line included, without a leading one */
  raw: Buffer
}

/** Checks a first line, without its CRLF. Throws 400, 405, 501, 505. */
export function parseRequestLine(line: string): RequestLine {
  const first = line.indexOf(' ')
  const last = line.lastIndexOf(' ')
  const method = line.slice(0, Math.max(first, 0))
  const version = last > first ? line.slice(last + 1) : 'HTTP/0.9'
  if (!isToken(method) || last === line.length - 1 || line.includes('\t'))
    throw refuse('bad-request', 'method, target and version', line, 'RFC 9112 section 3')
  if (version !== 'HTTP/1.1' && version !== 'HTTP/1.0') throw badVersion(version)
  const target = line.slice(first + 1, last)
  checkMethod(method)
  checkTarget(method, target)
  return { method, target, version: version === 'HTTP/1.1' ? '1.1' : '1.0' }
}

/** The whole head. Throws 400, 405, 501, 505. */
export function parseRequest(raw: Buffer): RequestHead {
  const text = raw.toString('latin1')
  const lineEnd = text.indexOf('\r\n')
  const { method, target, version } = parseRequestLine(text.slice(0, lineEnd))
  const fields = parseFields(text, lineEnd + 2)
  confirmRequest(raw, { method, target, fields })
  const host = parseHost(target, fields)
  const options = connectionOptions(fields)
  checkOptions(options)
  const upgrade = version === '1.1' && options.includes('upgrade') ? upgradeOf(fields) : undefined
  const framing = requestFraming(version, fields)
  return {
    method,
    target,
    version,
    fields,
    host,
    framing,
    keepAlive: persists(version, options),
    options,
    upgrade,
    raw,
  }
}

function badVersion(version: string): Error {
  const code = /^HTTP\/[0-9.]+$/.test(version) ? 'version-not-supported' : 'bad-request'
  return refuse(code, 'HTTP/1.1 or HTTP/1.0', version, 'RFC 9112 section 2.3')
}

function checkMethod(method: string): void {
  if (method.length > longestMethod)
    throw refuse('not-implemented', `a method of ${longestMethod} characters`, method, 'RFC 9112 section 3')
  if (method === 'CONNECT')
    throw refuse('method-not-allowed', 'a method for a resource', method, 'RFC 9110 section 9.3.6')
}

function checkTarget(method: string, target: string): void {
  const form = method === 'OPTIONS' && target === '*' ? true : /^(?:\/|https?:\/\/)/i.test(target)
  if (!form) throw refuse('bad-request', 'a path or an http URL', target, 'RFC 9112 section 3.2')
  // lenient than RFC 3986, as browsers are: | [ ] { } " ^ ` \ come unencoded and mean nothing to a reader of hosts
  if (!/^[!"$-~]+$/.test(target))
    throw refuse('bad-request', 'a target of visible ASCII without #', target, 'RFC 9112 section 3.2')
}

function parseHost(target: string, fields: readonly Field[]): string {
  const hosts = valuesOf(fields, 'host')
  if (hosts.length !== 1) throw refuse('bad-request', 'one Host', hosts.join(', '), 'RFC 9112 section 3.2')
  const host = parseAuthority(hosts[0] ?? '')
  const [, scheme, authority] = /^(https?):\/\/([^/?]*)/i.exec(target) ?? []
  if (scheme === undefined || authority === undefined) return host
  if (!sameAuthority(scheme.toLowerCase(), parseAuthority(authority), host))
    throw refuse('bad-request', `the authority of Host, ${host}`, authority, 'RFC 9112 section 3.2')
  return host
}

/** A proxy that drops what Connection names would drop what the request is routed and framed by. */
function checkOptions(options: readonly string[]): void {
  for (const option of options) {
    if (option === 'host' || option === 'content-length' || option === 'transfer-encoding')
      throw refuse('bad-request', 'a hop-by-hop field in Connection', option, 'RFC 9110 section 7.6.1')
  }
}

function upgradeOf(fields: readonly Field[]): string | undefined {
  const values = valuesOf(fields, 'upgrade')
  return values.length > 0 ? values.join(', ') : undefined
}
