/**
 * Serves the files of a folder as they are at the time of each request: index.html, ranges and ETags by sirv, of which
 * this is the only importer. Symbolic links are followed, but not out of the folder; what begins with a dot is not shown,
 * but .well-known. Not done: listings.
 *
 * sirv leaves to others what goes wrong while a file is read, some forms of Range, names with ?, # or & in them, and the
 * charset of texts; all are seen to here.
 */
import { type ReadStream, realpathSync, type Stats, statSync } from 'node:fs'
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { isAbsolute, join, relative, resolve, sep } from 'node:path'
import sirv from 'sirv'
import { page } from '../answer.ts'
import { cut } from '../ending.ts'
import { TunnelError } from '../errors.ts'
import { refuse } from './refusal.ts'

/** A listener that serves a folder; it may throw a TunnelError. Throws `usage` when there is none. */
export function directory(folder: string): RequestListener {
  const root = resolve(folder)
  if (!isFolder(root))
    throw new TunnelError('usage', `expected a folder at ${folder}, got none; check the path`)
  const serve = sirv(root, { dev: true, etag: true, setHeaders: prepare, onNoMatch: notFound })
  return (request, response) => {
    const [path = '', query] = (request.url ?? '/').split(/(?=\?)/)
    const name = decoded(path)
    if (request.method !== 'GET' && request.method !== 'HEAD') return notAllowed(request, response)
    if (/\/\.(?!well-known(\/|$))/.test(name) || /%2f/i.test(path) || /\/groktunnel\.toml$/i.test(name))
      return notFound(request, response)
    if (!name.endsWith('/') && isFolder(join(root, name))) return redirect(response, path, query)
    response.on('pipe', (file: ReadStream) => {
      if (isWithin(root, file.path.toString())) return watch(file, request, response)
      file.on('error', () => undefined).destroy()
      refuse(request, response, new TunnelError('forbidden', 'this link leads out of the folder'))
    })
    serve(asNamed(request, name), typed(response))
  }
}

/** sirv would leave some characters encoded; it takes a path from here, and decodes that once more. */
function asNamed(request: IncomingMessage, name: string): IncomingMessage {
  return Object.assign(request, { _parsedUrl: { raw: request.url, pathname: encodeURI(name) } })
}

/** sirv names the charset of html only, and an empty type where it knows none. */
function typed(response: ServerResponse): ServerResponse {
  if (response.hasHeader('Content-Type')) return response
  const writeHead = response.writeHead.bind(response) as (status: number, fields: object) => ServerResponse
  return Object.assign(response, {
    writeHead(status: number, { 'Content-Type': type = '', ...fields }: Record<string, string> = {}) {
      if (type === '') return writeHead(status, fields)
      const charset = /^text\/[^;]+$/.test(type) ? ';charset=utf-8' : ''
      return writeHead(status, { 'Content-Type': type + charset, ...fields })
    },
  })
}

/** Whether a file that may be behind symbolic links is in the folder, wherever that is. */
function isWithin(folder: string, path: string): boolean {
  try {
    const way = relative(realpathSync(folder), realpathSync(path))
    return way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way)
  } catch {
    return true // it went: that is told when it is read
  }
}

function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory()
  } catch {
    return false
  }
}

/** The name in a path; one that cannot be decoded is meant as it is. */
function decoded(path: string): string {
  try {
    return decodeURIComponent(path)
  } catch {
    return path
  }
}

/** The links of an index.html are meant from inside its folder. */
function redirect(response: ServerResponse, path: string, query = ''): void {
  const location = `./${path.slice(path.lastIndexOf('/') + 1)}/${query}`
  response.writeHead(301, { Location: location, 'Content-Length': 0 }).end()
}

function notFound(request: IncomingMessage, response: ServerResponse): void {
  say(request, response, '404 Not Found')
}

function notAllowed(request: IncomingMessage, response: ServerResponse): void {
  response.setHeader('Allow', 'GET, HEAD')
  say(request.resume(), response, '405 Method Not Allowed')
}

function say({ headers }: IncomingMessage, response: ServerResponse, words: string): void {
  const isBrowser = /\btext\/html\b/i.test(headers.accept ?? '')
  response.statusCode = Number(words.slice(0, 3))
  response.setHeader('Content-Type', `text/${isBrowser ? 'html' : 'plain'}; charset=utf-8`)
  response.end(isBrowser ? page(words, '') : `${words}\n`)
}

/** What sirv sends is decided after this. */
function prepare(response: ServerResponse, _path: string, stats: Stats): void {
  if (!stats.isFile()) throw new TunnelError('forbidden', 'this is no file that can be served')
  const { headers } = response.req
  const isSame = headers['if-range'] === undefined || headers['if-range'] === stats.mtime.toUTCString()
  const range = isSame ? plainRange(headers.range ?? '', stats.size) : undefined
  if (range === undefined) delete headers.range
  else headers.range = range
  response.setHeader('Accept-Ranges', 'bytes')
}

/** One range from a first to a last byte; anything else may be ignored (RFC 9110 section 14.2). */
function plainRange(range: string, size: number): string | undefined {
  const [, first = '', last = ''] = /^bytes=(\d*)-(\d*)$/.exec(range) ?? []
  if (first === '' && last === '') return undefined
  const start = first === '' ? (Number(last) === 0 ? size : Math.max(0, size - Number(last))) : Number(first)
  const end = first === '' || last === '' ? size - 1 : Math.min(Number(last), size - 1)
  if (start >= size) return `bytes=${size}-` // which is answered with 416
  // sirv takes a last byte of 0 for none given.
  return end < start || (end === 0 && size > 1) ? undefined : `bytes=${start}-${end}`
}

/** A file may change, or not be readable: what was promised is sent, or the visitor is told. */
function watch(file: ReadStream, request: IncomingMessage, response: ServerResponse): void {
  const bytes = Number(response.getHeader('content-length'))
  const first = (file as { start?: number }).start ?? 0
  Object.assign(file, { end: first + bytes - 1 })
  file.on('error', () => {
    if (file.bytesRead > 0) cut(request.socket)
    else refuse(request, response, new TunnelError('forbidden', 'this file cannot be read'))
  })
  file.on('end', () => file.bytesRead === bytes || cut(request.socket))
  response.on('close', () => file.destroy())
  if (request.method !== 'HEAD') return
  file.destroy()
  response.end()
}
