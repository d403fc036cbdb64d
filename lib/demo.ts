/** The sample site of `--demo`: a page that shows what the local service sees of its visitor. */
import http from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { escape, page } from './answer.ts'
import { isLoopbackName } from './hello.ts'

interface Elsewhere {
  host: string
  tls?: boolean
  cert?: string
  publicUrl?: string
  proxy?: string | false
}

/** The options without what leads to another machine, as a config file may have it: a demo is in one process. */
export function onThisMachine<O extends Elsewhere>(options: O): Omit<O, 'proxy'> & { proxy: false } {
  const here = {
    ...options,
    proxy: false as const,
    host: isLoopbackName(options.host) ? options.host : 'localhost',
  }
  for (const key of ['tls', 'cert', 'publicUrl'] as const) delete here[key]
  return here
}

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
