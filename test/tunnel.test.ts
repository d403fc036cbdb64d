import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import { test } from 'node:test'
import { Session } from '../lib/mux.ts'
import {
  ask,
  httpApp,
  listening,
  openTunnel,
  startServer,
  tcpApp,
  tunnelTo,
  until,
  visitor,
  type Way,
  within,
} from './helpers.ts'

test('a small GET and a small POST reach the local service and come back whole', async (t) => {
  const app = await httpApp(t, (request, response) => {
    let body = ''
    request.on('data', (part: Buffer) => (body += part.toString()))
    request.on('end', () => {
      response.setHeader('X-App', 'here')
      response.end(`${request.method} ${request.url} ${request.headers.host} ${body}`)
    })
  })
  const way = await tunnelTo(t, app.port)
  const got = await ask(way, { path: '/a?b=c' })
  assert.equal(got.status, 200)
  assert.equal(got.headers['x-app'], 'here')
  assert.equal(got.headers['x-groktunnel-error'], undefined)
  assert.equal(got.body, `GET /a?b=c ${way.host} `)
  const posted = await ask(way, { path: '/form', method: 'POST' }, 'name=value')
  assert.equal(posted.body, `POST /form ${way.host} name=value`)
})

test('200 connections at once each get their own answer', async (t) => {
  const waiting: (() => void)[] = []
  const app = await httpApp(t, (request, response) => {
    waiting.push(() => response.end(`answer to ${request.url}`))
    // None is answered before all are there, so they must be open at once; the last is answered first.
    if (waiting.length === 200) for (const answer of waiting.reverse()) answer()
  })
  const way = await tunnelTo(t, app.port)
  const answers = await Promise.all(Array.from({ length: 200 }, (_, n) => ask(way, { path: `/${n}` })))
  answers.forEach(({ body }, n) => assert.equal(body, `answer to /${n}`))
})

test('two tunnels at once do not mix, not even on one keep-alive connection', async (t) => {
  const server = await startServer(t)
  const names = ['one', 'two']
  const ways: Way[] = []
  for (const name of names) {
    const app = await httpApp(t, (request, response) =>
      response.end(`${name} ${request.headers.host} ${request.url}`),
    )
    ways.push(await openTunnel(t, server, app.port, name))
  }
  const one = visitor(t, server)
  for (let n = 0; n < 100; n++) {
    const host = ways[(n * 7 + (n >> 2)) % 2]?.host
    one.send(`GET /${n} HTTP/1.1\r\nHost: ${host}\r\n\r\n`)
  }
  const text = await one.got(/\/99$/)
  const bodies = [...text.matchAll(/\r\n\r\n(\w+) (\w+)\S* (\/\d+)/g)].map((match) => match.slice(1))
  assert.deepEqual(
    bodies,
    Array.from({ length: 100 }, (_, n) => {
      const name = names[(n * 7 + (n >> 2)) % 2]
      return [name, name, `/${n}`]
    }),
  )
  const crowd = Array.from({ length: 60 }, async (_, n) => {
    const way = ways[n % 2]
    assert.ok(way)
    assert.equal((await ask(way, { path: `/c${n}` })).body, `${names[n % 2]} ${way.host} /c${n}`)
  })
  await Promise.all(crowd)
})

test('pipelined requests are answered in their order, one after the other', async (t) => {
  let atOnce = 0
  const app = await httpApp(t, (request, response) => {
    assert.equal(++atOnce, 1)
    request.resume().on('end', () => {
      setImmediate(() => {
        atOnce -= 1
        response.end(`<${request.url}>`)
      })
    })
  })
  const way = await tunnelTo(t, app.port)
  const one = visitor(t, way)
  const requests = Array.from({ length: 50 }, (_, n) =>
    n % 3 === 0
      ? `POST /${n} HTTP/1.1\r\nHost: ${way.host}\r\nContent-Length: 5\r\n\r\nGET /`
      : `GET /${n} HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`,
  )
  one.send(requests.join(''))
  const text = await one.got('</49>')
  assert.equal([...text.matchAll(/<\/(\d+)>/g)].map(([, n]) => n).join(), [...Array(50).keys()].join())
})

test('a keep-alive connection serves many requests over one connection to the local service', async (t) => {
  let connections = 0
  const app = await httpApp(t, (request, response) => response.end(request.url))
  app.on('connection', () => (connections += 1))
  const way = await tunnelTo(t, app.port)
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  t.after(() => agent.destroy())
  for (let n = 0; n < 500; n++) assert.equal((await ask(way, { path: `/${n}`, agent })).body, `/${n}`)
  assert.equal(connections, 1)
})

test('a handshake and a request that come one byte at a time work like any other', async (t) => {
  const server = await startServer(t)
  const client = visitor(t, server)
  client.socket.removeAllListeners('data')
  await drip(
    client,
    `GET / HTTP/1.1\r\nHost: localhost:${server.port}\r\nConnection: Upgrade\r\nUpgrade: yamux\r\nX-Subdomain: drip\r\n\r\n`,
  )
  const [welcome] = (await within(once(client.socket, 'data'), 'the welcome')) as [Buffer]
  const end = welcome.indexOf('\r\n\r\n') + 4
  assert.match(welcome.subarray(0, end).toString(), /^HTTP\/1\.1 101 .*\r\nX-Public-Host: drip\.localhost:/s)
  client.socket.unshift(welcome.subarray(end))
  const session = new Session(client.socket, { side: 'client' })
  session.on('channel', (channel) => {
    let head = ''
    channel.on('error', () => undefined)
    channel.on('data', (bytes: Buffer) => {
      head += bytes.toString()
      if (head.endsWith('\r\n\r\n')) channel.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi')
    })
  })
  const one = visitor(t, server)
  await drip(
    one,
    `GET / HTTP/1.1\r\nHost: drip.localhost:${server.port}\r\nX-Long: ${'x'.repeat(200)}\r\n\r\n`,
  )
  await one.got(/^HTTP\/1\.1 200 OK\r\n[^]*hi$/)
  session.close()
})

