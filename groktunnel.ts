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
import { randomUUID } from 'node:crypto'
import { EventEmitter } from 'node:events'
import http from 'node:http'
import net, { type Socket } from 'node:net'
import { admission } from './lib/admission.ts'
import { answer } from './lib/answer.ts'
import type { ConnectOptions, ServeOptions, Server, ServerEvents, Tunnel } from './lib/api.ts'
import { arrivals } from './lib/arrivals.ts'
import { readCertificates } from './lib/certificates.ts'
import { serveSampleSite } from './lib/demo.ts'
import { drain } from './lib/drain.ts'
import { farewell } from './lib/ending.ts'
import { environment } from './lib/environment.ts'
import { asTunnelError } from './lib/errors.ts'
import { Heartbeat } from './lib/heartbeat.ts'
import { readRegistration, refuse, register, welcome } from './lib/hello.ts'
import { loadKey, newKey } from './lib/key.ts'
import { landing } from './lib/landing.ts'
import { listen } from './lib/listen.ts'
import { deliver, dialer } from './lib/local.ts'
import { logServer, logTunnel, logWait } from './lib/log.ts'
import { Session } from './lib/mux.ts'
import { Names } from './lib/names.ts'
import { helpText, type Options, parseOptions } from './lib/options.ts'
import { outboundAgent } from './lib/outbound.ts'
import { isProgram, onReload, print, printError, printLine, saveMemory, startProcess } from './lib/process.ts'
import { clientAddress, origins, trustList } from './lib/proxies.ts'
import { reconnecting } from './lib/reconnect.ts'
import { Registrations } from './lib/registrations.ts'
import { secured } from './lib/secured.ts'
import { siteOf } from './lib/site.ts'
import { stateFile } from './lib/state-file.ts'
import { reloadAll } from './lib/reload.ts'
import { readToken, tokens } from './lib/tokens.ts'
import { SessionTunnel } from './lib/tunnel.ts'
import { version } from './lib/version.ts'
import { checkSubdomain, newSubdomain } from './subdomain.ts'
import { nameOf, reception, Visitor, visits } from './vhost.ts'

export type { ConnectOptions, ServeOptions, Server, ServerEvents, Tunnel, TunnelEvents } from './lib/api.ts'
export { type ErrorCode, TunnelError } from './lib/errors.ts'

/** The program: reads the command line, runs one of the modes until it is told to stop. Returns the exit code. */
async function main(argv: string[]): Promise<number> {
  const signal = startProcess()
  try {
    const options = parseOptions(argv)
    if (options.help !== undefined) return print(helpText(options.help))
    if (options.version) return print(`${version}\n`)
    await (options.demo ? demo : options.local === undefined ? server : client)(options, signal)
    return 0
  } catch (error) {
    return signal.aborted ? 0 : printError(asTunnelError(error))
  }
}

async function server(options: Options, signal: AbortSignal): Promise<void> {
  const own = { ...environment.server(options), onCrowd: saveMemory, signal }
  const running = await serve({ ...options, ...own })
  logServer(running, options)
  onReload(() => running.reload())
  await running.closed
}

async function client(options: Options, signal: AbortSignal): Promise<void> {
  const { key, warning } = await loadKey({ ...environment, server: options.host })
  if (warning !== undefined) printLine(warning)
  const own = { ...environment.client(options), key, onWait: logWait, signal }
  const tunnel = await connect({ local: 0, ...options, ...own })
  logTunnel(tunnel, `port ${options.local} http available at:`)
  await tunnel.closed
}

/** Both modes in one process, and a site to show where there is none. */
async function demo(options: Options, signal: AbortSignal): Promise<void> {
  const { port } = await serve({ ...options, signal }).catch(() => serve({ ...options, port: 0, signal }))
  const local = options.local ?? (await serveSampleSite(signal))
  await client({ ...options, port, local }, signal)
}

