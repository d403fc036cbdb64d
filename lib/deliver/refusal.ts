/** A request that is answered in our own words, in the place of the local service. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { answer } from '../answer.ts'
import { cut, farewell } from '../ending.ts'
import type { TunnelError } from '../errors.ts'
import { challenge } from './gate.ts'
import { fieldsOf } from './fields.ts'

/** Answers and closes the channel, which throws away what of the request is still on its way. */
export function refuse(request: IncomingMessage, response: ServerResponse, error: TunnelError): void {
  const channel = request.socket
  // Another answer is on its way there, or gone.
  if (channel.writableEnded || response.socket !== channel) return cut(channel)
  const fields = fieldsOf(request.rawHeaders)
  channel.write(challenged(error, answer(error, { method: request.method ?? 'GET', fields })))
  farewell(channel)
}

/** A 401 must say what it asks for (RFC 9110 section 11.6.1). */
function challenged({ code }: TunnelError, words: Buffer): Buffer {
  if (code !== 'unauthorized') return words
  const end = words.indexOf('\r\n') + 2
  return Buffer.concat([words.subarray(0, end), Buffer.from(`${challenge}\r\n`), words.subarray(end)])
}
