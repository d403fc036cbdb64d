/**
 * Channels whose requests are read one by one: each is checked, and then served from a folder, or changed as asked for and
 * passed on to the local service.
 */
import type { Duplex } from 'node:stream'
import { join } from '../../join.ts'
import type { Deliver } from '../api.ts'
import type { Field } from '../http/fields.ts'
import { dialer } from '../local/local.ts'
import type { Folder, Service, Target } from '../target.ts'
import { openedAnswer, preflightAnswer } from './cors.ts'
import { directory } from './directory.ts'
import { edits } from './edits.ts'
import { endToEnd, fieldsOf, headersOf, without } from './fields.ts'
import { gate } from './gate.ts'
import type { Hints } from './hints.ts'
import { identity, visitedOrigin } from './identity.ts'
import type { DeliverOptions } from './options.ts'
import { Line, pathOf, proxy } from './proxy.ts'
import { refuse } from './refusal.ts'
import { type Handler, taking } from './server.ts'

/** What to do with each channel of a tunnel to `target`. Throws `usage`. */
export function serving(target: Target, options: DeliverOptions, watch: Hints | undefined): Deliver {
  const handle = target.kind === 'folder' ? shared(target, options) : proxied(target, options, watch)
  return taking(checked(options, handle))
}

/** Asks a request for what it needs before anyone else sees it. A browser asks for leave without a password. */
function checked(options: DeliverOptions, next: Handler): Handler {
  const { checkAddress, checkPassword } = gate(options)
  return (exchange) => {
    const { request, response } = exchange
    const fields = fieldsOf(request.rawHeaders)
    checkAddress(fields)
    const leave = options.cors === true ? preflightAnswer(request.method, fields) : undefined
    if (leave !== undefined) return void response.writeHead(204, headersOf(leave)).end()
    checkPassword(fields)
    next(exchange)
  }
}

/** The fields of answers, changed as asked for. */
function answerEdits(options: DeliverOptions): (fields: Field[]) => Field[] {
  const { answer: edit } = edits(options)
  return options.cors === true ? (fields) => edit(openedAnswer(fields)) : edit
}

function shared({ path }: Folder, options: DeliverOptions): Handler {
  const serve = directory(path)
  const added = Object.entries(headersOf(answerEdits(options)([])))
  return ({ request, response }) => {
    request.url = pathOf(request)
    for (const [name, values] of added) response.setHeader(name, values)
    serve(request, response)
  }
}

const password = new Set(['authorization'])

function proxied(target: Service, options: DeliverOptions, watch: Hints | undefined): Handler {
  const [dial, pass, self] = [dialer(target, options), proxy(), identity(options, target)]
  const { request: editRequest } = edits(options)
  const editAnswer = answerEdits(options)
  const lines = new WeakMap<Duplex, Line>()

  function lineOf(channel: Duplex): Line {
    const known = lines.get(channel)
    if (known !== undefined) return known
    const line = new Line(dial)
    lines.set(channel, line)
    channel.on('close', () => line.close())
    return line
  }

  return (exchange) => {
    const { channel, request, response } = exchange
    const came = fieldsOf(request.rawHeaders)
    const visited = visitedOrigin(came)
    const own = without(endToEnd(came), options.basicAuth === undefined ? new Set() : password)
    pass({
      ...exchange,
      line: lineOf(channel),
      fields: editRequest(self?.request(own, visited) ?? own),
      edit: (fields) => editAnswer(self?.answer(fields, visited) ?? fields),
      look: (status) => watch?.ofBody(status),
      onUpgrade: (local) => void join(channel, local),
      onFailure: (error) => refuse(request, response, error),
    })
  }
}
