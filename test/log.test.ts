import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { jsonLine, requestLine } from '../lib/announce/log.ts'
import type { RequestRecord } from '../lib/api.ts'
import { ask, httpApp, until } from './helpers.ts'
import { folder, freePort, type Program, type ProgramOptions, start, startClientOf } from './programs.ts'
import { registrant } from './registrant.ts'

const record: RequestRecord = {
  at: new Date(2026, 0, 1, 14, 5, 59),
  method: 'GET',
  path: '/a?b=c',
  status: 200,
  durationMs: 12.3,
  requestBytes: 0,
  answerBytes: 1536,
}

test('a request is one line, with the name of its tunnel where there are several', () => {
  assert.equal(requestLine(record), '14:05:59 GET /a?b=c 200 12 ms 1.5 kB')
  assert.equal(
    requestLine({ ...record, status: undefined }, 'api'),
    '14:05:59 api GET /a?b=c no answer 12 ms 1.5 kB',
  )
})

test('nothing in that line moves the cursor', () => {
  const line = requestLine({ ...record, path: '/\x1b[2J\r\n\x9b\u202e', method: 'A\x07' })
  assert.equal(line, '14:05:59 A\\x07 /\\x1b[2J\\x0d\\x0a\\x9b\\u{202e} 200 12 ms 1.5 kB')
})

test('no character of a JSON line can move a cursor, and each comes back as it was', () => {
  const all = Array.from({ length: 0x10000 }, (_, code) => String.fromCharCode(code)).join('') + '\u{e0001}🎉'
  const line = jsonLine({ event: 'closed', url: all })
  assert.doesNotMatch(line, /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u)
  assert.equal((JSON.parse(line) as { url: string }).url, all)
})

interface Heard {
  server: Program
  port: number
  /** of the client that has come and gone */
  host: string
}

/** A server that has had a client. */
async function afterSession(t: TestContext, argv: string[], options: ProgramOptions = {}): Promise<Heard> {
  const app = await httpApp(t, (_, response) => response.end())
  const port = await freePort()
  const server = start(t, ['-p', port, '-b', '0.0.0.0', ...argv], options)
  const client = await startClientOf(t, port, { argv: ['--wait', app.port] })
  await ask({ port, host: client.host }) // by then the server knows how far it is
  client.kill('SIGTERM')
  await client.ended()
  return { server, port, host: client.host }
}

/** A folder in which nothing can be written, also by root. */
function badFolder(t: TestContext): string {
  const file = join(folder(t), 'file')
  writeFileSync(file, '')
  return join(file, 'state')
}

async function stopped(server: Program): Promise<Record<string, unknown>[]> {
  server.kill('SIGTERM')
  assert.equal(await server.ended(), 0)
  const lines = server.stdout === '' ? [] : server.stdout.trimEnd().split('\n')
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>)
}

test('a server with --json prints an event a line on stdout, and nothing on stderr', async (t) => {
  const { server, port, host } = await afterSession(t, ['--json'])
  await until(() => server.stdout.includes('"end"'), 'the end of the session')
  const hostile = await registrant(t, port, { name: 'hostile' })
  hostile.socket.write('no yamux at all')
  await hostile.ended()
  const events = await stopped(server)
  for (const event of events) {
    assert.equal(new Date(String(event['at'])).toISOString(), event['at'])
    delete event['at']
  }
  const [latencyMs, message] = [events[2]?.['latencyMs'], events[4]?.['message']]
  assert.equal(typeof latencyMs, 'number')
  assert.equal(typeof message, 'string')
  assert.deepEqual(events, [
    { event: 'ready', url: `http://localhost:${port}` },
    { event: 'start', host },
    { event: 'end', host, latencyMs },
    { event: 'start', host: `hostile.localhost:${port}` },
    { event: 'end', host: `hostile.localhost:${port}`, code: 'protocol-violation', message },
  ])
  assert.equal(server.stderr, '')
})

test('a server with --json tells of a fault as an event', async (t) => {
  const { server } = await afterSession(t, ['--json'], { state: badFolder(t) })
  await until(() => server.stdout.includes('"fault"'), 'a fault')
  const fault = (await stopped(server)).find(({ event }) => event === 'fault')
  assert.equal(fault?.['code'], 'unexpected')
  assert.match(String(fault['message']), /ENOTDIR/)
  assert.equal(server.stderr, '')
})

test('a server with --quiet says nothing but faults', async (t) => {
  const { server } = await afterSession(t, ['--quiet'], { state: badFolder(t) })
  await server.said(/\n/)
  await stopped(server)
  assert.match(server.stderr, /^fault: [^\n]*ENOTDIR[^\n]*\n$/)
  assert.equal(server.stdout, '')
})
