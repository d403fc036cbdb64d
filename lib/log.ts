/** What the program says of servers and tunnels: one line an event, on stderr. */
import type { Server, Tunnel } from './api.ts'
import { isLoopback } from './address.ts'
import { printLine, printUrl } from './process.ts'

/** Tells of a server's sessions and faults from now on. */
export function logServer(server: Server, { host, bind }: { host: string; bind: string }): void {
  printLine(`groktunnel server [${host}] ready at ${server.url}`)
  if (server.isOpen && !isLoopback(bind)) {
    printLine('no token is asked for: whoever reaches this port can open a tunnel; see --tokens')
  }
  const latencies = new Map<string, number>()
  server.on('latency', (publicHost, ms) => latencies.set(publicHost, ms))
  server.on('start', (publicHost) => printLine(`${publicHost}: start session`))
  server.on('end', (publicHost, error) => {
    const ms = latencies.get(publicHost)
    latencies.delete(publicHost)
    const facts = [...(error ? [error.message] : []), ...(ms === undefined ? [] : [away(ms)])]
    printLine(`${publicHost}: end session${facts.length === 0 ? '' : ` (${facts.join('; ')})`}`)
  })
  server.on('fault', (error) => printLine(`fault: ${error.message}${causeOf(error)}`))
}

/** Tells why the first connection is still waited for. */
export function logWait(error: unknown): void {
  printLine(`${error instanceof Error ? error.message : String(error)}; waiting for it`)
}

/** Prints where the tunnel is, and tells when it is lost and when it is back. */
export function logTunnel(tunnel: Tunnel, title: string): void {
  printLine(title)
  printUrl(tunnel.url)
  tunnel.on('lost', (error) => printLine(`${tunnel.url} is lost (${error.message}); redialling`))
  tunnel.on('back', (awayMs) => printLine(`${tunnel.url} is back after ${(awayMs / 1000).toFixed(1)} s`))
}

/** How far a peer is, in words. */
function away(latencyMs: number): string {
  return `${latencyMs.toFixed(latencyMs < 10 ? 1 : 0)} ms away`
}

function causeOf({ cause }: Error): string {
  const where = cause instanceof Error ? cause.stack?.split('\n')[1]?.trim() : undefined
  return where === undefined ? '' : ` (${where})`
}