/** Starts a server. Rejects with `usage` or `cannot-listen`. */
export async function serve(options: ServeOptions = {}): Promise<Server> {
  const { port: asked = 9999, bind = '127.0.0.1', maxConnectionsPerTunnel = 5_000 } = options
  const events = new EventEmitter<ServerEvents>()
  const onFault = (error: unknown) => void events.emit('fault', asTunnelError(error))
  const siteAt = siteOf(options)
  const trusts = trustList(options.trustProxy)
  const door = admission(options, trusts)
  const tls = await secured(options)
  const arrive = arrivals({ originOf: origins(options, trusts), tls })
  const holders = tokens(options)
  const registrations = new Registrations(options)
  const heartbeat = new Heartbeat(options)
  const state = stateFile(options.stateFile, onFault)
  const names = new Names(options, () => state.save(() => names.held()))
  const sessions = new Set<Session>()
  const onFirst = (visitor: Visitor) => void receive(visitor).catch((error) => visitor.fail(error))
  const guests = reception(options, { onFirst, onFault })

  /** The server's own host: a page for whoever looks, and the handshake. */
  const front = http.createServer(landing(() => site))
  front.on('upgrade', (request, socket: Socket, head) => {
    try {
      const address = clientAddress(request, trusts)
      registrations.knock(address)
      const registration = readRegistration(request)
      const name = checkSubdomain(registration.subdomain ?? newSubdomain())
      const holder = holders.admit(registration.authorization, name)
      const owner = { ...registration, isEntitled: holder?.owns(name) === true }
      names.check(name, owner)
      registrations.check({ ...holder, address }, names.find(name))
      socket.unshift(head)
      const session = startSession(socket, name, holder?.maxConnections)
      names.take(name, owner, session)
      registrations.add(session, { ...holder, address })
    } catch (error) {
      refuse(socket, asTunnelError(error, 'bad-request'))
    }
  })

  function startSession(socket: Socket, name: string, maxChannels = maxConnectionsPerTunnel): Session {
    const publicHost = site.hostOf(name)
    door.release(socket)
    welcome(socket, publicHost, site.urlOf(name))
    const session = new Session(socket, { side: 'server', maxChannels })
    sessions.add(session)
    events.emit('start', publicHost)
    heartbeat.watch(session, (ms) => events.emit('latency', publicHost, ms))
    session.on('close', (error) => sessions.delete(session) && events.emit('end', publicHost, error))
    return session
  }

  /** Each visit of a public connection goes to the tunnel it names. */
  async function receive(visitor: Visitor): Promise<void> {
    for await (const visit of visits(visitor)) {
      const name = nameOf(visit.head.host, site.host)
      if (name === '') front.emit('connection', visit.release().resume())
      else
        await names.open(name, visit.head.host, visitor.socket).then(
          (channel) => visit.follow(channel),
          (error) => visit.refuse(asTunnelError(error)),
        )
    }
  }

  /** Whoever connects is let in, made known (a proxy may speak for it), and, where we speak TLS, secured. */
  const listener = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    socket.on('error', () => undefined) // 'close' follows, and is heard
    const refusal = door.admit(socket)
    if (refusal !== undefined) return tls === undefined ? farewell(socket, answer(refusal)) : socket.destroy()
    arrive(socket, (safe, origin) => {
      door.replace(socket, safe)
      new Visitor(safe, origin, guests)
    })
  })

  names.hold(await state.load())
  const { port } = await listen(listener, asked, bind)
  listener.on('error', onFault) // such as EMFILE: it goes on when there are descriptors again
  const site = siteAt(port, tls === undefined ? 'http' : 'https')
  const reload = () => reloadAll(tls, holders)
  const ends = drain({ listener, door, names, sessions, state }, options)
  return Object.assign(events, { port, url: site.url, isOpen: holders.isOpen, reload, ...ends })
}

/** Makes a local port public, and keeps it so. Rejects with `unreachable`, or the code the server refuses with. */
export function connect(options: ConnectOptions): Promise<Tunnel> {
  const client = randomUUID()
  return reconnecting((again) => openSession(again, client))({ ...options, key: options.key ?? newKey() })
}

/** The tunnel of one session. */
async function openSession(options: ConnectOptions, client: string): Promise<Tunnel> {
  const { host = 'localhost', port = 9999, ca: caFile } = options
  const ca = caFile === undefined ? undefined : readCertificates('--ca', caFile)
  const where = { ...options, host, port, ca }
  const token = readToken(options)
  const agent = await outboundAgent(where)
  const { socket, subdomain, publicUrl: url } = await register({ ...where, client, token, agent })
  const session = new Session(socket, { side: 'client' })
  const dial = dialer(options.local)
  session.on('channel', (channel) => void deliver(channel, dial))
  new Heartbeat(options).watch(session)
  return new SessionTunnel(session, { ...options, subdomain, url })
}

if (isProgram(import.meta.url)) process.exit(await main(process.argv.slice(2)))
