/**
 * Scripts as users write them: run by a real shell, with the program in their PATH and a server where it looks for one. What
 * a script started is known by a variable of its environment, so that what it leaves behind is found and ends with the test.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { chmodSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { executable } from './executable.ts'
import { ask, httpApp, startServer, until } from './helpers.ts'
import { folder, Program } from './programs.ts'

const file = fileURLToPath(executable)

export interface ShellOptions {
  /** Of the server. */
  port: number
  env?: Record<string, string>
  /** The state folder; default one of its own. */
  state?: string
  /** Default bash. */
  shell?: string
  /** Its stdin is a pipe from the test; default empty. */
  input?: boolean
}

export interface Script extends Program {
  /** What it started, itself included, and still runs: pid and command line. */
  running: () => Running[]
  /** Waits until nothing that it started runs any more. */
  allEnded: (ms?: number) => Promise<void>
  /** Sends a signal to the one that runs with these words. */
  signal: (signal: NodeJS.Signals, words: RegExp) => void
}

export interface Running {
  pid: number
  /** The command line. */
  line: string
}

/** Runs a script. What it started is killed after the test. */
export function runScript(t: TestContext, text: string, options: ShellOptions): Script {
  const { port, env = {}, state = folder(t), shell = 'bash', input = false } = options
  const mark = `SCRIPT_MARK=${randomUUID()}`
  const [name = '', value = ''] = mark.split('=')
  const child = spawn(shell, ['-c', text], {
    cwd: folder(t),
    env: {
      ...env,
      PATH: `${programFolder(t)}:${process.env['PATH'] ?? ''}`,
      NODE: process.execPath,
      GROKTUNNEL_PORT: String(port),
      XDG_STATE_HOME: state,
      [name]: value,
    },
    stdio: [input ? 'pipe' : 'ignore', 'pipe', 'pipe'],
  })
  const running = () => runningWith(mark)
  t.after(() => {
    for (const { pid } of running()) kill(pid)
  })
  return Object.assign(new Program(child), {
    running,
    allEnded: (ms?: number) =>
      until(() => running().length === 0, 'nothing left behind', ms).catch((error: unknown) => {
        assert.deepEqual(running(), [], String(error))
      }),
    signal(signal: NodeJS.Signals, words: RegExp) {
      const meant = running().filter(({ line }) => words.test(line))
      assert.equal(meant.length, 1, `one of ${JSON.stringify(running())} is ${words}`)
      for (const { pid } of meant) process.kill(pid, signal)
    },
  })
}

export interface Place {
  /** Of the server. */
  port: number
  /** Of the local service. */
  app: number
  /** Runs a script which knows the port of the local service as APP. */
  run: (text: string, options?: Partial<ShellOptions>) => Script
}

/** A server and a local service. */
export async function place(t: TestContext): Promise<Place> {
  const { port } = await startServer(t)
  const app = await httpApp(t, (request, response) => response.end(`hello ${request.url}`))
  app.on('upgrade', (_, socket) => {
    socket.on('error', () => undefined).write('HTTP/1.1 101 Switching Protocols\r\n\r\n')
    t.after(() => socket.destroy())
  })
  const run: Place['run'] = (text, { env, ...options } = {}) =>
    runScript(t, text, { port, env: { APP: String(app.port), ...env }, ...options })
  return { port, app: app.port, run }
}

/** Waits for so many lines on stdout: URLs, if nothing else was asked for. */
export async function linesOf(script: Script, count = 1): Promise<string[]> {
  const lines = () => script.stdout.split('\n').slice(0, -1)
  await until(
    () => lines().length >= count || script.end !== undefined,
    `${count} lines, got ${script.stderr}`,
  )
  assert.equal(lines().length, count, `${script.end} ${script.stdout} ${script.stderr}`)
  return lines()
}

/** Asserts that the local service answers at a URL. */
export async function assertLive(url = ''): Promise<void> {
  const { host, port } = new URL(url)
  assert.equal((await ask({ port: Number(port), host }, { path: '/x' })).body, 'hello /x')
}

/** Whether this system tells which processes a script has started (proc(5)). */
export const isToldOfProcesses = existsSync('/proc/self/environ')

/** A folder with the program as users have it. */
function programFolder(t: TestContext): string {
  const bin = folder(t)
  const words = [process.execPath, ...process.execArgv, file].map((word) => `'${word}'`).join(' ')
  writeFileSync(join(bin, 'groktunnel'), `#!/bin/sh\nexec ${words} "$@"\n`)
  chmodSync(join(bin, 'groktunnel'), 0o755)
  return bin
}

function runningWith(mark: string): Running[] {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
  return pids.flatMap((pid) => {
    const line = wordsIn(`/proc/${pid}/cmdline`).join(' ').trim()
    return wordsIn(`/proc/${pid}/environ`).includes(mark) ? [{ pid: Number(pid), line }] : []
  })
}

function wordsIn(file: string): string[] {
  try {
    return readFileSync(file, 'utf8').split('\0')
  } catch {
    return [] // it has just ended, or is somebody else's
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // it has just ended
  }
}
