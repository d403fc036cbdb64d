/** A server, and a client that delivers as asked to: the way of a visitor to a target of any kind. */
import { once } from 'node:events'
import http, { type IncomingMessage, type RequestListener } from 'node:http'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { serve } from '../groktunnel.ts'
import { delivery, type DeliverOptions } from '../lib/deliver/deliver.ts'
import { register } from '../lib/hello.ts'
import { Session } from '../lib/mux.ts'
import { parseTarget } from '../lib/target.ts'
import { startServer, within } from './helpers.ts'

export interface DeliveredWay {
  port: number
  host: string
  /** Such as http://x.localhost:1234. */
  url: string
  /** What the client was told to tell its user. */
  hints: string[]
}

/** A tunnel to `target`, as the command line names it; from a server for `host`, default localhost. */
export async function deliverTo(
  t: TestContext,
  target: string | number,
  { host = 'localhost', ...options }: DeliverOptions & { host?: string } = {},
): Promise<DeliveredWay> {
  const hints: string[] = []
  const deliver = await delivery(parseTarget(String(target)), {
    onHint: (hint) => hints.push(hint),
    ...options,
  })
  const { port } = host === 'localhost' ? await startServer(t) : await serverFor(t, host)
  const { socket, publicHost, publicUrl } = await register({ host, port })
  const session = new Session(socket, { side: 'client' })
  session.on('channel', deliver)
  t.after(() => session.close())
  return { port, host: publicHost, url: publicUrl, hints }
}

async function serverFor(t: TestContext, host: string): Promise<{ port: number }> {
  const server = await serve({ host, port: 0 })
  t.after(() => server.close())
  return server
}

/** A folder of the test's own. */
export function tempFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'groktunnel-'))
  t.after(() => rmSync(folder, { recursive: true }))
  return folder
}

/** A local HTTP service wherever it is asked to listen. */
export async function serviceAt(
  t: TestContext,
  where: { port?: number; host?: string; path?: string },
  listener: RequestListener,
): Promise<http.Server> {
  const app = http.createServer(listener)
  t.after(() => {
    app.close()
    app.closeAllConnections()
  })
  app.listen(where)
  await once(app, 'listening')
  return app
}

/** Sends a request and gives its answer when the head of that is there. */
export async function answerOf(
  way: { port: number; host: string },
  options: http.RequestOptions = {},
  send: (request: http.ClientRequest) => void = (request) => request.end(),
): Promise<IncomingMessage> {
  const headers = { host: way.host, ...(options.headers as Record<string, string> | undefined) }
  const request = http.request({ host: '127.0.0.1', agent: false, ...options, port: way.port, headers })
  const answer = once(request, 'response') as Promise<[IncomingMessage]>
  send(request)
  const [response] = await within(answer, `an answer to ${options.path ?? '/'}`)
  return response
}

/** The fields of a request or an answer, as they came. */
export function linesOf({ rawHeaders }: IncomingMessage): string[] {
  const lines: string[] = []
  for (let at = 0; at < rawHeaders.length; at += 2) lines.push(`${rawHeaders[at]}: ${rawHeaders[at + 1]}`)
  return lines
}
