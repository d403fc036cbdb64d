#!/usr/bin/env node
/**
 * groktunnel: one executable, two modes. With a target it is the client, without one the server.
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
import { announcePlaces, tellerOf } from './lib/announce/announce.ts'
import { logEnd, logError, logServer, logStop } from './lib/announce/log.ts'
import type { ConnectOptions, Deliver, ServeOptions, Server, ServerEvents, Tunnel } from './lib/api.ts'
import { admission } from './lib/arrivals/admission.ts'
import { arrivals } from './lib/arrivals/arrivals.ts'
import { clientAddress, origins, trustList } from './lib/arrivals/proxies.ts'
import { delivery } from './lib/deliver/deliver.ts'
import { onThisMachine, serveSampleSite } from './lib/demo.ts'
import { background, detach, isInBackground, stopDetached } from './lib/detach/detach.ts'
import { drain } from './lib/drain.ts'
import { asTunnelError } from './lib/errors.ts'
import { Heartbeat } from './lib/heartbeat.ts'
import { refuse, register, welcome } from './lib/hello.ts'
import { loadKey, newKey } from './lib/key.ts'
import { landing } from './lib/landing.ts'
import { lasting, listen } from './lib/listen.ts'
import { type Channel, Session } from './lib/mux.ts'
import { Names } from './lib/names/names.ts'
import { type Grant, Registrar } from './lib/names/registrar.ts'
import { stateFile } from './lib/names/state-file.ts'
import { readToken } from './lib/names/tokens/tokens.ts'
import { type ClientOptions, type Options, parseOptions, requestedText } from './lib/options.ts'
import { outbound } from './lib/outbound/outbound.ts'
import { shellCode, isProgram, onReload, print, printError, saveMemory, startProcess } from './lib/process.ts'
import { reconnecting } from './lib/reconnect.ts'
import { reloadAll } from './lib/reload.ts'
import { siteOf } from './lib/site.ts'
import { watched } from './lib/tap.ts'
import { parseTarget } from './lib/target.ts'
import { secured } from './lib/tls/secured.ts'
import { keepUp, openAll } from './lib/together/together.ts'
import { SessionTunnel } from './lib/tunnel.ts'
import { nameOf, reception, type Visit, Visitor } from './vhost.ts'

export type { ConnectOptions, ServeOptions, Server, ServerEvents, Tunnel, TunnelEvents } from './lib/api.ts'
export { type ErrorCode, TunnelError } from './lib/errors.ts'

/** The program: reads the command line, runs one of the modes until it is told to stop. Returns the exit code. */
async function main(argv: string[]): Promise<number> {
  const signal = startProcess()
  let json = argv.slice(0, argv.indexOf('--') >>> 0).includes('--json') // until they are read
  try {
    const options = parseOptions(argv)
    json = options.json
    const text = requestedText(options)
    if (text !== undefined) return print(text)
    if (options.stop !== undefined) return await stopDetached(options.stop, options, logStop)
    if (options.detach && !isInBackground())
      return await detach(options, signal, (places) => announcePlaces(places, options))
    return await (options.demo ? demo : options.targets.length === 0 ? server : client)(options, signal)
  } catch (error) {
    if (signal.aborted) return argv.includes('--') ? shellCode(signal.reason as NodeJS.Signals) : 0
    if (json) logError(error)
    return printError(asTunnelError(error))
  }
}

async function server(options: Options, signal: AbortSignal): Promise<number> {
  const running = await serve({ ...options, onCrowd: saveMemory, signal })
  logServer(running, options)
  onReload(() => running.reload())
  await running.closed
  return 0
}

/** A tunnel for each target, for as long as they are wanted: until a signal, or the end of the command. */
async function client(options: ClientOptions, signal: AbortSignal): Promise<number> {
  const teller = tellerOf(options, signal, background())
  const { key, warning } = await loadKey({ ...options, key: options.ownerKey, server: options.host })
  if (warning !== undefined) teller.say(warning)
  const shared = { ...options, key, onWait: teller.wait, onHint: teller.say }
  const tunnels = await openAll(signal, options.targets, (target, signal) =>
    connect({ ...shared, ...target.options, local: target.local, signal }),
  )
  teller.up(tunnels)
  return keepUp(tunnels, { ...options, onEnd: logEnd })
}

