#!/usr/bin/env node
/**
 * groktunnel: one executable, two modes. With a port it is the client, without one the server.
 *
 * The client sends an HTTP GET, reads `X-Public-Host` in the answer, and goes on in yamux over the same connection.
 * The server reads the Host of each public connection, opens a yamux channel to the client that has the name, and
 * the two are joined. Everything else is built round that.
 *
 * This file is also the package: `import { serve, connect } from 'groktunnel'`. Used so, it neither exits nor prints.
 */
import { EventEmitter } from 'node:events'
import http from 'node:http'
import net from 'node:net'
import type { Socket } from 'node:net'
import type { ConnectOptions, ServeOptions, Server, ServerEvents, Tunnel } from './lib/api.ts'
import { admission } from './lib/admission.ts'
import { answer } from './lib/answer.ts'
import { serveSampleSite } from './lib/demo.ts'
import { dismiss, farewell } from './lib/ending.ts'
import { asTunnelError, TunnelError } from './lib/errors.ts'
import type { Origin } from './lib/http/forwarded.ts'
import { readRegistration, refuse, register, welcome } from './lib/hello.ts'
import { landing } from './lib/landing.ts'
import { listen, onAbort, withPort } from './lib/listen.ts'
import { deliver, dialer } from './lib/local.ts'
import { Session } from './lib/mux.ts'
import { origins, trustList } from './lib/proxies.ts'
import { helpText, type Options, parseOptions } from './lib/options.ts'
import { isProgram, print, printLine, printUrl, untilSignal } from './lib/process.ts'
import { version } from './lib/version.ts'
import { checkSubdomain, newSubdomain } from './subdomain.ts'
import { nameOf, patience, Visitor, visits } from './vhost.ts'

export type { ConnectOptions, ServeOptions, Server, ServerEvents, Tunnel } from './lib/api.ts'
export { type ErrorCode, TunnelError } from './lib/errors.ts'

/** The program: reads the command line, runs one of the modes until it is told to stop. Returns the exit code. */
async function main(argv: string[]): Promise<number> {
  const signal = untilSignal()
  try {
    const options = parseOptions(argv)
    if (options.help) return print(helpText())
    if (options.version) return print(`${version}\n`)
    if (options.demo) return await demo(options, signal)
    return options.local === undefined
      ? await server(options, signal)
      : await client(options, options.local, signal)
  } catch (error) {
    if (signal.aborted) return 0
    const { message, exitCode } = asTunnelError(error)
    printLine(`groktunnel: ${message}`)
    return exitCode
  }
}

async function server(options: Options, signal: AbortSignal): Promise<number> {
  const running = await serve({ ...options, signal })
  printLine(`groktunnel server [${options.host}] ready at ${running.url}`)
  running.on('start', (publicHost) => printLine(`${publicHost}: start session`))
  running.on('end', (publicHost, error) =>
    printLine(`${publicHost}: end session${error ? ` (${error.message})` : ''}`),
  )
  await running.closed
  return 0
}

async function client(options: Options, local: number, signal: AbortSignal): Promise<number> {
  const tunnel = await connect({ ...options, local, signal })
  printLine(`port ${local} http available at:`)
  printUrl(tunnel.url)
  await tunnel.closed
  return 0
}

/** Both modes in one process, and a site to show where there is none. */
async function demo(options: Options, signal: AbortSignal): Promise<number> {
  const { port } = await serve({ ...options, signal }).catch(() => serve({ ...options, port: 0, signal }))
  const local = options.local ?? (await serveSampleSite(signal))
  return client({ ...options, port }, local, signal)
}

