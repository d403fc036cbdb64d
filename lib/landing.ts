/** What the server's own host shows: what this is, and the line to paste. HTML for a browser, text for curl. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { escape, page } from './answer.ts'
import { refuse, upgradeRequired } from './hello.ts'
import type { Site } from './site.ts'

/** A request listener for the server's own host. Every answer closes the connection, so no pool can reuse it. */
export function landing(site: () => Site): (request: IncomingMessage, response: ServerResponse) => void {
  return (request, response) => {
    if (request.headers['x-subdomain'] !== undefined) return refuse(request.socket, upgradeRequired())
    const line = `npx groktunnel ${site().clientOptions} 3000`
    const isBrowser = /\btext\/html\b/i.test(request.headers.accept ?? '')
    const text = `groktunnel: makes a port of your machine public here. To share port 3000:\n\n    ${line}\n`
    const html = page(
      'groktunnel',
      `<p>Makes a port of your machine public here. To share port 3000:</p><pre>${escape(line)}</pre>`,
    )
    response.setHeader('Content-Type', `text/${isBrowser ? 'html' : 'plain'}; charset=utf-8`)
    response.setHeader('X-Robots-Tag', 'noindex')
    response.setHeader('Connection', 'close')
    response.end(isBrowser ? html : text)
  }
}
