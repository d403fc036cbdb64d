/**
 * Development servers refuse hosts that they do not know, and say so in a page of their own. Who sees it is told, once,
 * which flag cures it. Only the first 4 KiB of answers that are a refusal are read, beside their way.
 */
export type OnHint = (message: string) => void

/** Looks at what passes, piece by piece. */
export type Look = (bytes: Buffer) => void

export interface Hints {
  /** For the bytes of one connection from the service; undefined where nobody needs to look any more. */
  ofConnection(): Look | undefined
  /** For the body of one answer with that status. */
  ofBody(status: number): Look
}

const PAGE_BYTES = 4096
/** A service that refuses does so from the first; looking at every connection for ever would cost. */
const CONNECTIONS = 1_000

const pages: [page: RegExp, server: string][] = [
  [/Blocked request\. This host \(/, 'Vite'],
  [/Invalid Host header/, 'webpack-dev-server'],
  [/Blocked hosts?:/, 'Rails'],
  [/DisallowedHost|Invalid HTTP_HOST header/, 'Django'],
  [/Bad Request - Invalid Hostname/, 'ASP.NET'],
  [/Host not permitted/, 'Sinatra'],
  [/(^|\r\n\r\n(c\r\n)?)Unauthorized(\r\n0\r\n\r\n)?$/, 'Next.js'],
]

/** Tells `onHint` once. */
export function hints(onHint: OnHint): Hints {
  let isTold = false
  let connections = 0
  const read = (page: string): void => {
    const server = pages.find(([pattern]) => pattern.test(page))?.[1]
    if (server === undefined || isTold) return
    isTold = true
    onHint(`the local service seems to refuse the tunnel’s host (${server}); try --host-header rewrite`)
  }
  return {
    ofConnection() {
      if (isTold || ++connections > CONNECTIONS) return undefined
      let page: string | undefined
      return (bytes) => {
        if (isTold) return
        if (isRefusal(bytes)) page = ''
        if (page === undefined) return
        page = grown(page, bytes)
        read(page)
        if (page.length === PAGE_BYTES) page = undefined
      }
    },
    ofBody(status) {
      let page = ''
      return (bytes) => {
        if (isTold || (status !== 400 && status !== 403) || page.length === PAGE_BYTES) return
        page = grown(page, bytes)
        read(page)
      }
    },
  }
}

function grown(page: string, bytes: Buffer): string {
  return page + bytes.toString('latin1', 0, PAGE_BYTES - page.length)
}

const [H, FOUR, ZERO, THREE] = [0x48, 0x34, 0x30, 0x33]
const invalidHost = Buffer.from('\r\n\r\nInvalid Host header')

/** Whether an answer of 400 or 403 begins here, or that of an old webpack-dev-server, which says 200. */
function isRefusal(bytes: Buffer): boolean {
  if (bytes[0] !== H || bytes.length < 12) return false
  if (bytes[9] === FOUR && bytes[10] === ZERO) return bytes[11] === ZERO || bytes[11] === THREE
  return bytes.length < PAGE_BYTES && bytes.subarray(-invalidHost.length).equals(invalidHost)
}
