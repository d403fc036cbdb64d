/**
 * Bodies that go through a tunnel while things break, and what became of each: right by SHA-256, visibly broken, or,
 * which must never be, wrong: a body that looks whole and is not. The other end is test/fixtures/body-app.ts.
 */
import { once } from 'node:events'
import http, { type IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setTimeout } from 'node:timers/promises'
import { bodyOf, hashOf, hashOfBody } from './helpers.ts'

/** 'right'; 'broken' and how; a status of 5xx; or 'wrong' and why. */
export type Outcome = string

export interface Body {
  bytes: number
  seed: string
  /** What tells its end; `close`, which only an answer may have, is the end of the connection. */
  framing: 'length' | 'chunked' | 'close'
  /** Between pieces of 16 KiB. */
  pauseMs: number
}

export interface Transfer {
  /** Bytes that have passed here so far. */
  passed: number
  readonly outcome: Promise<Outcome>
}

const PIECE_BYTES = 16 * 1024

export function download(way: { port: number; host: string }, body: Body): Transfer {
  const path = `/${body.bytes}/${body.seed}/${body.framing}/${body.pauseMs}`
  const request = requestOf(way, { path })
  request.end()
  const wasReset = resetOf(request)
  return begin(async (transfer) => {
    const response = await answerTo(request)
    if (response.statusCode !== 200) return refusalOf(response)
    response.on('data', (bytes: Buffer) => (transfer.passed += bytes.length))
    const sum = await hashOf(response)
    if (wasReset()) throw new Error('ECONNRESET')
    return judge(sum, body)
  })
}

export function upload(way: { port: number; host: string }, body: Body): Transfer {
  const headers = body.framing === 'length' ? { 'Content-Length': body.bytes } : {}
  const request = requestOf(way, { method: 'POST', path: `/${body.bytes}/${body.seed}`, headers })
  return begin(async (transfer) => {
    const answered = answerTo(request)
    answered.catch(() => undefined) // seen below, unless the upload broke first
    const sent = pipeline(Readable.from(pieces(body, transfer)), request).then(
      () => answered,
      // A refusal may come in the middle of an upload, which then breaks.
      (error) => Promise.race([answered, setTimeout(100).then(() => Promise.reject(error as Error))]),
    )
    const response = await Promise.race([answered, sent])
    if (response.statusCode !== 200) return refusalOf(response)
    const text = (await response.setEncoding('utf8').toArray()).join('')
    return judge(JSON.parse(text) as { hash: string; bytes: number }, body)
  })
}

function begin(run: (transfer: Transfer) => Promise<Outcome>): Transfer {
  const transfer = { passed: 0, outcome: Promise.resolve('') }
  transfer.outcome = run(transfer).catch(
    (error: NodeJS.ErrnoException) => `broken: ${error.code ?? error.message}`,
  )
  return transfer
}

function requestOf({ port, host }: { port: number; host: string }, options: http.RequestOptions) {
  const headers = { ...(options.headers as object), host }
  const request = http.request({ ...options, host: '127.0.0.1', port, headers, agent: false })
  return request.on('error', () => undefined) // who waits for the answer is told, and then its reader
}

/**
 * Tells whether the connection was reset, where that looks like its end: Node ends an answer without length also at a
 * reset, which it tells to the request only; and a reset that comes with the last bytes it takes for an end. Then the
 * socket no longer has a peer, if nobody asked for it before.
 */
function resetOf(request: http.ClientRequest): () => boolean {
  let isReset = false
  request.on('error', () => (isReset = true))
  request.on('socket', (socket) =>
    socket.prependListener('end', () => (isReset ||= socket.remoteAddress === undefined)),
  )
  return () => isReset
}

async function answerTo(request: http.ClientRequest): Promise<IncomingMessage> {
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  return response
}

async function* pieces({ bytes, seed, pauseMs }: Body, transfer: Transfer): AsyncGenerator<Buffer, void> {
  for (const whole of bodyOf(bytes, seed)) {
    for (let at = 0; at < whole.length; at += PIECE_BYTES) {
      const piece = whole.subarray(at, at + PIECE_BYTES)
      yield piece
      transfer.passed += piece.length
      if (pauseMs > 0) await setTimeout(pauseMs)
    }
  }
}

function refusalOf(response: IncomingMessage): Outcome {
  const code = response.headers['x-groktunnel-error']
  response.resume().on('error', () => undefined)
  const isOurs = response.statusCode !== undefined && response.statusCode >= 400 && code !== undefined
  return isOurs ? `${response.statusCode} ${String(code)}` : `wrong: status ${response.statusCode}`
}

function judge(came: { hash: string; bytes: number }, { bytes, seed }: Body): Outcome {
  if (came.hash === hashOfBody(bytes, seed)) return 'right'
  return `wrong: ${came.bytes} of ${bytes} bytes came, as if they were all`
}
