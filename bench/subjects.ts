/**
 * What is compared, each between the same load and the same app:
 *
 *   direct       load → app
 *   hops         load → hop → hop → app
 *   groktunnel   load → server → client → app
 */
import { type Program, start } from './processes.ts'

export const GROKTUNNEL = '../../dist/groktunnel.js'
export const names = ['direct', 'hops', 'groktunnel'] as const
export type Name = (typeof names)[number]

export interface Subject {
  name: Name
  port: number
  /** its two processes; direct has none */
  pids: number[]
  stop(): Promise<void>
}

export interface Subjects {
  list: Subject[]
  /** what requests carry as Host, the same for all: the tunnel's public name */
  host: string
}

/** Starts all three anew. */
export async function startSubjects(appPort: number): Promise<Subjects> {
  const server = await startServer()
  const client = await startClient(appPort, server.port)
  const second = await startHop(appPort)
  const first = await startHop(Number(second.said))
  return {
    list: [
      { name: 'direct', port: appPort, pids: [], stop: () => Promise.resolve() },
      subject('hops', Number(first.said), [first, second]),
      subject('groktunnel', server.port, [server.program, client]),
    ],
    host: new URL(client.said).host,
  }
}

export async function startServer(): Promise<{ program: Program; port: number }> {
  const program = await start(GROKTUNNEL, ['-p', '0'], /ready at (http:\S+)\n/)
  return { program, port: Number(new URL(program.said).port) }
}

/** It says its public URL. */
export function startClient(appPort: number, serverPort: number): Promise<Program> {
  return start(GROKTUNNEL, ['-p', String(serverPort), String(appPort)], /(http:\/\/\S+)\n/)
}

function startHop(target: number): Promise<Program> {
  return start('hop.js', [String(target)], /^(\d+)\n/)
}

function subject(name: Name, port: number, programs: Program[]): Subject {
  const stop = async () => {
    await Promise.all(programs.map((program) => program.stop()))
  }
  return { name, port, pids: programs.map(({ pid }) => pid), stop }
}
