/** Several tunnels as one: open when all are, gone when none is left. */
import { setMaxListeners } from 'node:events'
import { setTimeout } from 'node:timers/promises'
import type { Tunnel } from '../api.ts'
import { asTunnelError, type TunnelError } from '../errors.ts'
import { onAbort } from '../listen.ts'
import { onSignals } from '../process.ts'
import { runCommand } from './command.ts'

/**
 * Opens a tunnel for each target, at once and in their order. `signal` closes them. Rejects when one fails, with its error,
 * once those that were open have said goodbye: whoever asked for several names is not left with some of them.
 */
export async function openAll<Target>(
  signal: AbortSignal,
  targets: readonly Target[],
  open: (target: Target, signal: AbortSignal) => Promise<Tunnel>,
): Promise<Tunnel[]> {
  const stop = new AbortController()
  setMaxListeners(0, stop.signal) // each tunnel listens
  const errors: unknown[] = []
  const tunnels: Tunnel[] = []
  const openOne = async (target: Target, at: number) => {
    try {
      tunnels[at] = await open(target, stop.signal)
    } catch (error) {
      errors.push(error)
      stop.abort()
    }
  }
  const opened = Promise.all(targets.map(openOne))
  const closed = opened.then(() => Promise.allSettled(Object.values(tunnels).map(({ closed }) => closed)))
  onAbort(signal, () => stop.abort(signal.reason), closed)
  await opened
  if (errors.length === 0) return tunnels
  await closed
  throw errors[0]
}

export interface KeepOptions {
  /** Told of a tunnel that ends while others go on. */
  onEnd: (tunnel: Tunnel, error: TunnelError) => void
  /** What users call the tunnels, in their order. */
  targets: readonly { name?: string | undefined }[]
  /** To run while they are up; default none. */
  command?: readonly string[] | undefined
  graceMs: number
}

/** For what is open when the command has ended: an answer comes to its end, a WebSocket need not be waited for. */
const FINISH_MS = 2_000

/**
 * Waits until the last tunnel has ended, or the command, which ends them. Returns the exit code. Rejects with why the last
 * tunnel ended, if nobody closed it.
 */
export async function keepUp(tunnels: readonly Tunnel[], options: KeepOptions): Promise<number> {
  const { command, graceMs, targets } = options
  const gone = allClosed(tunnels, options.onEnd)
  if (command === undefined) return gone.then(() => 0)
  const places = tunnels.map(({ url }, at) => ({ url, name: targets[at]?.name }))
  const code = await runCommand(command, { places, gone, graceMs })
  for (const tunnel of tunnels) tunnel.close().catch(() => undefined) // `gone` tells
  await Promise.race([gone, stopped(), setTimeout(Math.min(FINISH_MS, graceMs))])
  return code
}

/** Settles with the next signal: whoever sends one has waited long enough. */
function stopped(): Promise<unknown> {
  return new Promise(onSignals)
}

/** A tunnel that ends harms no other. */
async function allClosed(tunnels: readonly Tunnel[], onEnd: KeepOptions['onEnd']): Promise<void> {
  let left = tunnels.length
  let last: TunnelError | undefined
  const settle = async (tunnel: Tunnel) => {
    last = await tunnel.closed.then(() => undefined, asTunnelError)
    left -= 1
    if (last !== undefined && left > 0) onEnd(tunnel, last)
  }
  await Promise.all(tunnels.map(settle))
  if (last !== undefined) throw last
}
