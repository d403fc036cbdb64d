/**
 * The program in processes of its own, for tests that kill, freeze and restart it. Each has its own state folder unless
 * it is given that of another. Nothing of the environment speaks to it that the test did not choose.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { executable, unbundled } from './executable.ts'
import type { Holdings } from './fixtures/tell-usage.ts'
import { until, within } from './helpers.ts'

const teller = new URL(`./fixtures/tell-usage${import.meta.url.slice(-3)}`, import.meta.url).href

/** What ends things after a test: its context, or whoever else. */
export interface Cleanup {
  after(end: () => unknown): void
}

export interface ProgramOptions {
  /** The state folder; default one of its own. */
  state?: string
  /** Variables of the environment, such as GROKTUNNEL_KEY. */
  env?: Record<string, string>
  /** Descriptors it may have open. */
  descriptors?: number
  /** It can be asked what it holds, and is unbundled for that. */
  tells?: boolean
}

/** One process of the program: what it said, and how it ended. */
export class Program {
  readonly child: ChildProcess
  stdout = ''
  stderr = ''
  /** the exit code, or the signal that ended it */
  end: number | NodeJS.Signals | undefined

  constructor(child: ChildProcess) {
    this.child = child
    child.stdout?.on('data', (text: Buffer) => (this.stdout += text.toString()))
    child.stderr?.on('data', (text: Buffer) => (this.stderr += text.toString()))
    child.on('close', (code, signal) => (this.end = code ?? signal ?? undefined))
  }

  kill(signal: NodeJS.Signals): this {
    this.child.kill(signal)
    return this
  }

  /** Waits until a line has come on stderr so many times. */
  async said(line: RegExp, times = 1, ms?: number): Promise<void> {
    const all = new RegExp(line, 'g')
    const count = () => [...this.stderr.matchAll(all)].length
    await until(() => count() >= times || this.end !== undefined, `${times} of ${line}`, ms)
    assert.ok(count() >= times, `expected ${line}, got ${this.end} and ${JSON.stringify(this.stderr)}`)
  }

  /** What a program that `tells` holds, after a collection of all garbage. */
  async holdings(): Promise<Holdings> {
    this.child.send('holdings')
    const [answer] = (await within(once(this.child, 'message'), 'an answer')) as [Holdings]
    return answer
  }

  /** Waits for its end, and tells the exit code or the signal. */
  async ended(ms?: number): Promise<number | NodeJS.Signals | undefined> {
    await until(() => this.end !== undefined, `an end after ${JSON.stringify(this.stderr)}`, ms)
    return this.end
  }
}

/** A folder that goes with the test; or, where a process still writes there, with the last one. */
export function folder(t: Cleanup): string {
  const path = mkdtempSync(join(tmpdir(), 'groktunnel-'))
  folders.add(path)
  t.after(() => remove(path))
  return path
}

const folders = new Set<string>()
process.once('exit', () => folders.forEach(remove))

function remove(path: string): void {
  try {
    rmSync(path, { recursive: true, force: true, maxRetries: 2, retryDelay: 50 })
    folders.delete(path)
  } catch {
    // not yet
  }
}

export function start(t: Cleanup, argv: (string | number)[], options: ProgramOptions = {}): Program {
  const { state = folder(t), env = {}, descriptors, tells = false } = options
  const file = fileURLToPath(tells ? unbundled : executable)
  const flags = tells ? ['--expose-gc', '--disable-warning=ExperimentalWarning', '--import', teller] : []
  const command = [process.execPath, ...process.execArgv, ...flags, file, ...argv.map(String)]
  const limited = descriptors === undefined ? [] : ['sh', '-c', `ulimit -n ${descriptors}; exec "$@"`, 'sh']
  const [first = '', ...rest] = [...limited, ...command]
  const child = spawn(first, rest, {
    env: { PATH: process.env['PATH'] ?? '', ...env, XDG_STATE_HOME: state },
    stdio: ['ignore', 'pipe', 'pipe', ...(tells ? (['ipc'] as const) : [])],
  })
  t.after(() => child.kill('SIGKILL'))
  return new Program(child)
}

/** A port that nobody has, below those that systems give to outgoing connections: so it stays free over a restart. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(10_000, 30_000)
    const listener = net.createServer()
    const isFree = once(listener.listen(port, '127.0.0.1'), 'listening').then(
      () => true,
      () => false,
    )
    if (!(await isFree)) continue
    listener.close()
    await once(listener, 'close')
    return port
  }
}

/** A server at `port`; ready when this settles. */
export async function startServerAt(
  t: Cleanup,
  port: number,
  { argv = [], ...options }: ProgramOptions & { argv?: (string | number)[] } = {},
): Promise<Program> {
  const server = start(t, ['-p', port, ...argv], options)
  await server.said(/ready at/)
  return server
}

export interface Client extends Program {
  url: string
  host: string
}

/** A client of the server at `port`; its tunnel is open when this settles. */
export async function startClientOf(
  t: Cleanup,
  port: number,
  { argv = [], ...options }: ProgramOptions & { argv: (string | number)[] },
): Promise<Client> {
  const client = start(t, ['-p', port, ...argv], options)
  await until(() => client.stdout.includes('\n') || client.end !== undefined, 'a URL')
  assert.ok(client.end === undefined, `expected a client that stays, got ${client.end}: ${client.stderr}`)
  const url = client.stdout.trim()
  return Object.assign(client, { url, host: new URL(url).host })
}

/** How a client that must not open a tunnel ended: its exit code and what it said. */
export async function refusalOf(client: Promise<Client>): Promise<string> {
  const error: unknown = await client.catch((error: unknown) => error)
  assert.ok(error instanceof Error, 'expected a client that ends')
  return error.message
}

/** The local service of test/fixtures/body-app.ts; it listens when this settles. */
export async function startBodyApp(t: Cleanup, port = 0): Promise<Program & { port: number }> {
  const fixture = fileURLToPath(new URL(`./fixtures/body-app${import.meta.url.slice(-3)}`, import.meta.url))
  const child = spawn(process.execPath, [...process.execArgv, fixture, String(port)])
  t.after(() => child.kill('SIGKILL'))
  const app = new Program(child)
  await until(() => app.stdout.includes('\n') || app.end !== undefined, 'the port of a local service')
  assert.ok(app.end === undefined, app.stderr)
  return Object.assign(app, { port: Number(app.stdout) })
}
