/** How long the program takes to start, in ms: alone, beside a bare node, and to the first answer through a tunnel. */
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import http from 'node:http'
import { pathOf } from './processes.ts'
import { GROKTUNNEL, startClient, startServer } from './subjects.ts'

export interface StartTimes {
  bareNode: number[]
  version: number[]
  /** from the client's start to the first answer through the tunnel, the server running */
  firstAnswer: number[]
}

/** Takes the three in turn, so that all meet the same noise. */
export async function measureStart(appPort: number, times: number): Promise<StartTimes> {
  const result: StartTimes = { bareNode: [], version: [], firstAnswer: [] }
  const { program, port } = await startServer()
  for (let time = 0; time < times; time++) {
    result.bareNode.push(runMs(['-e', '0']))
    result.version.push(runMs([pathOf(GROKTUNNEL), '--version']))
    result.firstAnswer.push(await firstAnswerMs(appPort, port))
  }
  await program.stop()
  return result
}

function runMs(args: string[]): number {
  const from = performance.now()
  const { status } = spawnSync(process.execPath, args)
  if (status !== 0) throw new Error(`node ${args.join(' ')} ended with ${status}`)
  return performance.now() - from
}

async function firstAnswerMs(appPort: number, serverPort: number): Promise<number> {
  const from = performance.now()
  const client = await startClient(appPort, serverPort)
  const { host } = new URL(client.said)
  const request = http.get({ host: '127.0.0.1', port: serverPort, headers: { host }, agent: false })
  const [response] = (await once(request, 'response')) as [http.IncomingMessage]
  const ms = performance.now() - from
  response.destroy()
  if (response.statusCode !== 200) throw new Error(`expected a 200, got ${response.statusCode}`)
  await client.stop()
  return ms
}
