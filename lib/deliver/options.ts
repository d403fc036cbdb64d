/** All that may be asked for of what passes between visitors and the local service. */
import type { DialOptions } from '../local/local.ts'
import type { EditOptions } from './edits.ts'
import type { GateOptions } from './gate.ts'
import type { OnHint } from './hints.ts'
import type { IdentityOptions } from './identity.ts'

export interface DeliverOptions extends DialOptions, IdentityOptions, EditOptions, GateOptions {
  /** Pages of any origin may call, without cookies; default false. */
  cors?: boolean | undefined
  /** Told once, when the service seems to refuse the tunnel's host: what cures it. */
  onHint?: OnHint | undefined
}

/** Whether nothing is asked for that needs requests to be read. */
export function isPlain({ hostHeader, basicAuth, cors = false, ...lists }: DeliverOptions): boolean {
  const { header, removeHeader, responseHeader, allowIp, denyIp } = lists
  const all = [header, removeHeader, responseHeader, allowIp, denyIp]
  return hostHeader === undefined && basicAuth === undefined && !cors && !all.some((list) => list?.length)
}