/** Both modes in one process, and a site to show where there is none. */
async function demo(asked: Options, signal: AbortSignal): Promise<number> {
  const options = onThisMachine(asked)
  const { port } = await serve({ ...options, signal }).catch(() => serve({ ...options, port: 0, signal }))
  const here: ClientOptions = { ...options, port }
  if (here.targets.length === 0) here.targets.push({ local: await serveSampleSite(signal), options: here })
  return client(here, signal)
}

/** Starts a server. Rejects with `usage` or `cannot-listen`. */
export async function serve(options: ServeOptions = {}): Promise<Server> {
  const { port: asked = 9999, bind = '127.0.0.1', maxConnectionsPerTunnel: maxPerTunnel = 5_000 } = options
  const events = new EventEmitter<ServerEvents>()
  const onFault = (error: unknown) => void events.emit('fault', asTunnelError(error))
  const siteAt = siteOf(options)
  const trusts = trustList(options.trustProxy)
  const tls = await secured(options)
  const door = admission(options, trusts, tls !== undefined)
  const arrive = arrivals({ originOf: origins(options, trusts), tls })
  const heartbeat = new Heartbeat(options)
  const state = stateFile(options.stateFile, onFault)
  const names = new Names(options, () => state.save(() => names.held()))
  const registrar = new Registrar(options, names)
  const sessions = new Set<Session>()
  const guests = reception(options, { onVisit, onFault })

  /** The server's own host: a page for whoever looks, and the handshake. */
  const front = http.createServer(landing(() => site))
  front.on('upgrade', (request, socket: Socket, head) => {
    try {
      const grant = registrar.admit(request, clientAddress(request, trusts))
      socket.unshift(head)
      grant.take(startSession(socket, grant))
    } catch (error) {
      refuse(socket, asTunnelError(error, 'bad-request'))
    }
  })

  function startSession(
    socket: Socket,
    { name, maxConnections: maxChannels = maxPerTunnel }: Grant,
  ): Session {
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
  function onVisit(visit: Visit, visitor: Visitor): void {
    const name = nameOf(visit.head.host, site.host)
    if (name === '') return void front.emit('connection', visit.release().resume())
    const refusal = door.refusal(visitor.socket)
    if (refusal !== undefined) return visit.refuse(refusal)
    const follow = (channel: Channel) => visit.follow(channel)
    const refuse = (error: unknown) => visit.refuse(asTunnelError(error))
    names
      .open(name, visit.head.host, visitor.socket)
      .then(follow, refuse)
      .catch((error) => visitor.fail(error))
  }

  /** Whoever connects is let in, made known (a proxy may speak for it), and, where we speak TLS, secured. */
  const listener = net.createServer(lasting, (socket) => {
    socket.on('error', () => undefined) // 'close' follows, and is heard
    door.admit(socket)
    arrive(socket, (safe, origin) => {
      door.replace(socket, safe)
      new Visitor(safe, origin, guests)
    })
  })

  const held = await state.load()
  const { port } = await listen(listener, asked, bind)
  names.hold(held) // only now the names are ours to keep
  listener.on('error', onFault) // such as EMFILE: it goes on when there are descriptors again
  const site = siteAt(port, tls === undefined ? 'http' : 'https')
  const reload = () => reloadAll(tls, registrar)
  const ends = drain({ listener, door, names, sessions, state }, options)
  return Object.assign(events, { port, url: site.url, isOpen: registrar.isOpen, reload, ...ends })
}

/** Makes a local service public, and keeps it so. Rejects with `unreachable`, `usage`, or what the server refuses with. */
export async function connect({ key = newKey(), ...options }: ConnectOptions): Promise<Tunnel> {
  const client = randomUUID()
  const deliver = await delivery(parseTarget(String(options.local)), options)
  const watch = watched(deliver, () => tunnel)
  const open = reconnecting((again) => openSession(again, client, watch))
  let tunnel: Tunnel | undefined
  return (tunnel = await open({ ...options, key }))
}

/** The tunnel of one session. */
async function openSession(options: ConnectOptions, client: string, deliver: Deliver): Promise<Tunnel> {
  const way = await outbound(options)
  const { socket, subdomain, publicUrl: url } = await register({ ...way, client, token: readToken(options) })
  const session = new Session(socket, { side: 'client' })
  session.on('channel', deliver)
  new Heartbeat(options).watch(session)
  return new SessionTunnel(session, { ...options, subdomain, url })
}

if (isProgram(import.meta.url)) process.exit(await main(process.argv.slice(2)))
