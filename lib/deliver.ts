/**
 * What a client does with a channel. Asked for nothing, it joins it with a connection to the local service, byte for
 * byte. Where the user wants something changed or checked, or has only a folder, the channel is given to a node http
 * server that listens nowhere, and its requests go one by one through what was asked for (lib/deliver/), and on.
 */
import http, { type IncomingMessage, type RequestListener, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { join } from '../join.ts'
import { answer } from './answer.ts'
import type { Deliver } from './api.ts'
import { openedAnswer, preflightAnswer } from './deliver/cors.ts'
import { type EditOptions, edits } from './deliver/edits.ts'
import { endToEnd, fieldsOf, headersOf, linesOf, valueOf, without } from './deliver/fields.ts'
import { gate, type GateOptions } from './deliver/gate.ts'
import { type Hints, hints, type OnHint } from './deliver/hints.ts'
import { identity, type IdentityOptions, visitedOrigin } from './deliver/identity.ts'
import { type Exchange, hasBody, HEAD_BYTES, Line, pathOf, proxy } from './deliver/proxy.ts'
import { refuse } from './deliver/refusal.ts'
import { directory } from './directory.ts'
import { cut, farewell } from './ending.ts'
import { asTunnelError, codeOf, TunnelError } from './errors.ts'
import type { Field } from './http/fields.ts'
import { RequestReader } from './http/reader.ts'
import type { RequestHead } from './http/request.ts'
import { type Dial, dialer, type DialOptions } from './local.ts'
import type { Target } from './target.ts'

export interface DeliverOptions extends DialOptions, IdentityOptions, EditOptions, GateOptions {
  /** Pages of any origin may call the service, without cookies; default false. */
  cors?: boolean | undefined
  /** Told once, when the service seems to refuse the tunnel's host: which option cures it. */
  onHint?: OnHint | undefined
}

/** What to do with each channel of a tunnel to `target`. Throws `usage`. */
export function delivery(target: Target, options: DeliverOptions = {}): Deliver {
  const { onHint, hostHeader } = options
  const watch = onHint === undefined || hostHeader !== undefined ? undefined : hints(onHint)
  if (target.kind === 'folder') return serving(requests(target, options, serveFolder(target.path)))
  const dial = dialer(target, options)
  return isPlain(options) ? joining(dial, watch) : proxying(target, options, watch)
}
