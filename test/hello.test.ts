/** The handshake, each side against a raw peer that may say anything. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import type { Socket } from 'node:net'
import test from 'node:test'
import type { TestContext } from 'node:test'
import { serve, TunnelError } from '../groktunnel.ts'
import type { Server } from '../groktunnel.ts'
import { register } from '../lib/hello.ts'
import { attack, frame, handshakeFor, listening, PING, readAll, readHead, SYN, within } from './attacker.ts'
import { visitor } from './helpers.ts'

const WELCOME =
  'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: yamux\r\n' +
  'X-Public-Host: app.localhost:1\r\nX-Public-Url: http://app.localhost:1\r\n\r\n'

async function server(t: TestContext): Promise<Server> {
  const running = await serve({ port: 0 })
  t.after(() => leave(running))
  return running
}

const dialled = new Set<Socket>()

/** Closes a server after its clients, for one that has stopped reading is given some seconds. */
async function leave(running: Server): Promise<void> {
  for (const socket of dialled) socket.destroy()
  dialled.clear()
  await running.close()
}

function dial(t: TestContext, port: number): Socket {
  const socket = net.connect({ port, host: '127.0.0.1', noDelay: true })
  dialled.add(socket)
  t.after(() => socket.destroy())
  return socket
}

/** The whole answer to `request`, which ends the connection. */
async function answerTo(
  t: TestContext,
  port: number,
  request: string,
): Promise<{ head: string; body: unknown }> {
  const socket = dial(t, port)
  socket.write(request)
  const text = String(await readAll(socket))
  const [head = '', body = ''] = text.split('\r\n\r\n')
  return { head, body: JSON.parse(body) }
}

/** A server of our own making; what each connection is told is `answer`'s business. */
function fakeServer(t: TestContext, answer: (socket: Socket, head: string) => unknown): Promise<number> {
  const fake = net.createServer({ allowHalfOpen: true }, (socket) => {
    void readHead(socket).then(({ head }) => answer(socket, head))
  })
  return listening(t, fake)
}

function registerAt(
  port: number,
  more: { subdomain?: string; timeoutMs?: number; signal?: AbortSignal } = {},
) {
  const registration = register({ host: 'localhost', port, ...more }).then((welcome) => {
    welcome.socket.on('error', () => undefined)
    return welcome
  })
  return within(registration, 'the end of a registration')
}

async function refusal(promise: Promise<unknown>): Promise<TunnelError> {
  const error = await promise.then(
    () => assert.fail('expected a refusal'),
    (error: unknown) => error,
  )
  assert.ok(error instanceof TunnelError, `expected a TunnelError, got ${String(error)}`)
  assert.doesNotMatch(error.message, /\n/)
  return error
}

// The server's side

test('a server welcomes a name and says where it is', async (t) => {
  const { port } = await server(t)
  const socket = dial(t, port)
  socket.write(handshakeFor(port, 'myapp'))
  const { head } = await readHead(socket)
  assert.equal(
    head,
    'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: yamux\r\n' +
      `X-Public-Host: myapp.localhost:${port}\r\nX-Public-Url: http://myapp.localhost:${port}\r\n\r\n`,
  )
})

test('a server reads a registration that comes one byte at a time', async (t) => {
  const { port } = await server(t)
  const socket = dial(t, port)
  for (const byte of Buffer.from(handshakeFor(port, 'dripped'))) {
    await new Promise<void>((resolve) => socket.write(Buffer.of(byte), () => resolve()))
  }
  assert.match((await readHead(socket)).head, /^HTTP\/1.1 101 .*X-Public-Host: dripped\.localhost/s)
})

test('a server takes what follows a registration in the same packet as yamux', async (t) => {
  const { port } = await server(t)
  const socket = dial(t, port)
  socket.write(Buffer.concat([Buffer.from(handshakeFor(port, 'hasty')), frame(PING, SYN, 0, 42)]))
  let { rest } = await readHead(socket)
  while (!rest.includes(frame(PING, 2, 0, 42))) {
    const [bytes] = (await within(once(socket, 'data'), 'a pong')) as [Buffer]
    rest = Buffer.concat([rest, bytes])
  }
})

test('a server draws a name of ten characters where none is asked for, and not the same twice', async (t) => {
  const { port } = await server(t)
  const names = new Set<string | undefined>()
  for (let asked = 0; asked < 3; asked++) {
    const socket = dial(t, port)
    socket.write(handshakeFor(port, ''))
    names.add(/X-Public-Host: ([a-z0-9]{10})\.localhost:/.exec((await readHead(socket)).head)?.[1])
  }
  assert.equal(names.size, 3)
  assert.equal(names.has(undefined), false)
})

