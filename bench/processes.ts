/** The processes of the bench. Whatever way the bench ends, none of them outlives it. */
import { type ChildProcess, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

const running = new Set<ChildProcess>()
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')))
process.on('SIGINT', () => process.exit(130)).on('SIGTERM', () => process.exit(143))

export interface Program {
  pid: number
  /** what the pattern it was started with picked out of its output */
  said: string
  stop(): Promise<void>
}

/** Runs a script of ours beside this one by node, until its output matches `ready`. */
export async function start(script: string, args: string[], ready: RegExp): Promise<Program> {
  const child = spawn(process.execPath, [pathOf(script), ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  keep(child)
  let output = ''
  const said = await new Promise<string>((resolve, reject) => {
    const onText = (text: string) => {
      output += text
      const found = ready.exec(output)?.[1]
      if (found !== undefined) resolve(found)
    }
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', onText)
    child.once('exit', () => reject(new Error(`${script} ${args.join(' ')} ended; it said: ${output}`)))
  })
  return { pid: child.pid ?? NaN, said, stop: () => stop(child) }
}

/** A forked process that is asked one thing after the other. */
export class Helper<Order, Answer> {
  readonly pid: number
  readonly #child: ChildProcess

  private constructor(child: ChildProcess) {
    this.#child = child
    this.pid = child.pid ?? NaN
  }

  static async start<Order, Answer>(script: string): Promise<Helper<Order, Answer>> {
    const helper = new Helper<Order, Answer>(keep(fork(pathOf(script))))
    await helper.#answer()
    return helper
  }

  ask(order: Order): Promise<Answer> {
    const answer = this.#answer()
    this.#child.send(order as object)
    return answer
  }

  #answer(): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const onExit = () => reject(new Error('a process of the bench ended; its reason is above'))
      this.#child.once('exit', onExit)
      this.#child.once('message', (answer) => {
        this.#child.off('exit', onExit)
        resolve(answer as Answer)
      })
    })
  }
}

/** A path beside the compiled bench. */
export function pathOf(script: string): string {
  return fileURLToPath(new URL(script, import.meta.url))
}

function keep(child: ChildProcess): ChildProcess {
  running.add(child)
  child.once('exit', () => running.delete(child))
  return child
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGKILL')
  await once(child, 'exit')
}
