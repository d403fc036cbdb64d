/**
 * Random pipelines of requests to two tunnels, and the bytes that must come back: the local services are node:http's
 * and answer with their name and what they were asked, so every answer is known in full before it is asked for. One
 * foreign, missing, doubled or misplaced byte fails. Run by fuzz-pipelines.ts.
 */
import assert from 'node:assert/strict'
import http from 'node:http'
import net from 'node:net'
import fc from 'fast-check'
import { connect, serve } from '../groktunnel.ts'
import { listening, within } from './helpers.ts'

export const names = ['one', 'two'] as const
const methods = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH', 'REPORT'] as const
const spellings = ['NAME.localhost', 'NAME.LOCALHOST:80', 'NAME.localhost.'] as const
const extras = [
  '',
  '',
  '',
  'Connection: Upgrade\r\nUpgrade: own\r\n',
  'X-Forwarded-For: 1.2.3.4\r\n',
  'Connection: x-who\r\n',
]

interface Request {
  name: (typeof names)[number]
  method: (typeof methods)[number]
  body: string
  framing: 'none' | 'length' | 'chunked'
  style: number
  host: string
  extra: string
  leading: string
}

interface Pipeline {
  requests: Request[]
  /** where to cut it into writes, as shares of its length */
  cuts: number[]
  /** the visitor says its FIN behind the last request */
  isEnded: boolean
}

const text = fc.string({
  unit: fc.constantFrom('a', '\r\n', '\n', '0', ' ', 'GET / HTTP/1.1\r\n', '\xff', ':'),
  maxLength: 40,
})
const request: fc.Arbitrary<Request> = fc
  .record({
    name: fc.constantFrom(...names),
    method: fc.constantFrom(...methods),
    body: text,
    framing: fc.constantFrom('none', 'none', 'length', 'chunked'),
    style: fc.nat(3),
    host: fc.constantFrom(...spellings),
    extra: fc.constantFrom(...extras),
    leading: fc.constantFrom('', '', '', '\r\n'),
  })
  .map((one) => ({ ...one, body: one.framing === 'none' ? '' : one.body }))
const share = fc.nat(9999).map((parts) => parts / 10_000)
const pipeline: fc.Arbitrary<Pipeline> = fc.record({
  requests: fc.array(request, { minLength: 2, maxLength: 16, size: 'max' }),
  cuts: fc.array(share, { maxLength: 8, size: 'max' }),
  isEnded: fc.boolean(),
})

