/**
 * The only importer of http-parser-js. It reads heads that the guard has accepted, nothing else: it is
 * tolerant, its pattern for folded lines is quadratic and its body code loops for ever on a negative length.
 * Two readers that do not agree on a head are a refusal: then nobody knows what a third would read.
 */
import { HTTPParser } from 'http-parser-js'
import type { Field } from './fields.ts'
import { refuse } from './refuse.ts'

type Parser = InstanceType<typeof HTTPParser>
type Info = Parameters<Parser['onHeadersComplete']>[0]

// 'ascii', the default, strips the high bit, and then Hos\xf4 is read as Host
HTTPParser.encoding = 'latin1'
HTTPParser.maxHeaderSize = Number.MAX_SAFE_INTEGER // the guard has the limits

const skipBodyAndStop = 2
const known = new Set(HTTPParser.methods)
const requests = new HTTPParser(HTTPParser.REQUEST)
const responses = new HTTPParser(HTTPParser.RESPONSE)
let info: Info | undefined

for (const parser of [requests, responses]) {
  parser[HTTPParser.kOnHeadersComplete] = (read) => {
    info = read
    return skipBodyAndStop
  }
}

/** Parses a request head again. Throws 400 when http-parser-js reads anything else in it. */
export function confirmRequest(raw: Buffer, head: { method: string; target: string; fields: Field[] }): void {
  const { method, target, fields } = head
  // it refuses methods it does not know, QUERY among them: a stand-in takes their place
  const read = known.has(method) ? parse(requests, raw) : parse(requests, withMethod('GET', raw, method))
  const readMethod = known.has(method) ? HTTPParser.methods[read.method] : method
  if (readMethod !== method || read.url !== target) throw disagreement(target)
  confirmFields(read, fields)
}

/** Parses a response head again. Throws 400 when http-parser-js reads anything else in it. */
export function confirmResponse(raw: Buffer, head: { status: number; fields: Field[] }): void {
  const read = parse(responses, raw)
  if (read.statusCode !== head.status) throw disagreement(String(read.statusCode))
  confirmFields(read, head.fields)
}

function parse(parser: Parser, raw: Buffer): Info {
  info = undefined
  const result = parser.execute(raw)
  if (result === raw.length && info !== undefined) return info
  parser.initialize(parser === requests ? HTTPParser.REQUEST : HTTPParser.RESPONSE)
  throw disagreement(result instanceof Error ? result.message : 'an incomplete head')
}

function withMethod(standIn: string, raw: Buffer, method: string): Buffer {
  return Buffer.concat([Buffer.from(standIn), raw.subarray(method.length)])
}

function confirmFields({ headers }: Info, fields: readonly Field[]): void {
  if (headers.length !== 2 * fields.length) throw disagreement(`${headers.length / 2} fields`)
  fields.forEach(({ name, value }, index) => {
    if (headers[2 * index] !== name || headers[2 * index + 1] !== value) throw disagreement(name)
  })
}

function disagreement(came: string): Error {
  return refuse('bad-request', 'a head that two parsers read alike', came, 'RFC 9112 section 11.2')
}
