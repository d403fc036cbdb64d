/** The agent for the way to the server. What goes through proxies is loaded only where there may be one: it is slow to. */
import type { Agent } from 'node:http'
import type { ProxiedServer } from './connect-proxy.ts'

/** As `proxyAgent` of lib/connect-proxy.ts. */
export async function outboundAgent(server: ProxiedServer): Promise<Agent | undefined> {
  const isNamed = Object.keys(process.env).some((name) => /_proxy$/i.test(name))
  if (server.proxy === false || (server.proxy === undefined && !isNamed)) return undefined
  const { proxyAgent } = await import('./connect-proxy.ts')
  return proxyAgent(server)
}