const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`
const halves = (text: string) =>
  [text.slice(0, text.length >> 1), text.slice(text.length >> 1)].filter(Boolean)

function bytesOf(one: Request, nonce: string): string {
  const { name, method, body, framing, style, host, extra, leading } = one
  const head = `${leading}${method} /${nonce}/${style} HTTP/1.1\r\nHost: ${host.replace('NAME', name)}\r\n${extra}`
  if (framing === 'none') return `${head}\r\n`
  if (framing === 'length') return `${head}Content-Length: ${body.length}\r\n\r\n${body}`
  return `${head}Transfer-Encoding: chunked\r\n\r\n${halves(body).map(chunk).join('')}0\r\n\r\n`
}

/** What `answerAs` answers, as node:http writes it. */
function answerTo({ name, method, body, ...one }: Request, nonce: string): string {
  const style = one.style === 1 && method === 'HEAD' ? 0 : one.style
  const who = `${name} ${method} ${nonce}`
  const hints = style === 3 ? 'HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n' : ''
  const status = style === 2 ? '204 No Content' : '200 OK'
  const length =
    style === 2
      ? ''
      : style === 1
        ? 'Transfer-Encoding: chunked\r\n'
        : `Content-Length: ${who.length + body.length}\r\n`
  const head = `${hints}HTTP/1.1 ${status}\r\nX-Who: ${who}\r\n${style === 1 ? '' : length}Connection: keep-alive\r\n${style === 1 ? length : ''}\r\n`
  if (method === 'HEAD' || style === 2) return head
  return style === 1
    ? `${head}${[who, body].filter(Boolean).map(chunk).join('')}0\r\n\r\n`
    : `${head}${who}${body}`
}

function answerAs(name: string): http.Server {
  const app = http.createServer((request, response) => {
    let body = ''
    request.setEncoding('latin1').on('data', (part: string) => (body += part))
    request.on('end', () => {
      const [, nonce, wanted] = (request.url ?? '').split('/')
      const style = wanted === '1' && request.method === 'HEAD' ? '0' : wanted
      const who = `${name} ${request.method} ${nonce}`
      response.sendDate = false
      response.setHeader('X-Who', who)
      if (style === '2') return response.writeHead(204).end()
      // Once the first is out: Node 24.22 makes one chunk of what is written in one turn, older ones make two.
      if (style === '1') return void response.write(who, () => response.end(body, 'latin1'))
      if (style === '3') response.writeEarlyHints({ link: '</x>' })
      response.setHeader('Content-Length', who.length + body.length)
      response.end(who + body, 'latin1')
    })
  })
  app.keepAliveTimeout = 0
  return app
}

export interface Ground {
  port: number
  close(): Promise<void>
}

/** A server and two tunnels, in this process. */
export async function startGround(): Promise<Ground> {
  const server = await serve({ port: 0 })
  const apps = names.map(answerAs)
  const tunnels: Awaited<ReturnType<typeof connect>>[] = []
  for (const [index, app] of apps.entries()) {
    const local = await listening(app, 0)
    tunnels.push(await connect({ port: server.port, local, subdomain: names[index] ?? '' }))
  }
  const close = async () => {
    for (const tunnel of tunnels) await tunnel.close()
    for (const app of apps) app.close().closeAllConnections()
    await server.close()
  }
  return { port: server.port, close }
}

let nonces = 0

/** Sends a pipeline on a connection of its own. Resolves with how many requests it had; rejects on a wrong byte. */
async function ask({ port }: Ground, { requests, cuts, isEnded }: Pipeline): Promise<number> {
  const first = nonces
  nonces += requests.length
  const nonceOf = (index: number) => (first + index).toString(36)
  const bytes = Buffer.from(requests.map((one, index) => bytesOf(one, nonceOf(index))).join(''), 'latin1')
  const expected = requests.map((one, index) => answerTo(one, nonceOf(index))).join('')
  const came = await within(
    exchange(port, cutAt(bytes, cuts), isEnded ? Infinity : expected.length),
    'the answers',
  )
  assert.equal(came, expected, `of ${JSON.stringify(bytes.toString('latin1'))} cut at ${cuts.join()}`)
  return requests.length
}

function cutAt(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const at = [0, ...cuts.map((share) => Math.floor(share * bytes.length)).sort((a, b) => a - b), bytes.length]
  return at.slice(1).map((end, index) => bytes.subarray(at[index], end))
}

/** What comes back up to the end, or up to `length`; an error of the socket is told in place of what is missing. */
function exchange(port: number, pieces: Buffer[], length: number): Promise<string> {
  return new Promise((resolve) => {
    let came = ''
    const socket = net.connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true })
    const finish = (how: string) => {
      resolve(came + how)
      socket.destroy()
    }
    socket.setEncoding('latin1').on('data', (part: string) => {
      came += part
      if (came.length >= length) finish('')
    })
    socket.on('end', () => finish(length === Infinity ? '' : 'END'))
    socket.on('error', (error) => finish(error.message))
    const send = () => {
      const piece = pieces.shift()
      if (piece !== undefined) socket.write(piece, () => setImmediate(send))
      else if (length === Infinity) socket.end()
    }
    send()
  })
}

const AT_ONCE = 32

/** Asks at least `count` requests in random pipelines, 32 at a time. Returns how many; throws what fast-check found. */
export async function fuzz(ground: Ground, count: number, seed: number): Promise<number> {
  let asked = 0
  const property = fc.asyncProperty(
    fc.array(pipeline, { minLength: AT_ONCE, maxLength: AT_ONCE, size: 'max' }),
    async (all) => {
      const counts = await Promise.all(all.map((one) => ask(ground, one)))
      for (const one of counts) asked += one
    },
  )
  for (let round = 0; asked < count; round++) {
    const numRuns = Math.max(1, Math.ceil((count - asked) / (9 * AT_ONCE)))
    await fc.assert(property, { seed: seed + round, numRuns: Math.min(numRuns, 500), endOnFailure: true })
  }
  return asked
}
