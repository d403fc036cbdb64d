/** Fields that the user adds, replaces or removes. What frames a message or belongs to a connection is not theirs to set. */
import { TunnelError } from '../errors.ts'
import { type Field, isToken } from '../http/fields.ts'
import { without } from './fields.ts'

export interface EditOptions {
  /** Fields that each request gets, such as `X-Env: dev`, in place of the visitor's own of that name. */
  header?: readonly string[] | undefined
  /** Names of fields that no request keeps. */
  removeHeader?: readonly string[] | undefined
  /** Fields that each answer gets, in place of the service's own of that name. */
  responseHeader?: readonly string[] | undefined
}

export interface Edits {
  readonly request: (fields: readonly Field[]) => Field[]
  readonly answer: (fields: readonly Field[]) => Field[]
}

/** Throws `usage`. */
export function edits({ header = [], removeHeader = [], responseHeader = [] }: EditOptions): Edits {
  const [toService, toVisitor] = [header.map(parseField), responseHeader.map(parseField)]
  const removed = removeHeader.map((name) => checkName(name.trim(), name))
  return {
    request: (fields) => replaced(fields, toService, removed),
    answer: (fields) => replaced(fields, toVisitor, []),
  }
}

function replaced(fields: readonly Field[], added: readonly Field[], removed: readonly string[]): Field[] {
  if (added.length === 0 && removed.length === 0) return [...fields]
  const gone = new Set([...removed, ...added.map(({ name }) => name)].map((name) => name.toLowerCase()))
  return [...without(fields, gone), ...added]
}

function parseField(text: string): Field {
  const colon = text.indexOf(':')
  const name = checkName(colon < 0 ? '' : text.slice(0, colon).trim(), text)
  const value = text.slice(colon + 1).trim()
  if (/^[\t\x20-\x7e\x80-\xff]*$/.test(value)) return { name, value }
  throw new TunnelError('usage', `expected a value of one line of latin1 for ${name}, got other characters`)
}

const notTheirs = new Set([
  'connection',
  'content-length',
  'host',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

function checkName(name: string, text: string): string {
  const lower = name.toLowerCase()
  if (lower === 'host') throw new TunnelError('usage', 'expected a header but Host; use --host-header for it')
  if (notTheirs.has(lower))
    throw new TunnelError(
      'usage',
      `expected a header that may be changed, got ${name}; leave it to the tunnel`,
    )
  if (isToken(name)) return name
  const told = JSON.stringify(text.split(/[:=]/, 1)[0])
  throw new TunnelError(
    'usage',
    `expected a header such as 'X-Name: value', got one that begins with ${told}`,
  )
}
