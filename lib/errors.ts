/**
 * One error class, one union of codes. A code says who is to blame and so fixes two things at once: the exit
 * code of the program (0 to 5, documented in --help) and the HTTP status with which the failure is answered.
 */
interface Row {
  exit?: number
  status?: number
}

const table = {
  unexpected: { exit: 1, status: 500 },
  // a bad start of the program
  usage: { exit: 2 },
  'cannot-listen': { exit: 1 },
  unreachable: { exit: 3 },
  'not-groktunnel': { exit: 3 },
  'session-lost': { exit: 3, status: 503 },
  'bad-certificate': { exit: 3 },
  // a registration refused by the server
  'bad-name': { exit: 4, status: 400 },
  unauthorized: { exit: 4, status: 401 },
  forbidden: { exit: 4, status: 403 },
  'name-taken': { exit: 5, status: 409 },
  replaced: { exit: 5, status: 409 },
  'upgrade-required': { exit: 4, status: 426 },
  'too-many-registrations': { exit: 4, status: 429 },
  'server-full': { exit: 4, status: 503 },
  // a public connection refused by the server (RFC 9110 section 15.5, 15.6)
  'bad-request': { status: 400 },
  'no-such-tunnel': { status: 404 },
  'method-not-allowed': { status: 405 },
  'request-timeout': { status: 408 },
  'tunnel-away': { status: 503 },
  'uri-too-long': { status: 414 },
  'head-too-large': { status: 431 },
  'not-implemented': { status: 501 },
  'version-not-supported': { status: 505 },
  // the local service, told by the client
  'local-unreachable': { status: 502 },
  // a peer of a session broke yamux, or a side of a channel went away
  'protocol-violation': { exit: 3, status: 503 },
  'session-closed': { exit: 3, status: 503 },
  'channel-reset': { status: 502 },
  'bad-answer': { status: 502 },
} satisfies Record<string, Row>

export type ErrorCode = keyof typeof table

/** What groktunnel throws, rejects with and reports: `message` is one line (expected, came, next step). */
export class TunnelError extends Error {
  readonly code: ErrorCode

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'TunnelError'
    this.code = code
  }

  /** The program's exit code when this ends it; 1 where the table has none. */
  get exitCode(): number {
    const row: Row = table[this.code]
    return row.exit ?? 1
  }

  /** The HTTP status that answers it; 500 where the table has none. */
  get status(): number {
    const row: Row = table[this.code]
    return row.status ?? 500
  }
}

/** The code of any thrown value: ours, Node's (`ECONNREFUSED`), or its text. */
export function codeOf(error: unknown): string {
  if (error instanceof Error && 'code' in error) return String(error.code)
  return String(error)
}

/** Whether a value from outside is a code of ours that an answer can carry. */
export function isAnswerCode(value: unknown): value is ErrorCode {
  return typeof value === 'string' && Object.hasOwn(table, value) && 'status' in table[value as ErrorCode]
}

/** Any thrown value as a TunnelError; what is not one of ours is `unexpected`. */
export function asTunnelError(error: unknown, code: ErrorCode = 'unexpected'): TunnelError {
  if (error instanceof TunnelError) return error
  return new TunnelError(code, error instanceof Error ? error.message : String(error), { cause: error })
}
