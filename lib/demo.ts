/** The sample site of `--demo`: a page that shows what the local service sees of its visitor. */
import http from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { escape, page } from './answer.ts'

/** Serves the sample site on a free port of 127.0.0.1 and returns the port. It ends with `signal`. */
export async function serveSampleSite(signal: AbortSignal): Promise<string> {
  const server = http.createServer((request, response) => {
    const seen = `${request.method} ${request.url} HTTP/${request.httpVersion}\n${headerLines(request.rawHeaders)}`
    const inner = `<p>This page came through a tunnel. Your request, as the local service saw it:</p><pre>${escape(seen)}</pre>`
    response.setHeader('Content-Type', 'text/html; charset=utf-8')
    response.end(page('It works', inner))
  })
  signal.addEventListener('abort', () => {
    server.close()
    server.closeAllConnections()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return String((server.address() as AddressInfo).port)
}

function headerLines(raw: readonly string[]): string {
  let lines = ''
  for (let at = 0; at < raw.length; at += 2) lines += `${raw[at]}: ${raw[at + 1]}\n`
  return lines
}
