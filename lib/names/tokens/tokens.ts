/**
 * Who may register: holders of a token (RFC 6750), and which names are whose. A name that matches a pattern of one
 * holder is closed to all others; two patterns of different holders that could meet are refused at the start, so no
 * name ever has two owners. Only hashes are kept. Without any token the server is open.
 */
import { timingSafeEqual } from 'node:crypto'
import { TunnelError } from '../../errors.ts'
import { readText, shown } from '../../text-file.ts'
import { type Entry, readEntries } from './file.ts'
import { matches, overlap } from './pattern.ts'
import { checkToken, hashOf } from './secret.ts'

export interface TokenOptions {
  /** One token for all; or the file that holds it. */
  token?: string | undefined
  tokenFile?: string | undefined
  /** A TOML file with a token for each holder (lib/names/tokens/file.ts); `token` counts beside it. */
  tokensFile?: string | undefined
}

export interface Holder {
  /** From the tokens file; 'token' for the one token for all. */
  readonly name: string
  /** Tunnels at once. */
  readonly maxTunnels?: number | undefined
  /** Public connections at once, for each tunnel. */
  readonly maxConnections?: number | undefined
  /** Whether a name is this holder's for good, and nobody else's. */
  readonly owns: (subdomain: string) => boolean
}

export interface Tokens {
  /** No token is asked for. */
  readonly isOpen: boolean
  /**
   * Who registers the name (as `checkSubdomain` gave it), by an Authorization header; undefined where the server is
   * open. Throws `unauthorized` without a known token, `forbidden` when the name is another holder's.
   */
  readonly admit: (authorization: string | undefined, subdomain: string) => Holder | undefined
  /** Reads the files again. Throws `usage` when they are bad, and goes on with what was. */
  readonly reload: () => void
}

const GIVEN = 'GROKTUNNEL_TOKEN'

interface Known {
  entry: Entry
  holder: Holder
}

/** The tokens of a server. Throws `usage`: what was expected, what came, in which file and entry. */
export function tokens({ token, tokenFile, tokensFile }: TokenOptions): Tokens {
  refuseTwo(token, tokenFile)
  const given = token === undefined ? [] : [entryOf(token, GIVEN)]
  const load = () =>
    known([
      ...given,
      ...(tokenFile === undefined
        ? []
        : [entryOf(readText(tokenFile, 'token-file').trim(), shown(tokenFile))]),
      ...(tokensFile === undefined ? [] : readEntries(tokensFile)),
    ])
  let holders = load()
  const isOpen = holders.length === 0
  return {
    isOpen,
    admit: (authorization, subdomain) => (isOpen ? undefined : admit(holders, authorization, subdomain)),
    reload: () => {
      holders = load()
    },
  }
}

/** The client's token, if it has one. Throws `usage`. */
export function readToken({ token, tokenFile }: TokenOptions): string | undefined {
  refuseTwo(token, tokenFile)
  if (token !== undefined) return checkToken(token, GIVEN)
  return tokenFile === undefined
    ? undefined
    : checkToken(readText(tokenFile, 'token-file').trim(), shown(tokenFile))
}

function refuseTwo(token: string | undefined, tokenFile: string | undefined): void {
  if (token === undefined || tokenFile === undefined) return
  throw new TunnelError('usage', `expected ${GIVEN} or --token-file, got both; leave one out`)
}

function entryOf(token: string, where: string): Entry {
  return { name: 'token', where, hash: hashOf(checkToken(token, where)), patterns: [] }
}

/** The holders of these entries, each pair of which was found to get along. */
function known(entries: readonly Entry[]): Known[] {
  entries.forEach((entry, index) => entries.slice(0, index).forEach((other) => compare(entry, other)))
  return entries.map((entry) => {
    const { name, patterns, maxTunnels, maxConnections } = entry
    const owns = (subdomain: string) => patterns.some((pattern) => matches(pattern, subdomain))
    return { entry, holder: { name, maxTunnels, maxConnections, owns } }
  })
}

function compare(one: Entry, other: Entry): void {
  const refuse = (expected: string, got: string) => {
    throw new TunnelError('usage', `expected ${expected} for ${one.where}, got ${got} of ${other.where}`)
  }
  if (one.name === other.name) refuse('a name of its own', 'that')
  if (one.hash.equals(other.hash)) refuse('a token of its own', 'that')
  for (const pattern of one.patterns) {
    const met = other.patterns.find((theirs) => overlap(pattern, theirs))
    if (met !== undefined)
      refuse('names of its own', `${shown(pattern.text)}, which meets ${shown(met.text)}`)
  }
}

function admit(all: readonly Known[], authorization: string | undefined, subdomain: string): Holder {
  const { holder } = find(all, tokenIn(authorization))
  const isTaken = all.some((other) => other.holder !== holder && other.holder.owns(subdomain))
  if (!isTaken) return holder
  throw new TunnelError(
    'forbidden',
    `expected a name open to ${shown(holder.name)}, got ${shown(subdomain)}, which another owns; ask for another`,
  )
}

/** All are compared, whichever fits: the time tells nothing about how near a guess was. */
function find(all: readonly Known[], token: string): Known {
  const hash = hashOf(token)
  const found = all.filter(({ entry }) => timingSafeEqual(entry.hash, hash))[0]
  if (found !== undefined) return found
  throw unauthorized('one that this server does not know; check')
}

/** The scheme in any case, then one token (RFC 9110 section 11.1, RFC 6750 section 2.1). */
function tokenIn(authorization: string | undefined): string {
  if (authorization === undefined) throw unauthorized('none; set')
  const token = /^bearer +([\x21-\x7e]+)$/i.exec(authorization)?.[1]
  if (token !== undefined) return token
  throw unauthorized('an Authorization of another form; set')
}

function unauthorized(gotAndStep: string): TunnelError {
  return new TunnelError(
    'unauthorized',
    `expected a token of this server, got ${gotAndStep} ${GIVEN} or --token-file`,
  )
}