/** Each byte is a write of its own, which the other side has taken from the loop before the next. */
async function drip(to: ReturnType<typeof visitor>, text: string): Promise<void> {
  for (const byte of text) {
    await new Promise((resolve) => to.socket.write(byte, resolve))
    await new Promise((resolve) => setImmediate(resolve))
  }
}

test('with the local service down a visitor gets 502 at once, and the same tunnel serves when it is back', async (t) => {
  const app = await httpApp(t, (_, response) => response.end('up'))
  const { port } = app
  const way = await tunnelTo(t, port)
  assert.equal((await ask(way)).body, 'up')
  app.closeAllConnections()
  await once(app.close(), 'close')

  const before = performance.now()
  const text = await ask(way)
  assert.ok(performance.now() - before < 1_000)
  assert.equal(text.status, 502)
  assert.equal(text.headers['x-groktunnel-error'], 'local-unreachable')
  assert.match(text.headers['content-type'] ?? '', /^text\/plain/)
  assert.match(text.body, new RegExp(`port ${port}`))
  const html = await ask(way, { headers: { accept: 'text/html,*/*;q=0.8' } })
  assert.equal(html.status, 502)
  assert.match(html.headers['content-type'] ?? '', /^text\/html/)
  assert.match(html.body, /<!doctype html>/)
  const head = await ask(way, { method: 'HEAD' })
  assert.deepEqual([head.status, head.body], [502, ''])

  await listening(app, port)
  assert.equal((await ask(way)).body, 'up')
})

test('a large upload to a local service that is down is answered 502, not reset', async (t) => {
  const app = await tcpApp(t, () => undefined)
  await once(app.close(), 'close')
  const way = await tunnelTo(t, app.port)
  const one = visitor(t, way)
  one.send(`POST / HTTP/1.1\r\nHost: ${way.host}\r\nContent-Length: 8000000\r\n\r\n`)
  one.send(Buffer.alloc(8_000_000))
  await one.got(/^HTTP\/1\.1 502 [^]*local-unreachable/)
  assert.equal(await one.ended(), 'end')
})

test('a local service that listens on ::1 only is reached', async (t) => {
  const app = http.createServer((_, response) => response.end('six'))
  const port = await listening(app, 0, '::1').catch(() => undefined)
  if (port === undefined) return t.skip('this machine has no ::1')
  t.after(() => {
    app.close()
    app.closeAllConnections()
  })
  const way = await tunnelTo(t, port)
  assert.equal((await ask(way)).body, 'six')
  assert.equal((await ask(way)).body, 'six')
})

test('a name without a tunnel is 404, the server’s own host is a page that says what to run', async (t) => {
  const server = await startServer(t)
  const none = await ask({ port: server.port, host: `none.localhost:${server.port}` })
  assert.deepEqual([none.status, none.headers['x-groktunnel-error']], [404, 'no-such-tunnel'])
  const own = await ask({ port: server.port, host: `localhost:${server.port}` })
  assert.equal(own.status, 200)
  assert.match(own.body, new RegExp(`groktunnel -h localhost -p ${server.port} 3000`))
})

test('Connection: close, asked by the visitor or said by the local service, ends the connection in order', async (t) => {
  const app = await tcpApp(t, (socket) => {
    socket.on('data', (bytes) => {
      const says = bytes.includes('/app') ? 'Connection: close\r\n' : ''
      socket.write(`HTTP/1.1 200 OK\r\n${says}Content-Length: 4\r\n\r\ndone`)
    })
    socket.on('end', () => socket.end())
  })
  const way = await tunnelTo(t, app.port)
  for (const head of ['GET /visitor HTTP/1.1\r\nConnection: close', 'GET /app HTTP/1.1']) {
    const one = visitor(t, way).send(`${head}\r\nHost: ${way.host}\r\n\r\n`)
    assert.equal(await one.ended(), 'end')
    assert.match(one.text, /\r\n\r\ndone$/)
  }
  await until(() => app.sockets.size === 0, 'both connections to the local service to close')
})

test('an idle connection that the local service closes is closed, not broken, at the visitor', async (t) => {
  const app = await httpApp(t, (_, response) => response.end('once'))
  app.keepAliveTimeout = 50
  const way = await tunnelTo(t, app.port)
  const one = visitor(t, way).send(`GET / HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`)
  assert.equal(await one.ended(), 'end')
  assert.match(one.text, /^HTTP\/1\.1 200 [^]*once$/)
})

test('a request that crosses the close of its connection gets an answer or an end, never a hang', async (t) => {
  const app = await tcpApp(t, (socket) => {
    let count = 0
    socket.on('data', () => {
      count += 1
      if (count === 1) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst')
      else if (count === 2) socket.resetAndDestroy()
    })
  })
  const fin = await tcpApp(t, (socket) => {
    socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst'))
  })
  const server = await startServer(t)
  for (const { port } of [app, fin]) {
    const way = await openTunnel(t, server, port)
    const endings = Array.from({ length: 50 }, async () => {
      const one = visitor(t, way).send(`GET /1 HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`)
      await one.got('first')
      one.send(`GET /2 HTTP/1.1\r\nHost: ${way.host}\r\n\r\n`)
      assert.match(await one.ended(), /^(end|ECONNRESET|EPIPE)$/)
      assert.equal(one.text.match(/HTTP\/1\.1/g)?.length, 1, one.text)
    })
    await Promise.all(endings)
  }
})
