/**
 * Answers of our own: when no tunnel or no local service speaks, groktunnel says so itself, in a page for
 * browsers, JSON for who asks for it, and one line of text for all others. Nothing the visitor sent is run, nothing
 * is cached or indexed, and `X-Groktunnel-Error` tells machines who speaks.
 */
import { STATUS_CODES } from 'node:http'
import type { TunnelError } from './errors.ts'
import type { Field } from './http/fields.ts'

interface Asker {
  method: string
  fields: readonly Field[]
}

/** Who asks in a head that cannot be taken, as far as it can be read. */
export function askerIn(head: Buffer): Asker {
  const text = head.toString('latin1')
  const value = /^accept:([^\r\n]*)/im.exec(text)?.[1] ?? ''
  return { method: /^\s*HEAD /.test(text) ? 'HEAD' : 'GET', fields: [{ name: 'Accept', value }] }
}

/** The answer made last. Floods of the same failure share one. */
let last: { key: string; bytes: Buffer } = { key: '', bytes: Buffer.alloc(0) }

/** The whole HTTP answer to a failed request, after which the connection is closed (RFC 9112 section 9.6). */
export function answer(error: TunnelError, asker?: Asker): Buffer {
  const accept = asker?.fields.find(({ name }) => name.toLowerCase() === 'accept')?.value ?? ''
  const isHead = asker?.method === 'HEAD'
  const date = new Date().toUTCString()
  const key = `${date} ${error.code} ${isHead} ${accept} ${error.message}`
  if (last.key !== key) last = { key, bytes: compose(error, { accept, isHead, date }) }
  return last.bytes
}

function compose(
  error: TunnelError,
  { accept, isHead, date }: { accept: string; isHead: boolean; date: string },
): Buffer {
  const { status } = error
  const reason = STATUS_CODES[status] ?? 'Error'
  const { type, text } = bodyFor(accept, `${status} ${reason}`, error)
  const body = Buffer.from(text)
  const lines = [
    `HTTP/1.1 ${status} ${reason}`,
    `Date: ${date}`,
    `Content-Type: ${type}; charset=utf-8`,
    `Content-Length: ${body.length}`,
    'Connection: close',
    'Cache-Control: no-store',
    'X-Robots-Tag: noindex',
    'X-Content-Type-Options: nosniff',
    "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'",
    `X-Groktunnel-Error: ${error.code}`,
  ]
  if (status === 503) lines.push('Retry-After: 5')
  if (status === 405) lines.push('Allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH')
  const head = Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1')
  return isHead ? head : Buffer.concat([head, body])
}

function bodyFor(
  accept: string,
  title: string,
  { code, message }: TunnelError,
): { type: string; text: string } {
  if (/\btext\/html\b/i.test(accept))
    return { type: 'text/html', text: page(title, `<p>${escape(message)}</p>`) }
  if (/\bapplication\/json\b/i.test(accept)) {
    return { type: 'application/json', text: `${JSON.stringify({ code, message })}\n` }
  }
  return { type: 'text/plain', text: `${title}: ${message}\n` }
}

/** A small page in the visitor's own colours, without scripts. `inner` must be HTML already. */
export function page(title: string, inner: string): string {
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="robots" content="noindex">
<title>${escape(title)}</title>
<style>
  :root { color-scheme: light dark }
  body { font: 1rem/1.6 system-ui, sans-serif; max-width: 38rem; margin: 15vh auto; padding: 0 1.5rem }
  pre, code { font: 0.95em ui-monospace, monospace }
  footer { opacity: 0.6 }
</style>
<h1>${escape(title)}</h1>
${inner}
<footer>groktunnel</footer>
</html>
`
}

/** Text made harmless inside HTML. */
export function escape(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}
