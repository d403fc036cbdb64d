/** The way to the server. What goes through proxies is loaded only where there may be one: it is slow to. */
import type { Agent } from 'node:http'
import type { ConnectOptions } from '../api.ts'
import { readCertificates } from '../certificates.ts'
import type { ProxiedServer } from './connect-proxy.ts'

/** The options with what goes without saying: where the server is, whom to trust, and what to go through. Rejects with `usage`. */
export async function outbound(options: ConnectOptions) {
  const { host = 'localhost', port = 9999, ca: file } = options
  const ca = file === undefined ? undefined : readCertificates('--ca', file)
  const way = { ...options, host, port, ca }
  return { ...way, agent: await agentOf(way) }
}

async function agentOf(server: ProxiedServer): Promise<Agent | undefined> {
  const isNamed = Object.keys(process.env).some((name) => /_proxy$/i.test(name))
  if (server.proxy === false || (server.proxy === undefined && !isNamed)) return undefined
  const { proxyAgent } = await import('./connect-proxy.ts')
  return proxyAgent(server)
}
