/** Messages that no other test reads: each says what was expected, what came, and what to do. */
import assert from 'node:assert/strict'
import { symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { delivery } from '../lib/deliver/deliver.ts'
import { newRecord } from '../lib/detach/detached.ts'
import { parseTarget } from '../lib/target.ts'
import { deliverTo } from './delivering.ts'
import { ask, httpApp, startServer, tcpApp } from './helpers.ts'
import { folder, freePort, start, startServerAt } from './programs.ts'

test('what the command line asks of headers and passwords', async () => {
  const cases: [Parameters<typeof delivery>[1], RegExp][] = [
    [{ header: ['X-A: ☃'] }, /^expected a value of one line of latin1 for X-A, got other characters$/],
    [{ basicAuth: 'nocolon' }, /^expected .*user:pass.*no colon/i],
    [
      { allowIp: ['foo'] },
      /^expected --allow-ip to be an address or CIDR such as 10\.0\.0\.0\/8, got "foo"$/,
    ],
    [{ denyIp: ['10.0.0.0\/33'] }, /^expected --deny-ip to be an address or CIDR .*, got "10\.0\.0\.0\/33"$/],
  ]
  for (const [options, message] of cases)
    await assert.rejects(delivery(parseTarget('3000'), options), { message })
})

test('who may not come in, and who must say who he is, is told so', async (t) => {
  const app = await httpApp(t, (_, response) => response.end())
  const barred = await ask(await deliverTo(t, app.port, { denyIp: ['127.0.0.0/8'] }))
  assert.match(`${barred.status} ${barred.body}`, /^403 .*may not visit/)
  const unnamed = await ask(await deliverTo(t, app.port, { basicAuth: 'a:b' }))
  assert.match(`${unnamed.status} ${unnamed.body}`, /^401 .*asks for a user/)
})

const answers: [says: string, message: RegExp][] = [
  [
    'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n',
    /switched protocols, unasked/,
  ],
  ['', /closed the connection without/],
  ['nonsense\r\n\r\n', /sent a bad answer/],
]

for (const [says, message] of answers) {
  test(`where requests are changed, ${JSON.stringify(says)} of the local service is 502 in words`, async (t) => {
    const app = await tcpApp(t, (socket) => socket.once('data', () => socket.end(says)))
    const answer = await ask(await deliverTo(t, app.port, { hostHeader: 'rewrite' }))
    assert.equal(answer.status, 502)
    assert.match(answer.body, message)
  })
}

test('a link that leads out of a shared folder is refused in words', async (t) => {
  const shared = folder(t)
  writeFileSync(join(folder(t), 'secret'), 'x')
  symlinkSync('/etc/hostname', join(shared, 'out'))
  const answer = await ask(await deliverTo(t, shared), { path: '/out' })
  assert.match(`${answer.status} ${answer.body}`, /^403 .*this link leads out of the folder/)
})

test('without a home there is no record of what is detached', async () => {
  const message = 'expected a home folder to keep a record in for --stop, got none; set HOME'
  await assert.rejects(newRecord(undefined), { message })
})

test('a command that is not there, or may not be run, is said in the words of shells', async (t) => {
  const { port } = await startServer(t)
  const cases: [string, number, RegExp][] = [
    [
      'no-such-program',
      127,
      /expected a command that can run after --, got "no-such-program" \(ENOENT\); is it installed\?\n$/,
    ],
    [
      folder(t),
      126,
      /expected a command that can run after --, got .*\((EACCES|EISDIR|EPERM)\); may it be executed\?\n$/,
    ],
  ]
  for (const [program, code, line] of cases) {
    const client = start(t, ['-p', port, 3000, '--', program])
    assert.equal(await client.ended(), code)
    assert.match(client.stderr, line)
  }
})

test('a client that calls the server by another name is told so', async (t) => {
  const port = await freePort()
  await startServerAt(t, port, { argv: ['-h', 'lvh.me'] })
  const client = start(t, ['-p', port, 3000])
  assert.equal(await client.ended(), 3)
  assert.match(
    client.stderr,
    /^groktunnel: the server has another name \(.*\); give -h as it says it is ready\n$/,
  )
})

test('a server that anyone may reach, and use, says so', async (t) => {
  const server = await startServerAt(t, await freePort(), { argv: ['-b', '0.0.0.0'] })
  await server.said(/no token is asked for: whoever reaches this port can open a tunnel; see --tokens\n/)
})
