/**
 * What the tests of the vhost share: tunnels of one server whose local services read requests by the strict reader
 * and answer as the test says, byte for byte. A test of the vhost has two of them, and looks for what strayed.
 */
import type { Socket } from 'node:net'
import type { TestContext } from 'node:test'
import { serve, type ServeOptions, type Server } from '../groktunnel.ts'
import { RequestReader } from '../lib/http/reader.ts'
import type { RequestHead } from '../lib/http/request.ts'
import { openTunnel, tcpApp, type Way } from './helpers.ts'

/** A server with options, on a free port; it gives nobody time when it closes. */
export async function serverWith(t: TestContext, options: ServeOptions): Promise<Server> {
  const server = await serve({ port: 0, graceMs: 0, ...options })
  // Not awaited: it waits for visitors to leave, and the test lets them go in a later hook.
  t.after(() => void server.close())
  return server
}

export interface Asked {
  head: RequestHead
  /** as it came over the wire */
  body: string
}

export interface App extends Way {
  name: string
  /** every byte that came, as latin1 */
  came: string
  /** the requests that came whole */
  asked: Asked[]
  connections: number
  sockets: Set<Socket>
}

/** Called for each whole request; returns the bytes to answer with, or answers on `socket` by itself. */
export type AnswerTo = (asked: Asked, socket: Socket) => string | undefined | void

/** A tunnel named `name` to a local service that answers as `answerTo` says. */
export async function appTunnel(
  t: TestContext,
  server: Server,
  name: string,
  answerTo: AnswerTo = echo(name),
): Promise<App> {
  const local = await tcpApp(t, (socket) => {
    app.connections += 1
    onRequest(socket, (asked) => {
      app.asked.push(asked)
      const answer = answerTo(asked, socket)
      if (answer !== undefined) socket.write(answer, 'latin1')
    })
    socket.on('data', (bytes) => (app.came += bytes.toString('latin1')))
    socket.on('end', () => socket.end())
  })
  const app: App = { name, came: '', asked: [], connections: 0, sockets: local.sockets, ...emptyWay }
  return Object.assign(app, await openTunnel(t, server, local.port, name))
}

const emptyWay = {} as Way

/** Tells of each whole request; stops for good at what is none, and after an upgrade was asked for. */
export function onRequest(socket: Socket, tell: (asked: Asked) => void): void {
  const reader = new RequestReader({ headBytes: 70_000, fields: 205 }) // as the server's, and what it adds
  let body = ''
  const onData = (bytes: Buffer) => {
    for (let at = 0; at < bytes.length || reader.event === 'head';) {
      const from = at
      at += reader.read(bytes, at)
      if (reader.event === 'head') body = ''
      else if (reader.event !== 'more') body += bytes.toString('latin1', from, at)
      if (reader.event !== 'end' || reader.head === undefined) continue
      tell({ head: reader.head, body })
      if (reader.head.upgrade !== undefined) return void socket.off('data', onData)
    }
  }
  socket.on('data', onData)
}

/** Answers with who was asked for what: `<one GET /path>` and the body. */
export function echo(name: string): AnswerTo {
  return ({ head, body }) =>
    head.method === 'HEAD'
      ? ok('', `X-App: ${name}\r\n`)
      : ok(`<${name} ${head.method} ${head.target}>${body}`)
}

export function ok(body: string, fields = ''): string {
  return `HTTP/1.1 200 OK\r\n${fields}Content-Length: ${body.length}\r\n\r\n${body}`
}

/** Two tunnels of one server. */
export async function twoTunnels(
  t: TestContext,
  options: ServeOptions = {},
  answers: { one?: AnswerTo; two?: AnswerTo } = {},
): Promise<{ server: Server; one: App; two: App }> {
  const server = await serverWith(t, options)
  const one = await appTunnel(t, server, 'one', answers.one)
  return { server, one, two: await appTunnel(t, server, 'two', answers.two) }
}

/** A request's head without a body; `fields` are whole lines. */
export function get(way: { host: string }, path = '/', fields = ''): string {
  return `GET ${path} HTTP/1.1\r\nHost: ${way.host}\r\n${fields}\r\n`
}

export function post(way: { host: string }, path: string, body: string): string {
  return `POST ${path} HTTP/1.1\r\nHost: ${way.host}\r\nContent-Length: ${body.length}\r\n\r\n${body}`
}

/** Who answered, in order, as `echo` says it. */
export function whoAnswered(text: string): string[] {
  return [...text.matchAll(/<(\w+ \w+ \S+)>/g)].map(([, who]) => who ?? '')
}

/** The status of each answer of ours and of `echo`'s, in order. */
export function statuses(text: string): number[] {
  return [...text.matchAll(/HTTP\/1\.1 (\d{3}) [\w ]+\r\n/g)].map(([, status]) => Number(status))
}

const forwarded = /^(?:X-Forwarded-(?:For|Proto|Host|Port)|Forwarded): .*\r\n/gm

/** What came to a local service, without what the server adds. */
export function asSent(came: string): string {
  return came.replace(forwarded, '')
}