test('a name is the same in capitals', async (t) => {
  const { port } = await server(t)
  await attack(t, port, 'MyApp')
  assert.match((await answerTo(t, port, handshakeFor(port, 'myapp'))).head, /^HTTP\/1.1 409 /)
})

for (const name of ['-a', 'a-', 'a.b', 'a_b', 'ä', 'a b', 'x'.repeat(64), '..', 'a, b']) {
  test(`a server refuses the name ${JSON.stringify(name)} with 400`, async (t) => {
    const { port } = await server(t)
    const { head, body } = await answerTo(t, port, handshakeFor(port, name))
    assert.match(head, /^HTTP\/1.1 400 Bad Request\r\n/)
    assert.match(head, /\r\nX-Groktunnel-Error: bad-name\r\n/)
    assert.equal((body as { code: string }).code, 'bad-name')
  })
}

for (const [what, status, change] of [
  ['POST', 405, (text: string) => text.replace('GET ', 'POST ')],
  ['HEAD', 405, (text: string) => text.replace('GET ', 'HEAD ')],
  ['a body', 400, (text: string) => `${text.replace('\r\n\r\n', '\r\nContent-Length: 2\r\n\r\n')}ab`],
] as const) {
  test(`a server takes no registration with ${what}`, async (t) => {
    const { port } = await server(t)
    const { head } = await answerTo(t, port, change(handshakeFor(port, 'app')))
    assert.match(head, new RegExp(`^HTTP/1.1 ${status} `))
  })
}

test('a server takes a registration that says it has no body', async (t) => {
  const { port } = await server(t)
  const request = handshakeFor(port, 'app').replace('\r\n\r\n', '\r\nContent-Length: 0\r\n\r\n')
  await visitor(t, { port }).send(request).got('HTTP/1.1 101 ')
})

test('a server refuses two names in one registration', async (t) => {
  const { port } = await server(t)
  const request = handshakeFor(port, 'one').replace('\r\n\r\n', '\r\nX-Subdomain: two\r\n\r\n')
  assert.match((await answerTo(t, port, request)).head, /^HTTP\/1.1 400 /)
})

test('a server refuses a taken name with 409, and gives it again once its session has ended', async (t) => {
  const running = await server(t)
  const { port } = running
  const first = await attack(t, port, 'mine')
  const { head, body } = await answerTo(t, port, handshakeFor(port, 'mine'))
  assert.match(head, /^HTTP\/1.1 409 Conflict\r\nContent-Type: application\/json\r\n/)
  assert.deepEqual(body, {
    code: 'name-taken',
    message: 'expected a free name, mine is taken; ask for another',
  })
  const ended = once(running, 'end')
  first.socket.destroy()
  await within(ended, 'the end of the session')
  await attack(t, port, 'mine')
})

for (const [title, change] of [
  [
    'no Upgrade',
    (text: string) => text.replace('Upgrade: yamux\r\n', '').replace('Connection: Upgrade\r\n', ''),
  ],
  ['an Upgrade to something else', (text: string) => text.replace('Upgrade: yamux', 'Upgrade: websocket')],
  ['an Upgrade in HTTP/1.0', (text: string) => text.replace(' HTTP/1.1', ' HTTP/1.0')],
] as const) {
  test(`a server refuses ${title} with 426, and says what it wants`, async (t) => {
    const { port } = await server(t)
    const { head, body } = await answerTo(t, port, change(handshakeFor(port, 'app')))
    assert.match(head, /^HTTP\/1.1 426 Upgrade Required\r\n/)
    assert.match(head, /\r\nUpgrade: yamux\r\n/)
    assert.match(head, /\r\nConnection: close, Upgrade(\r\n|$)/)
    assert.equal((body as { code: string }).code, 'upgrade-required')
  })
}

test('a server is unhurt by clients that leave in the middle of a registration', async (t) => {
  const { port } = await server(t)
  const text = handshakeFor(port, 'leaver')
  for (let at = 0; at < text.length; at += 7) {
    const socket = dial(t, port).on('error', () => undefined)
    await once(socket, 'connect')
    socket.write(text.slice(0, at))
    socket.resetAndDestroy()
  }
  await attack(t, port, 'stayer')
})

test('the public host has no port where it is the one of http', async (t) => {
  const running = await serve({ port: 80, host: 'lvh.me' }).catch((error: Error) => error)
  if (running instanceof Error) return t.skip(`port 80 cannot be had here: ${running.message}`)
  t.after(() => leave(running))
  const socket = dial(t, 80)
  socket.write(handshakeFor(80, 'app').replace('localhost:80', 'lvh.me'))
  const { head } = await readHead(socket)
  assert.match(head, /\r\nX-Public-Host: app\.lvh\.me\r\nX-Public-Url: http:\/\/app\.lvh\.me\r\n/)
})

