/** The program on two machines, with a wire between them that is no good. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { executable } from './executable.ts'
import { hashOfBody, until } from './helpers.ts'
import {
  layWire,
  type Machine,
  NEAR_ADDRESS,
  NEAR_NAME,
  type Running,
  whyNoWire,
  type Wire,
} from './netns.ts'

const skip = whyNoWire() ?? false
const suffix = import.meta.url.slice(-3)
const program = fileURLToPath(executable)
const ends = fileURLToPath(new URL(`./fixtures/ends${suffix}`, import.meta.url))
const BODY = { hash: hashOfBody(4 * 1024 * 1024, 'ends'), bytes: 4 * 1024 * 1024 }

interface Way {
  server: Running
  client: Running
  url: string
}

/** A server on the near machine; a client, and the service behind it, on the far one. */
async function openTunnel({ near, far }: Wire): Promise<Way> {
  const server = node(near, program, '-h', NEAR_NAME, '-b', NEAR_ADDRESS, '-p', '9999')
  await said(server, 'stderr', /ready at .*\n/)
  const app = node(far, ends, 'app')
  await said(app, 'stdout', /\n/)
  const client = node(far, program, '-h', NEAR_NAME, '-p', '9999', app.stdout.trim())
  await said(client, 'stdout', /\n/)
  return { server, client, url: client.stdout.trim() }
}

/** Waits until a process has said something that matches. */
async function said(
  running: Running,
  where: 'stdout' | 'stderr',
  pattern: RegExp,
  ms?: number,
): Promise<void> {
  const isSaid = () => pattern.test(running[where])
  await until(() => isSaid() || running.child.exitCode !== null, `${where} to match ${pattern}`, ms)
  assert.ok(isSaid(), `expected ${pattern}, got ${running.stderr}`)
}

/** Runs node in an environment of its own: no proxy of this machine's, no key of this user's. */
function node(machine: Machine, ...argv: string[]): Running {
  const key = 'GROKTUNNEL_KEY=of-the-far-machine'
  return machine.start('env', '-i', key, process.execPath, ...process.execArgv, ...argv)
}

/** A visitor on the near machine: the status, and the sum of the body that came, or that the service got. */
async function visit({ near }: Wire, method: 'GET' | 'POST', url: string): Promise<unknown> {
  const visitor = node(near, ends, 'visit', method, NEAR_ADDRESS, url)
  await said(visitor, 'stdout', /\n/, 60_000)
  return JSON.parse(visitor.stdout)
}

test('4 MiB pass whole, down and up, 50 ms away with one packet in a hundred lost', { skip }, async (t) => {
  const wire = await layWire(t, 25)
  const { url } = await openTunnel(wire)
  await wire.lose(0.01)
  for (const method of ['GET', 'POST'] as const) {
    assert.deepEqual(await visit(wire, method, url), { status: 200, sum: JSON.stringify(BODY) })
  }
  const { came, lost } = await wire.lose(0)
  assert.ok(lost > 30 && lost < came / 50, `${lost} of ${came} packets lost`)
})

test(
  'a pulled cable is noticed by both sides within 10 s; plugged in again, the same URL answers',
  { skip },
  async (t) => {
    const wire = await layWire(t, 1)
    const { server, client, url } = await openTunnel(wire)
    await wire.lose(1)
    await Promise.all([
      said(server, 'stderr', /: end session \(/, 10_000),
      said(client, 'stderr', /\blost\b/, 10_000),
    ])
    await wire.lose(0)
    await said(client, 'stderr', /\bback\b/, 20_000)
    assert.deepEqual(await visit(wire, 'GET', url), { status: 200, sum: JSON.stringify(BODY) })
    assert.equal(client.stdout, `${url}\n`)
  },
)