/** Starts a server. Rejects with `port-in-use` or `cannot-listen`. */
export async function serve(options: ServeOptions = {}): Promise<Server> {
  const { port = 9999, bind = '127.0.0.1', signal } = options
  const host = (options.host ?? 'localhost').toLowerCase()
  const trusts = trustList(options.trustProxy)
  const { admit, admitted } = admission(options, trusts)
  const originOf = origins(options, trusts)
  const limits = patience(options)
  const events = new EventEmitter<ServerEvents>()
  const tunnels = new Map<string, Session>()

  /** The server's own host: a page for whoever looks, and the handshake. */
  const front = http.createServer(landing(host, () => address.port))
  front.on('upgrade', (request, socket, head) => {
    try {
      const name = checkSubdomain(readRegistration(request) ?? newSubdomain())
      if (tunnels.has(name)) throw new TunnelError('name-taken', `expected a free name, ${name} is taken`)
      socket.unshift(head)
      startSession(name, socket as Socket)
    } catch (error) {
      refuse(socket, asTunnelError(error, 'bad-request'))
    }
  })

  function startSession(name: string, socket: Socket): void {
    const publicHost = withPort(`${name}.${host}`, address.port)
    welcome(socket, publicHost, `http://${publicHost}`)
    const session = new Session(socket, { side: 'server' })
    tunnels.set(name, session)
    events.emit('start', publicHost)
    session.on('close', (error) => {
      tunnels.delete(name)
      events.emit('end', publicHost, error)
    })
  }

  /** Each visit of a public connection goes to the tunnel it names. */
  async function receive(visitor: Visitor): Promise<void> {
    for await (const visit of visits(visitor)) {
      const name = nameOf(visit.head.host, host)
      const session = tunnels.get(name ?? '')
      if (name === '') front.emit('connection', visit.release().resume())
      else if (session === undefined) visit.refuse(noSuchTunnel(visit.head.host))
      else
        await session.open().then(
          (channel) => visit.follow(channel),
          (error) => visit.refuse(asTunnelError(error)),
        )
    }
  }

  const meet = (socket: Socket, origin: Origin) => void new Visitor(socket, origin, limits, onFirst)
  const onFirst = (visitor: Visitor) => void receive(visitor).catch(() => visitor.socket.destroy())

  const listener = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    socket.on('error', ignore) // 'close' follows, and is heard
    const refusal = admit(socket)
    if (refusal !== undefined) return farewell(socket, answer(refusal))
    const origin = originOf(socket)
    if (origin instanceof Promise)
      origin.then(
        (told) => meet(socket, told),
        () => socket.destroy(),
      )
    else meet(socket, origin)
  })
  const address = await listen(listener, port, bind)
  const closed = new Promise<void>((resolve) => listener.once('close', resolve))

  function close(): Promise<void> {
    listener.close()
    for (const session of tunnels.values()) session.close()
    // Not before the visits have cut what is now only half an answer.
    setImmediate(() => admitted().forEach(dismiss))
    return closed
  }
  onAbort(signal, close, closed)
  return Object.assign(events, {
    port: address.port,
    url: `http://${withPort(host, address.port)}`,
    close,
    closed,
  })
}

/** Makes a local port public. Rejects with `unreachable`, `not-groktunnel`, or the code the server refuses with. */
export async function connect(options: ConnectOptions): Promise<Tunnel> {
  const { local, host = 'localhost', port = 9999, subdomain, signal } = options
  const { socket, publicUrl } = await register({ host, port, subdomain, signal })
  const session = new Session(socket, { side: 'client' })
  const dial = dialer(local)
  session.on('channel', (channel) => void deliver(channel, dial))
  const closed = new Promise<void>((resolve, reject) => {
    session.on('close', (error, byUs) => (byUs ? resolve() : reject(error ?? serverLeft)))
  })
  closed.catch(() => undefined) // nobody need listen
  const close = () => {
    session.close()
    return closed
  }
  onAbort(signal, close, closed)
  return { url: publicUrl, close, closed }
}

const ignore = () => undefined
const serverLeft = new TunnelError('session-closed', 'the server closed the session')

function noSuchTunnel(host: string): TunnelError {
  return new TunnelError('no-such-tunnel', `no tunnel is open at ${host}`)
}

if (isProgram(import.meta.url)) process.exit(await main(process.argv.slice(2)))