// The client's side

test('a client asks with the words of the protocol', async (t) => {
  let asked = ''
  const port = await fakeServer(t, (socket, head) => {
    asked = head
    socket.write(WELCOME)
  })
  const { socket, publicHost, publicUrl } = await registerAt(port, { subdomain: 'app' })
  t.after(() => socket.destroy())
  assert.deepEqual([publicHost, publicUrl], ['app.localhost:1', 'http://app.localhost:1'])
  const lines = asked.split('\r\n')
  assert.equal(lines[0], 'GET / HTTP/1.1')
  const wanted = [`Host: localhost:${port}`, 'Connection: Upgrade', 'Upgrade: yamux', 'X-Subdomain: app']
  for (const line of wanted) assert.ok(lines.includes(line), `${line} in ${asked}`)
})

test('a client reads a welcome that comes one byte at a time, and loses nothing of what follows', async (t) => {
  const port = await fakeServer(t, async (socket) => {
    socket.setNoDelay(true)
    for (const byte of Buffer.from(`${WELCOME}yamux`)) {
      await new Promise<void>((resolve) => socket.write(Buffer.of(byte), () => resolve()))
    }
    socket.end()
  })
  const { socket } = await registerAt(port)
  assert.equal(String(await readAll(socket)), 'yamux')
  socket.destroy()
})

test('a client loses nothing of what comes in one packet with the welcome', async (t) => {
  const port = await fakeServer(t, (socket) => socket.end(`${WELCOME}yamux`))
  const { socket } = await registerAt(port)
  assert.equal(String(await readAll(socket)), 'yamux')
  socket.destroy()
})

const TAKEN = '{"code":"name-taken","message":"expected a free name, it is taken"}'
const CONFLICT = `HTTP/1.1 409 Conflict\r\nContent-Length: ${TAKEN.length}\r\nConnection: close\r\n\r\n${TAKEN}`

test('a client that was asked for no name draws another when it is taken', async (t) => {
  const drawn: (string | undefined)[] = []
  const port = await fakeServer(t, (socket, head) => {
    drawn.push(/\r\nX-Subdomain: ([a-z0-9]{10})\r\n/.exec(head)?.[1])
    socket.end(drawn.length < 3 ? CONFLICT : WELCOME)
  })
  const { socket } = await registerAt(port)
  socket.destroy()
  assert.equal(new Set(drawn).size, 3)
  assert.equal(drawn.includes(undefined), false)
})

test('a client that finds every name taken gives up, and says so', async (t) => {
  let asked = 0
  const port = await fakeServer(t, (socket) => {
    asked++
    socket.end(CONFLICT)
  })
  assert.equal((await refusal(registerAt(port))).code, 'name-taken')
  assert.ok(asked > 1 && asked < 20, `${asked} times`)
})

test('a client that was asked for a name asks once, and passes the refusal on', async (t) => {
  let asked = 0
  const port = await fakeServer(t, (socket) => {
    asked++
    socket.end(CONFLICT)
  })
  const error = await refusal(registerAt(port, { subdomain: 'app' }))
  assert.deepEqual([error.code, error.message, asked], ['name-taken', 'expected a free name, it is taken', 1])
})

const strangers: Record<string, string> = {
  'a web server': 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello',
  'a web server that has not the page': 'HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n',
  'a refusal with a code that does not exist':
    'HTTP/1.1 400 Bad Request\r\nContent-Length: 30\r\n\r\n{"code":"toString","message":1}',
  'a refusal cut in the middle': 'HTTP/1.1 409 Conflict\r\nContent-Length: 500\r\n\r\n{"code":"name-ta',
  'an answer in chunks that are none': 'HTTP/1.1 409 Conflict\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n',
  'JSON that is no object': 'HTTP/1.1 409 Conflict\r\nContent-Length: 4\r\n\r\nnull',
  'an upgrade without a public host':
    'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
  'a public host with a line of its own': WELCOME.replace('X-Public-Host: app', 'X-Public-Host: a\tb'),
  'a public URL that is a script': WELCOME.replace('X-Public-Url: http:', 'X-Public-Url: javascript:'),
  'an SSH server': 'SSH-2.0-OpenSSH_9.9\r\n',
  garbage: '\x00\xff\x16\x03\x01 what',
  'a connection that closes without a word': '',
  'a head without end': `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(100_000)}`,
}

