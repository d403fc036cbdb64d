/**
 * A public connection becomes visits. A visit is a run of requests that name the same host, and is followed request
 * by request (lib/vhost/visitor.ts) and answer by answer (lib/vhost/visit.ts). So a connection that many share (a pooling proxy
 * in front, keep-alive, pipelining) never carries a request, or an answer, to where it does not belong:
 *
 *   - a request is passed on only when the one before it and its answer have passed;
 *   - when it names another host, the visit ends and the next begins;
 *   - what could be read in two ways is refused, and not a byte of it is passed on (lib/http);
 *   - an answer nobody asked for, or a byte too many, cuts the connection.
 */
import type { TunnelError } from './lib/errors.ts'
import { Visit } from './lib/vhost/visit.ts'
import { type Reception, receptionOf, type VisitOptions, type Visitor } from './lib/vhost/visitor.ts'

export { Visitor } from './lib/vhost/visitor.ts'
export type { Visit } from './lib/vhost/visit.ts'

export interface VisitEvents {
  /** A visit begins; a visitor's next one not before it has ended. It must be followed, refused or released. */
  onVisit: (visit: Visit, visitor: Visitor) => void
  /** A fault of ours has ended a connection. */
  onFault: (error: TunnelError) => void
}

/** What all visitors of a server share: their time limits, and who follows their visits. */
export function reception(options: VisitOptions, { onVisit, onFault }: VisitEvents): Reception {
  return receptionOf(options, {
    onHead: (head, visitor) => onVisit(new Visit(head, visitor), visitor),
    onFault,
  })
}

const label = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/

/**
 * Which tunnel a Host names: exactly one valid label under the server's own host. Case, port and one trailing dot do
 * not matter (RFC 3986 section 3.2.2, RFC 9110 section 4.2.3). Returns the name; '' for the server's own host;
 * undefined for a host that is not ours.
 */
export function nameOf(authority: string, serverHost: string): string | undefined {
  const host = authority.toLowerCase().replace(/:\d*$/, '').replace(/\.$/, '')
  if (host === serverHost) return ''
  if (!host.endsWith(`.${serverHost}`)) return undefined
  const name = host.slice(0, -serverHost.length - 1)
  return label.test(name) ? name : undefined
}
