/** TLS on accepted sockets, against Node's own TLS client, the openssl program and curl. */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import type { Socket } from 'node:net'
import { join as pathOf } from 'node:path'
import { after, describe, test, type TestContext } from 'node:test'
import tls from 'node:tls'
import type { ConnectionOptions, TLSSocket } from 'node:tls'
import { join } from '../join.ts'
import { cut, farewell } from '../lib/ending.ts'
import { TunnelError } from '../lib/errors.ts'
import { type Secure, secure, type Timing, type TlsOptions } from '../lib/tls/tls.ts'
import { Authority, type Issued, noOpenssl } from './certificates.ts'
import { bodyOf, hashOf, hashOfBody, tcpApp, until, within } from './helpers.ts'

const noCurl = spawnSync('curl', ['--version']).status === 0 ? false : 'needs curl'
const versions = ['TLSv1.2', 'TLSv1.3'] as const

describe('TLS:', { skip: noOpenssl }, () => {
  const authority = new Authority()
  after(() => authority.remove())
  const good = authority.issue('good')
  const other = authority.issue('other')

  interface Door {
    port: number
    secured: Secure
    /** those that were wrapped, and all that have not closed */
    wrapped: TLSSocket[]
    sockets: Set<Socket>
    failures: unknown[]
  }

  /** A server that wraps every connection and hands it to `onSocket`. */
  async function open(
    t: TestContext,
    onSocket: (socket: TLSSocket) => unknown = () => undefined,
    { files = good, timing = {} }: { files?: TlsOptions; timing?: Timing } = {},
  ): Promise<Door> {
    const secured = secure(files, timing)
    assert.ok(secured)
    const [wrapped, failures]: [TLSSocket[], unknown[]] = [[], []]
    const { port, sockets } = await tcpApp(t, (socket) => {
      secured.wrap(socket).then(
        (one) => {
          wrapped.push(one)
          onSocket(one)
        },
        (error) => failures.push(error),
      )
    })
    return { port, secured, wrapped, sockets, failures }
  }

  function dial(t: TestContext, { port }: { port: number }, options: ConnectionOptions = {}): TLSSocket {
    const to = { port, host: '127.0.0.1', servername: 'localhost', ca: authority.ca, allowHalfOpen: true }
    const socket = tls.connect({ ...to, ...options })
    t.after(() => socket.destroy())
    return socket
  }

  async function dialled(
    t: TestContext,
    door: { port: number },
    options: ConnectionOptions = {},
  ): Promise<TLSSocket> {
    const socket = dial(t, door, options)
    await within(once(socket, 'secureConnect'), 'a handshake')
    return socket
  }

  function rawDial(t: TestContext, { port }: { port: number }): Socket {
    const socket = net.connect({ port, host: '127.0.0.1' }).on('error', () => undefined)
    t.after(() => socket.destroy())
    return socket
  }

  async function closed(socket: Socket): Promise<void> {
    socket.resume()
    await until(() => socket.closed, 'a closed connection')
  }

  /** All that comes until the end, as text. */
  async function textOf(socket: Socket): Promise<string> {
    let text = ''
    socket.setEncoding('latin1').on('data', (part: string) => (text += part))
    await within(once(socket, 'end'), 'the end')
    return text
  }

  /** The code of the error with which a connection fails. */
  async function failureOf(socket: Socket): Promise<string | undefined> {
    const [error] = (await within(once(socket, 'error'), 'an error')) as [NodeJS.ErrnoException]
    return error.code
  }

  async function nameAt(t: TestContext, door: { port: number }): Promise<unknown> {
    const socket = await dialled(t, door)
    const name = socket.getPeerCertificate().subject.CN
    socket.destroy()
    return name
  }

  // What is asked for

  test('without a certificate and a key there is no TLS', () => {
    assert.equal(secure({}), undefined)
  })

  const junk = pathOf(authority.folder, 'junk')
  writeFileSync(junk, 'no PEM')
  const half = pathOf(authority.folder, 'half')
  writeFileSync(half, readFileSync(good.cert, 'utf8').slice(0, 200))
  const halfChain = pathOf(authority.folder, 'half-chain')
  writeFileSync(halfChain, readFileSync(good.cert, 'utf8') + authority.ca.slice(0, 200))
  const missing = pathOf(authority.folder, 'missing')

  const bad: [what: string, files: TlsOptions, says: string[]][] = [
    ['only a certificate', { cert: good.cert }, ['only --cert', 'give --key']],
    ['only a key', { key: good.key }, ['only --key', 'give --cert']],
    ['a certificate that is not there', { ...good, cert: missing }, [missing, '--cert', 'ENOENT']],
    ['a key that is not there', { ...good, key: missing }, [missing, '--key', 'ENOENT']],
    ['a folder', { ...good, cert: authority.folder }, [authority.folder, '--cert', 'EISDIR']],
    ['no PEM for a certificate', { ...good, cert: junk }, [junk, '--cert', 'fullchain.pem']],
    ['no PEM for a key', { ...good, key: junk }, [junk, '--key', 'privkey.pem']],
    ['half a certificate', { ...good, cert: half }, [half, '--cert']],
    ['a chain cut short', { ...good, cert: halfChain }, [halfChain, '--cert', 'whole']],
    ['the two mistaken for each other', { cert: good.key, key: good.cert }, [good.key, '--cert']],
    ['the key of another', { ...good, key: other.key }, [other.key, good.cert, 'issued together']],
    ['a key with a passphrase', { ...good, key: authority.encrypt(good) }, ['without a passphrase']],
  ]
  for (const [what, files, says] of bad) {
    test(`${what} is refused with the file's name and what to do`, () => {
      assert.throws(
        () => secure(files),
        (error: unknown) => {
          assert.ok(error instanceof TunnelError)
          assert.equal(error.code, 'usage')
          assert.match(error.message, /^expected [^\n]+, got [^\n]+; [^\n]+$/)
          for (const part of says) assert.ok(error.message.includes(part), error.message)
          return true
        },
      )
    })
  }

  // The handshake

  for (const version of versions) {
    test(`bytes pass both ways in ${version}, also many with a reader that is slow to begin`, async (t) => {
      const bytes = 8 * 1024 * 1024
      const door = await open(t, (socket) => void socket.pipe(socket))
      const client = await dialled(t, door, { minVersion: version, maxVersion: version })
      assert.equal(client.getProtocol(), version)
      for (const block of bodyOf(bytes, 'tls')) client.write(block)
      client.end()
      await until(() => door.wrapped[0]?.writableNeedDrain === true, 'the server to be held back')
      const came = await within(hashOf(client), 'all bytes')
      assert.deepEqual(came, { hash: hashOfBody(bytes, 'tls'), bytes })
    })
  }

  test('nothing older than TLS 1.2 is spoken', async (t) => {
    const door = await open(t)
    const old = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'ALL:@SECLEVEL=0' } as const
    assert.equal(await failureOf(dial(t, door, old)), 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION')
    await until(() => door.failures.length === 1 && door.sockets.size === 0, 'the connection to be closed')
  })

  test('http/1.1 is agreed on with who offers it, and none is needed', async (t) => {
    const door = await open(t)
    const browser = await dialled(t, door, { ALPNProtocols: ['h2', 'http/1.1'] })
    assert.equal(browser.alpnProtocol, 'http/1.1')
    assert.equal((await dialled(t, door)).alpnProtocol, false)
  })

  test('a client that speaks only h2 is told that there is no common protocol', async (t) => {
    const door = await open(t)
    const code = await failureOf(dial(t, door, { ALPNProtocols: ['h2'] }))
    assert.equal(code, 'ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL')
    await until(() => door.failures.length === 1 && door.sockets.size === 0, 'the connection to be closed')
  })

  test('the chain behind the certificate is sent', async (t) => {
    const chain = pathOf(authority.folder, 'chain.pem')
    writeFileSync(chain, readFileSync(good.cert, 'utf8') + authority.ca)
    const door = await open(t, undefined, { files: { ...good, cert: chain } })
    const client = await dialled(t, door)
    assert.equal(client.getPeerCertificate(true).issuerCertificate.subject.CN, 'authority')
  })

  test('a session is resumed, so that a visitor who comes back pays less', async (t) => {
    const door = await open(t, (socket) => socket.end('hello'))
    const first = await dialled(t, door)
    const [session] = (await within(once(first.resume(), 'session'), 'a ticket')) as [Buffer]
    const second = await dialled(t, door, { session })
    assert.equal(second.isSessionReused(), true)
  })

  test('a handshake that does not come in time ends the connection', async (t) => {
    const door = await open(t, undefined, { timing: { handshakeTimeoutMs: 50 } })
    const hello = await helloOf(t)
    for (const said of ['', hello.subarray(0, 1), hello.subarray(0, 100)]) {
      const client = rawDial(t, door)
      if (said.length > 0) client.write(said)
      await closed(client)
    }
    await until(() => door.failures.length === 3, 'three failures')
    for (const error of door.failures) assert.equal((error as TunnelError).code, 'request-timeout')
    await until(() => door.sockets.size === 0, 'all to be closed')
  })

  test('a handshake that drips in has no more time than any', async (t) => {
    const door = await open(t, undefined, { timing: { handshakeTimeoutMs: 200 } })
    const hello = await helloOf(t)
    const client = rawDial(t, door)
    let at = 0
    const drip = setInterval(() => client.write(hello.subarray(at, ++at)), 5)
    t.after(() => clearInterval(drip))
    await closed(client)
    assert.ok(at < hello.length, `all ${at} bytes were taken`)
  })

  /** What a TLS client says first. */
  async function helloOf(t: TestContext): Promise<Buffer> {
    const { port, sockets } = await tcpApp(t, () => undefined)
    dial(t, { port }).on('error', () => undefined)
    await until(() => sockets.size === 1, 'a connection')
    const [bytes] = (await within(once([...sockets][0] as Socket, 'data'), 'a hello')) as [Buffer]
    return bytes
  }

  test('a handshake may come one byte at a time', async (t) => {
    const door = await open(t, (socket) => socket.end('hello'))
    const relay = await tcpApp(t, (socket) => {
      const upstream = rawDial(t, door).setNoDelay()
      upstream.pipe(socket)
      socket.on('data', (bytes) => bytes.forEach((byte) => upstream.write(Buffer.of(byte))))
    })
    assert.equal(await textOf(await dialled(t, relay)), 'hello')
  })

  test('a visitor who leaves before or in the handshake is let go', async (t) => {
    const door = await open(t, undefined, { timing: { handshakeTimeoutMs: 100 } })
    const hello = await helloOf(t)
    for (const leave of ['end', 'destroy', 'resetAndDestroy'] as const) {
      for (const said of ['', hello.subarray(0, 1), hello.subarray(0, 100), hello]) {
        const before = door.failures.length
        const client = rawDial(t, door)
        await within(once(client, 'connect'), 'a connection')
        await new Promise((resolve) => client.write(said, resolve))
        if (said === hello) await within(once(client, 'data'), 'an answer')
        client[leave]()
        await until(() => door.failures.length > before, 'a failure')
      }
    }
    await until(() => door.sockets.size === 0, 'all to be closed')
    assert.ok(door.failures.every((error) => error instanceof TunnelError))
    assert.equal(door.wrapped.length, 0)
  })

  test('a connection that is gone is not wrapped', async (t) => {
    const { secured } = await open(t)
    const gone = rawDial(t, { port: 1 }).destroy()
    await once(gone, 'close')
    await assert.rejects(within(secured.wrap(gone), 'a refusal'), TunnelError)
  })

  test('what was read ahead, as with a PROXY header, is part of the handshake', async (t) => {
    const secured = secure(good)
    assert.ok(secured)
    const { port } = await tcpApp(t, (socket) => {
      socket.once('data', (bytes) => {
        socket.pause()
        socket.unshift(bytes.subarray(5))
        void secured.wrap(socket).then((one) => one.end('hello'))
      })
    })
    const relay = await tcpApp(t, (socket) => {
      const upstream = rawDial(t, { port })
      upstream.write('PROXY')
      upstream.pipe(socket).pipe(upstream)
    })
    assert.equal(await textOf(await dialled(t, relay)), 'hello')
  })

  test('plain http is answered in plain text that says https', async (t) => {
    const door = await open(t)
    const client = rawDial(t, door)
    client.write('POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n')
    client.write('x'.repeat(100_000))
    const text = await textOf(client)
    assert.match(text, /^HTTP\/1\.1 400 Bad Request\r\n[^]*\r\nX-Groktunnel-Error: bad-request\r\n/)
    assert.match(text, /this port speaks https\n$/)
    await until(() => door.failures.length === 1 && door.sockets.size === 0, 'the connection to be closed')
  })

  test('other bytes are not answered', async (t) => {
    const door = await open(t)
    for (const bytes of [Buffer.of(0), Buffer.of(0x80, 0x2e, 1, 3, 1), Buffer.from('\r\n')]) {
      const client = rawDial(t, door)
      client.write(bytes)
      await closed(client)
      assert.equal(client.bytesRead, 0)
    }
    assert.equal(door.failures.length, 3)
  })

  // A socket like any other

  for (const version of versions) {
    const only = { minVersion: version, maxVersion: version }

    test(`a visitor may end first and still be answered (${version})`, async (t) => {
      const door = await open(t, (socket) => {
        socket
          .once('data', () => undefined)
          .on('end', () => setImmediate(() => socket.write('after ', () => socket.end('the end'))))
      })
      const client = await dialled(t, door, only)
      client.end('bye')
      assert.equal(await textOf(client), 'after the end')
      await until(() => door.sockets.size === 0, 'both to be closed')
    })

    test(`the server may end first and still be told (${version})`, async (t) => {
      let text = ''
      const door = await open(t, (socket) => {
        socket.on('data', (bytes: Buffer) => (text += bytes.toString()))
        socket.end('bye')
      })
      const client = await dialled(t, door, only)
      assert.equal(await textOf(client), 'bye')
      assert.equal(client.writable, true)
      client.write('after ', () => client.end('the end'))
      await until(() => door.sockets.size === 0, 'both to be closed')
      assert.equal(text, 'after the end')
    })

    test(`joined with a plain socket, each end is passed on alone (${version})`, async (t) => {
      const local = await tcpApp(t, (socket) => {
        let asked = ''
        socket.on('data', (bytes) => (asked += bytes.toString()))
        socket.on('end', () => socket.end(`answer to ${asked}`))
      })
      const door = await open(t, (socket) => {
        void join(socket, net.connect({ port: local.port, host: '127.0.0.1', allowHalfOpen: true }))
      })
      const client = await dialled(t, door, only)
      client.end('question')
      assert.equal(await textOf(client), 'answer to question')
      await until(() => door.sockets.size === 0 && local.sockets.size === 0, 'all to be closed')
    })

    test(`a cut reaches the visitor as a reset (${version})`, async (t) => {
      const door = await open(t, (socket) => {
        socket.write('half')
        socket.once('data', () => cut(socket))
      })
      const client = await dialled(t, door, only)
      client.once('data', () => client.write('I have it'))
      assert.equal(await failureOf(client), 'ECONNRESET')
      await until(() => door.sockets.size === 0 && door.wrapped[0]?.closed === true, 'both to be closed')
    })

    test(`a cut ends the connection at any moment, also twice (${version})`, async (t) => {
      const moments: ((socket: TLSSocket) => unknown)[] = [
        cut,
        (socket) => socket.write('x', () => cut(socket)),
        (socket) => cut(socket.end('x')),
        (socket) => socket.end('x', () => cut(socket)),
        (socket) => socket.once('data', () => cut(socket)),
        (socket) => socket.resume().once('end', () => cut(socket)),
        (socket) => process.nextTick(cut, socket),
        (socket) => setImmediate(cut, socket),
        (socket) => [socket.write(Buffer.alloc(4 * 1024 * 1024)), setImmediate(cut, socket)],
        (socket) => [cut(socket), cut(socket), socket.write('x'), socket.end(), socket.destroy()],
        (socket) => [socket.destroy(), cut(socket)],
      ]
      const door = await open(t, (socket) => moments[door.wrapped.length - 1]?.(socket))
      for (const [at] of moments.entries()) {
        dial(t, door, only)
          .on('error', () => undefined)
          .end('x'.repeat(5_000))
        await until(() => door.wrapped.length === at + 1 && door.sockets.size === 0, `the end of ${at}`)
        await until(() => door.wrapped[at]?.closed === true, `a close of ${at}`)
      }
    })
  }

  for (const unit of ['whole', 'cut'] as const) {
    test(
      `curl takes a body that ends with the connection for ${unit} when it is`,
      { skip: noCurl },
      async (t) => {
        const head = 'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n'
        const door = await open(t, (socket) => {
          socket.once('data', () => {
            if (unit === 'whole') farewell(socket, Buffer.from(`${head}all of it`))
            else socket.write(`${head}a part`, () => cut(socket))
          })
        })
        const ca = pathOf(authority.folder, 'authority.pem')
        const url = `https://localhost:${door.port}/`
        const curl = spawn('curl', [
          '-sS',
          '--noproxy',
          '*',
          '--resolve',
          `localhost:${door.port}:127.0.0.1`,
          '--cacert',
          ca,
          url,
        ])
        const [code] = (await within(once(curl, 'exit'), 'curl to end')) as [number]
        if (unit === 'whole') assert.equal(code, 0)
        else assert.notEqual(code, 0)
      },
    )
  }

  test('the address is that of the visitor, and nodelay, pause, resume and unshift do what they do', async (t) => {
    const came: string[] = []
    const door = await open(t, (socket) => {
      socket.setNoDelay(true).setNoDelay(false)
      socket.once('data', (bytes) => {
        socket.pause()
        socket.unshift(bytes)
        setImmediate(() => {
          socket.on('data', (again: Buffer) => came.push(again.toString()))
          assert.deepEqual(came, [])
          socket.resume()
        })
      })
    })
    const client = await dialled(t, door)
    client.write('hello')
    await until(() => came.length > 0, 'the bytes to come again')
    assert.deepEqual(came, ['hello'])
    const [wrapped] = door.wrapped
    assert.equal(wrapped?.remoteAddress, '127.0.0.1')
    assert.equal(wrapped.remotePort, client.localPort)
  })

  test('a broken record after the handshake ends that connection alone', async (t) => {
    const door = await open(t, (socket) => socket.resume())
    let upstream: Socket | undefined
    const relay = await tcpApp(t, (socket) => {
      upstream = rawDial(t, door)
      upstream.pipe(socket).pipe(upstream)
    })
    const [hurt, well] = [await dialled(t, relay), await dialled(t, door)]
    hurt.on('error', () => undefined)
    await until(() => door.wrapped.length === 2, 'two to be wrapped')
    upstream?.write(Buffer.concat([Buffer.of(23, 3, 3, 0, 32), Buffer.alloc(32)]))
    await until(() => door.sockets.size === 1, 'the end of one')
    well.end()
    await until(
      () => door.wrapped.every((socket) => socket.readableEnded || socket.closed),
      'the other to go on',
    )
  })

  test('a visitor who vanishes after the handshake is no unhandled error', async (t) => {
    const door = await open(t, (socket) => socket.resume())
    const client = rawDial(t, door)
    const over = tls
      .connect({ socket: client, servername: 'localhost', ca: authority.ca })
      .on('error', () => undefined)
    await within(once(over, 'secureConnect'), 'a handshake')
    await until(() => door.wrapped.length === 1, 'a wrapped socket')
    client.resetAndDestroy()
    await until(() => door.wrapped[0]?.closed === true && door.sockets.size === 0, 'it to be closed')
  })

  test('a client may not begin the handshake anew', async (t) => {
    const door = await open(t, (socket) => socket.resume())
    const client = await dialled(t, door, { maxVersion: 'TLSv1.2' })
    const refused = new Promise<Error | null>((resolve) => {
      client.on('error', resolve)
      client.renegotiate({}, resolve)
    })
    const error = await within(refused, 'a refusal')
    assert.match(String(error), /no.renegotiation/i)
  })

  // Renewal

  describe('renewed files', () => {
    const renewed = authority.issue('renewed')

    function copy(t: TestContext): Required<TlsOptions> {
      const at = pathOf(authority.folder, t.name.replace(/\W/g, '-'))
      const files = { cert: `${at}.cert`, key: `${at}.key` }
      put(good, files)
      return files
    }

    function put(from: Issued, to: Issued): void {
      copyFileSync(from.cert, to.cert)
      copyFileSync(from.key, to.key)
    }

    async function renewable(t: TestContext, files = copy(t)) {
      const clock = { ms: 5_000 }
      const door = await open(t, (socket) => socket.resume(), { files, timing: { now: () => clock.ms } })
      return { ...door, files, clock }
    }

    test('count from the next connection on, once a second has passed, and living ones go on', async (t) => {
      const door = await renewable(t)
      const living = await dialled(t, door)
      put(renewed, door.files)
      door.clock.ms += 999
      assert.equal(await nameAt(t, door), 'good')
      door.clock.ms += 1
      assert.equal(await nameAt(t, door), 'renewed')
      living.end('still there')
      await until(() => door.wrapped[0]?.readableEnded === true, 'the end')
      assert.equal(door.wrapped[0]?.bytesRead, 'still there'.length)
    })

    test('are read only when they have changed: sessions are resumed until then', async (t) => {
      const door = await renewable(t)
      const first = await dialled(t, door)
      first.write('x')
      const [session] = (await within(once(first.resume(), 'session'), 'a ticket')) as [Buffer]
      door.clock.ms += 60_000
      assert.equal((await dialled(t, door, { session })).isSessionReused(), true)
      put(renewed, door.files)
      door.clock.ms += 60_000
      assert.equal((await dialled(t, door, { session })).isSessionReused(), false)
    })

    test('may be swapped by symlink, as certbot does', async (t) => {
      const live = { cert: pathOf(authority.folder, 'live.cert'), key: pathOf(authority.folder, 'live.key') }
      const link = (to: Issued) => {
        for (const kind of ['cert', 'key'] as const) {
          symlinkSync(to[kind], `${live[kind]}.new`)
          renameSync(`${live[kind]}.new`, live[kind])
        }
      }
      link(good)
      const door = await renewable(t, live)
      assert.equal(await nameAt(t, door), 'good')
      link(renewed)
      door.clock.ms += 1_000
      assert.equal(await nameAt(t, door), 'renewed')
    })

    test('count when both are there: until then the old pair is in force', async (t) => {
      const door = await renewable(t)
      const steps: [change: () => void, name: string][] = [
        [() => writeFileSync(door.files.cert, readFileSync(renewed.cert).subarray(0, 100)), 'good'],
        [() => copyFileSync(renewed.cert, door.files.cert), 'good'],
        [() => rmSync(door.files.key), 'good'],
        [() => copyFileSync(renewed.key, door.files.key), 'renewed'],
      ]
      for (const [change, name] of steps) {
        change()
        door.clock.ms += 1_000
        assert.equal(await nameAt(t, door), name)
      }
    })

    test('are read at once when told to, and told of when they are no pair', async (t) => {
      const door = await renewable(t)
      copyFileSync(renewed.cert, door.files.cert)
      const isUsage = (error: unknown) => error instanceof TunnelError && error.code === 'usage'
      assert.throws(() => door.secured.reload(), isUsage)
      rmSync(door.files.key)
      assert.throws(() => door.secured.reload(), isUsage)
      assert.equal(await nameAt(t, door), 'good')
      copyFileSync(renewed.key, door.files.key)
      door.secured.reload()
      assert.equal(await nameAt(t, door), 'renewed')
    })
  })
})