for (const [title, answer] of Object.entries(strangers)) {
  test(`a client says that it found no groktunnel server, but ${title}`, async (t) => {
    const port = await fakeServer(t, (socket) => socket.end(answer, 'latin1'))
    const error = await refusal(registerAt(port, { subdomain: 'app' }))
    assert.equal(error.code, 'not-groktunnel', error.message)
    assert.match(error.message, new RegExp(`localhost:${port}`))
  })
}

const refusals: [what: string, answer: [status: number, headers: string, body: object], code: string][] = [
  ['without a message', [409, '', { code: 'name-taken' }], 'name-taken'],
  ['with a code of another status', [503, '', { code: 'name-taken', message: 'no' }], 'name-taken'],
  ['that is a success', [200, '', { code: 'name-taken', message: 'no' }], 'not-groktunnel'],
  ['with a code that is the client’s own', [409, '', { code: 'usage', message: 'no' }], 'not-groktunnel'],
  ['of somebody else', [401, '', { code: 'NO', message: 'no' }], 'not-groktunnel'],
  ['of a newer server, 401', [401, 'X-Groktunnel-Error: odd\r\n', { code: 'odd' }], 'unauthorized'],
  ['of a newer server, 409', [409, 'X-Groktunnel-Error: odd\r\n', { code: 'odd' }], 'name-taken'],
  ['of a newer server, 418', [418, 'X-Groktunnel-Error: odd\r\n', { code: 'odd' }], 'not-groktunnel'],
]

for (const [what, [status, headers, body], code] of refusals) {
  test(`a refusal ${what} is ${code}`, async (t) => {
    const text = JSON.stringify(body)
    const head = `HTTP/1.1 ${status} So\r\n${headers}Content-Length: ${text.length}\r\n\r\n`
    const port = await fakeServer(t, (socket) => socket.end(head + text))
    assert.equal((await refusal(registerAt(port, { subdomain: 'app' }))).code, code)
  })
}

test('a web server whose answer has no end is told by its status, at once', async (t) => {
  const port = await fakeServer(t, (socket) => socket.write('HTTP/1.1 200 OK\r\n\r\nan event'))
  const { message } = await refusal(registerAt(port, { subdomain: 'app', timeoutMs: 60_000 }))
  assert.match(message, /got HTTP 200/)
})

test('a client does not read a refusal without end', async (t) => {
  const port = await fakeServer(t, (socket) => {
    socket.write('HTTP/1.1 500 Oops\r\n\r\n')
    const more = () => {
      while (!socket.destroyed && socket.write(Buffer.alloc(64 * 1024, 'x')));
    }
    socket.on('drain', more)
    more()
  })
  assert.equal((await refusal(registerAt(port, { subdomain: 'app' }))).code, 'not-groktunnel')
})

for (const [title, words] of [
  ['nothing', ''],
  ['half a head', 'HTTP/1.1 101 Switching'],
  [
    'an upgrade that names no protocol',
    'HTTP/1.1 101 Switching Protocols\r\nX-Public-Host: a.localhost\r\n\r\n',
  ],
  ['half a refusal', 'HTTP/1.1 409 Conflict\r\nContent-Length: 500\r\n\r\n{'],
] as const) {
  test(`a client gives up on a server that says ${title} and then waits`, async (t) => {
    const port = await fakeServer(t, (socket) => socket.write(words))
    const { code } = await refusal(registerAt(port, { subdomain: 'app', timeoutMs: 200 }))
    assert.match(code, /^(unreachable|not-groktunnel)$/)
  })
}

test('a client gives up on a server that says a little now and then', async (t) => {
  const port = await fakeServer(t, (socket) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nX-Slow: ')
    const timer = setInterval(() => socket.write('x'), 50)
    socket.once('close', () => clearInterval(timer))
  })
  const error = await refusal(within(registerAt(port, { subdomain: 'app', timeoutMs: 300 }), 'an end', 3000))
  assert.equal(error.code, 'unreachable')
})

test('a client says that there is no server, and how to start one', async (t) => {
  const gone = net.createServer().listen(0, '127.0.0.1')
  await once(gone, 'listening')
  const { port } = gone.address() as net.AddressInfo
  gone.close()
  await once(gone, 'close')
  const error = await refusal(registerAt(port))
  assert.deepEqual([error.code, error.exitCode], ['unreachable', 3])
  assert.match(
    error.message,
    new RegExp(`localhost:${port}.*ECONNREFUSED.*groktunnel -h localhost -p ${port}`),
  )
  t.diagnostic(error.message)
})

test('a client gives up when it is told to', async (t) => {
  const stop = new AbortController()
  const port = await fakeServer(t, () => stop.abort())
  await assert.rejects(registerAt(port, { signal: stop.signal }), { name: 'AbortError' })
})
