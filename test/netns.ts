/**
 * Two machines and a wire between them, on one machine: each is a network namespace of its own, and all their packets
 * pass a wire (fixtures/wire.py) that may be long, lossy or pulled. It takes no root where users may have namespaces.
 *
 * Nothing here has a name that could be taken, or left behind: a namespace lasts as long as there is a process in it.
 */
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { until, within } from './helpers.ts'

export const NEAR_ADDRESS = '10.77.0.1'
const FAR_ADDRESS = '10.77.0.2'
/** What the far machine calls the near one; no name server is asked. */
export const NEAR_NAME = 'near.test'

const NEW_MACHINE = ['--user', '--map-root-user', '--net', '--mount']
const HOLD = ['sh', '-c', 'echo; exec cat']
// The build has only what is compiled; the sources are two folders above it.
const up = import.meta.url.endsWith('.js') ? '../..' : '..'
const WIRE = fileURLToPath(new URL(`${up}/test/fixtures/wire.py`, import.meta.url))

/** Why no wire can be laid on this machine; undefined where one can. */
export function whyNoWire(): string | undefined {
  const trial = `ip link add name near type veth peer name far && \
    python3 -c 'import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)'`
  const { status, stderr, error } = spawnSync('unshare', [...NEW_MACHINE, 'sh', '-c', trial])
  if (status === 0) return undefined
  return `network namespaces, iproute2 and python3 are needed: ${error?.message ?? stderr.toString().trim()}`
}

/** A process that runs on a machine, and what it has printed. */
export interface Running {
  child: ChildProcessWithoutNullStreams
  stdout: string
  stderr: string
}

export class Machine {
  readonly pid: number
  readonly #t: TestContext

  constructor(t: TestContext, pid: number) {
    this.#t = t
    this.pid = pid
  }

  /** Starts a program, which ends with the test at the latest. */
  start(program: string, ...argv: string[]): Running {
    return start(this.#t, 'nsenter', [...this.#inside, program, ...argv])
  }

  /** Runs a command to its end; throws what it says when it fails. */
  run(command: string): void {
    const { status, stderr } = spawnSync('nsenter', [...this.#inside, ...command.split(' ')])
    if (status !== 0) throw new Error(`${command}: ${stderr.toString()}`)
  }

  get #inside(): string[] {
    return ['--target', String(this.pid), '--user', '--preserve-credentials', '--net', '--mount']
  }
}

export class Wire {
  readonly near: Machine
  readonly far: Machine
  readonly #running: Running

  constructor(near: Machine, far: Machine, running: Running) {
    this.near = near
    this.far = far
    this.#running = running
  }

  /** From now on that share of all packets is lost, 0 to 1. Says how many have come so far, and were lost. */
  async lose(share: number): Promise<{ came: number; lost: number }> {
    // A line may come in pieces.
    const lines = () => this.#running.stdout.split('\n').slice(0, -1)
    const before = lines().length
    this.#running.child.stdin.write(`${share}\n`)
    await until(() => lines().length > before, 'word from the wire')
    const [came = NaN, lost = NaN] = (lines().at(-1) ?? '').split(' ').map(Number)
    return { came, lost }
  }
}

/** Two machines with a wire between them; a round trip takes twice `delayMs`. */
export async function layWire(t: TestContext, delayMs: number): Promise<Wire> {
  const middle = await held(t, start(t, 'unshare', [...NEW_MACHINE, ...HOLD]))
  const ends = { near: NEAR_ADDRESS, far: FAR_ADDRESS }
  const [near, far] = [await another(t, middle), await another(t, middle)]
  for (const [end, machine] of Object.entries({ near, far })) {
    middle.run(`ip link add name ${end} type veth peer name eth0 netns ${machine.pid}`)
    middle.run(`ip link set ${end} up`)
    machine.run('ip link set lo up')
    // Else the kernel would put up to 64 KiB into what it calls a packet here, and few would be lost.
    machine.run('ip link set eth0 up gso_max_segs 1')
    machine.run(`ip address add ${ends[end as keyof typeof ends]}/24 dev eth0`)
  }
  const hosts = join(mkdtempSync(join(tmpdir(), 'groktunnel-')), 'hosts')
  t.after(() => rmSync(dirname(hosts), { recursive: true }))
  writeFileSync(hosts, `127.0.0.1 localhost\n${NEAR_ADDRESS} ${NEAR_NAME}\n`)
  far.run(`mount --bind ${hosts} /etc/hosts`)
  const wire = new Wire(near, far, middle.start('python3', WIRE, 'near', 'far', String(delayMs)))
  await wire.lose(0)
  return wire
}

/** Another namespace of the same user. */
function another(t: TestContext, machine: Machine): Promise<Machine> {
  return held(t, machine.start('unshare', '--net', '--mount', ...HOLD))
}

/** The machine that a process keeps. */
async function held(t: TestContext, { child }: Running): Promise<Machine> {
  await within(once(child.stdout, 'data'), 'a network namespace')
  return new Machine(t, child.pid ?? NaN)
}

function start(t: TestContext, program: string, argv: string[]): Running {
  const child = spawn(program, argv)
  const running: Running = { child, stdout: '', stderr: '' }
  child.stdout.on('data', (text: Buffer) => (running.stdout += text.toString()))
  child.stderr.on('data', (text: Buffer) => (running.stderr += text.toString()))
  child.stdin.on('error', () => undefined)
  t.after(() => child.kill('SIGKILL'))
  return running
}
