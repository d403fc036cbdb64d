import assert from 'node:assert/strict'
import net from 'node:net'
import { describe, test } from 'node:test'
import { RequestReader } from '../lib/http/reader.ts'
import { requestCases } from './fixtures/http-cases.ts'
import { drip, follow } from './fixtures/http-follow.ts'
import { until, visitor } from './helpers.ts'
import { type App, appTunnel, asSent, get, ok, serverWith, statuses } from './two-tunnels.ts'

/** The case's bytes, with the name of a tunnel where the table says `a`. */
function named(bytes: Buffer): Buffer {
  const text = bytes.toString('latin1')
  return Buffer.from(text.replace(/(host:[ \t]*|http:\/\/)a(?=[\r\n:/ .])/gi, '$1a.localhost'), 'latin1')
}

/** Those that name the tunnel and nobody else, and after which the reader says the same of them as the table. */
const cases = requestCases.flatMap((one) => {
  const bytes = named(one.bytes)
  const found = follow(new RequestReader(), [bytes])
  const isAsBefore =
    found.refusal === undefined ? !/^\d{3}$/.test(one.verdict) : found.verdict === one.verdict
  const heads = found.verdict.split(' && ').filter((message) => message !== 'cut')
  const isOurs =
    found.refusal !== undefined || heads.every((message) => message.split(' ')[2] === 'a.localhost')
  return isAsBefore && isOurs ? [{ ...one, bytes, found }] : []
})

test(`${cases.length} of the ${requestCases.length} odd requests of the table are asked here`, () => {
  assert.ok(cases.length > 0.85 * requestCases.length)
})

describe('over the real server, whole and one byte at a time, an odd request is', () => {
  for (const { title, bytes, found } of cases) {
    const { refusal, forwarded } = found
    const expected = forwarded.toString('latin1')
    test(`${refusal?.status ?? 'passed on'}: ${title}`, async (t) => {
      const server = await serverWith(t, {})
      const app = await appTunnel(t, server, 'a', () => ok('fine'))
      const pieces = bytes.length < 3000 ? [[bytes], drip(bytes)] : [[bytes]]
      for (const writes of pieces) {
        app.came = ''
        const client = visitor(t, server)
        for (const bytes of writes) client.socket.write(bytes)
        if (refusal === undefined) {
          await until(
            () => asSent(app.came) === expected,
            `${expected} at the local service, not ${app.came}`,
          )
          client.socket.end()
        } else {
          assert.equal(await client.ended(), 'end')
          assert.equal(statuses(client.text).at(-1), refusal.status, client.text)
          assert.match(client.text, /\r\nConnection: close\r\n[^]*\r\nX-Groktunnel-Error: [a-z-]+\r\n/)
          await settled(app, get(app, '/after'))
          assertPrefix(asSent(app.came).replace(get(app, '/after'), ''), expected)
        }
      }
    })
  }
})

/** Another visitor's request has come, so what the first one's would have brought is there too. */
async function settled(app: App, request: string): Promise<void> {
  const socket = net.connect(app.port, '127.0.0.1')
  socket.end(request)
  await until(() => asSent(app.came).includes(request), 'the request after')
  socket.destroy()
}

/** A message with a fault in its body is passed on up to there, or not so far, because the channel is cut. */
function assertPrefix(came: string, expected: string): void {
  assert.ok(
    expected.startsWith(came),
    `${JSON.stringify(came)} is not how ${JSON.stringify(expected)} begins`,
  )
}
