import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RequestReader, ResponseReader } from '../lib/http/reader.ts'
import { type Case, isAccepted, requestCases, responseCases } from './fixtures/http-cases.ts'
import { decodeChunked } from './fixtures/http-follow.ts'
import { hasH11, type Oracle, readByH11 } from './fixtures/http-h11.ts'
import { nodeClient, nodeServer } from './fixtures/http-node.ts'

const knownMethods = 'node:http knows a fixed list of methods; any token is one (RFC 9110 section 9.1)'
const lostPipeline = 'node:http drops what is pipelined behind an upgrade that it ignores'
const noEmptyLine =
  'h11 takes an empty line for a missing request line (RFC 9112 section 2.2: SHOULD ignore it)'

/** What another reader does not read to its end, and why; what it did read must still be what we read. */
const refusedByNode = new Map([
  ['a method in lower case is another method', knownMethods],
  ['every kind of token character', knownMethods],
  ['a method of 32 characters', knownMethods],
  ['connect in lower case is another method', knownMethods],
  ['an upgrade', lostPipeline],
  ['an upgrade with a body is framed as any', lostPipeline],
])
const refusedByH11 = new Map([
  ['one empty line before a request', noEmptyLine],
  ['an empty line after a body', noEmptyLine],
])

const requests = requestCases.filter(isAccepted)
// what follows the first final answer belongs to a second request, which these clients do not send
const responses = responseCases.filter((one) => isAccepted(one) && !/cut|[2-9]\d\d.*&&/.test(one.verdict))

/** What we read, in the words of the oracles. */
function ours(reader: RequestReader | ResponseReader, bytes: Buffer): (string | number)[][] {
  const messages: (string | number)[][] = []
  let body: Buffer[] = []
  const finish = () => messages.at(-1)?.push(text(reader, Buffer.concat(body)))
  for (let at = 0; at < bytes.length || reader.event === 'head';) {
    const from = at
    at += reader.read(bytes, at)
    const { event, head } = reader
    if (event === 'head' && head) {
      messages.push('host' in head ? [head.method, head.target, head.host] : [head.status])
      body = []
    } else if (event !== 'more') body.push(bytes.subarray(from, at))
    if (event === 'end') finish()
  }
  if (reader.event === 'body') finish()
  return messages
}

function text({ head }: RequestReader | ResponseReader, body: Buffer): string {
  return head?.framing.kind === 'chunked' ? decodeChunked(body) : body.toString('latin1')
}

function compare(
  one: Case,
  read: (string | number)[][],
  oracle: Oracle,
  exceptions: Map<string, string>,
): void {
  const { messages = [], refusal } = oracle
  const reason = exceptions.get(one.title)
  assert.equal(
    refusal !== undefined,
    reason !== undefined,
    `${one.title}: ${refusal ?? 'no exception any more'}`,
  )
  assert.deepEqual(messages, reason === undefined ? read : read.slice(0, messages.length), one.title)
}

test('every accepted request is read the same by node:http', async (t) => {
  const readByNode = await nodeServer(t)
  for (const one of requests)
    compare(one, ours(new RequestReader(), one.bytes), await readByNode(one.bytes), refusedByNode)
})

test('every accepted answer is read the same by node:http', async (t) => {
  const readByNode = await nodeClient(t)
  for (const one of responses) {
    const read = ours(new ResponseReader(() => one.method), one.bytes)
    compare(one, read, await readByNode(one.bytes, one.method), refusedByNode)
  }
})

test('every accepted message is read the same by h11', (t) => {
  if (!hasH11()) {
    console.log('SKIPPED: python3 has no h11 (pip install h11): nothing was compared with it')
    return t.skip('no h11')
  }
  const requestsRead = readByH11('requests', requests)
  requests.forEach((one, index) =>
    compare(one, ours(new RequestReader(), one.bytes), requestsRead[index] ?? {}, refusedByH11),
  )
  const responsesRead = readByH11('responses', responses)
  responses.forEach((one, index) => {
    const read = ours(new ResponseReader(() => one.method), one.bytes)
    compare(one, read, responsesRead[index] ?? {}, refusedByH11)
  })
})
