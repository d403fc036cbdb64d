/** Programs in a pseudo-terminal (test/fixtures/terminal.py), and what a user would see there. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import net from 'node:net'
import { createInterface } from 'node:readline'
import { StringDecoder } from 'node:string_decoder'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { Order } from './fixtures/display.ts'
import { listening, until, within } from './helpers.ts'
import { TestScreen } from './screen.ts'

// build/test/terminal.js: the sources are two folders up
const driver = fileURLToPath(new URL('../../test/fixtures/terminal.py', import.meta.url))
const fixture = fileURLToPath(new URL(`./fixtures/display${import.meta.url.slice(-3)}`, import.meta.url))

type DriverOrder =
  { resize: [columns: number, rows: number] } | { type: string } | { signal: number } | { hold: boolean }

export interface TerminalOptions {
  columns?: number
  rows?: number
  env?: Record<string, string>
}

/** A terminal with a program in it, which ends with the test. */
export class Terminal {
  readonly screen: TestScreen
  /** all that came, as it came */
  output = ''
  /** how the program ended */
  end: { code?: number; signal?: number } | undefined
  readonly #driver: ChildProcess

  constructor(t: TestContext, argv: string[], { columns = 80, rows = 24, env = {} }: TerminalOptions = {}) {
    this.screen = new TestScreen(columns, rows)
    this.#driver = spawn('python3', [driver, String(columns), String(rows), ...argv], {
      env: { PATH: process.env['PATH'] ?? '', TERM: 'xterm-256color', TZ: 'UTC', PS1: '$ ', ...env },
    })
    const text = new StringDecoder('utf8')
    this.#driver.stdout?.on('data', (bytes: Buffer) => this.#show(text.write(bytes)))
    let said = ''
    this.#driver.stderr?.on('data', (bytes: Buffer) => (said += bytes.toString()))
    this.#driver.on('close', () => (this.end = JSON.parse(said || '{}') as { code?: number }))
    t.after(() => this.#driver.stdin?.end())
  }

  order(order: DriverOrder): this {
    if ('resize' in order) this.screen.resize(...order.resize)
    this.#driver.stdin?.write(`${JSON.stringify(order)}\n`)
    return this
  }

  /** Waits until the screen shows what is expected. */
  async shows(expected: RegExp): Promise<string> {
    const isThere = () => expected.test(this.screen.text)
    await until(() => isThere() || this.end !== undefined, `${expected} in\n${this.screen.text}`).catch(
      () => undefined,
    )
    assert.ok(isThere(), `expected ${expected}, got ${JSON.stringify(this.end)} and\n${this.screen.text}`)
    return this.screen.text
  }

  async ended(): Promise<{ code?: number; signal?: number }> {
    await until(() => this.end !== undefined, 'the end of the program')
    return this.end ?? {}
  }

  #show(text: string): void {
    this.output += text
    this.screen.write(text)
  }
}

/** The display in a terminal, and a line to the process that shows it. */
export interface Shown {
  terminal: Terminal
  tell: (order: Order) => Promise<unknown>
}

/** Starts test/fixtures/display.ts; in a shell that has the terminal first, where `shell` is given. */
export async function startDisplay(
  t: TestContext,
  { shell, ...options }: TerminalOptions & { shell?: (command: string) => string } = {},
): Promise<Shown> {
  const listener = net.createServer()
  const port = await listening(listener, 0)
  t.after(() => listener.close())
  const command = [process.execPath, ...process.execArgv, fixture, String(port)]
  const terminal = new Terminal(t, shell === undefined ? command : ['sh', '-i'], options)
  if (shell !== undefined) terminal.order({ type: `${shell(command.join(' '))}\n` })
  const [socket] = (await within(once(listener, 'connection'), 'the display')) as [net.Socket]
  t.after(() => socket.destroy())
  const answers = createInterface(socket.on('error', () => undefined))
  const tell = async (order: Order) => {
    const answer = once(answers, 'line')
    socket.write(`${JSON.stringify(order)}\n`)
    const [line] = (await within(answer, `an answer to ${order.order}`)) as [string]
    return JSON.parse(line) as unknown
  }
  return { terminal, tell }
}
