/** A client as bytes: it registers, and from then on only does what the test says: most say nothing at all. */
import assert from 'node:assert/strict'
import net, { type Socket } from 'node:net'
import { until } from './helpers.ts'

export interface Asked {
  name?: string
  key?: string
  client?: string
  token?: string
  /** The address to come from, such as 127.0.0.2. */
  from?: string
}

export class Registrant {
  readonly socket: Socket
  /** What came so far, as latin1. */
  text = ''
  ending: string | undefined

  constructor(port: number, asked: Asked) {
    const { from: localAddress = '127.0.0.1' } = asked
    this.socket = net.connect({ port, host: '127.0.0.1', localAddress, noDelay: true })
    this.socket.on('data', (bytes) => (this.text += bytes.toString('latin1')))
    this.socket.on('error', (error: NodeJS.ErrnoException) => (this.ending = error.code ?? error.message))
    this.socket.on('close', () => (this.ending ??= 'end'))
    this.socket.write(headFor(port, asked))
  }

  /** 101, or the status and code of a refusal; how it ended, where there was no answer. */
  async answer(): Promise<string> {
    await until(() => this.#parse() !== undefined || this.ending !== undefined, 'an answer')
    return this.#parse() ?? this.ending ?? ''
  }

  async ended(ms?: number): Promise<string> {
    await until(() => this.ending !== undefined, 'an end of the connection', ms)
    return this.ending ?? ''
  }

  #parse(): string | undefined {
    const [head = '', body] = this.text.split('\r\n\r\n')
    if (body === undefined) return undefined
    const status = /^HTTP\/1\.1 (\d{3}) /.exec(head)?.[1] ?? ''
    if (status === '101') return status
    const length = Number(/^Content-Length: (\d+)/im.exec(head)?.[1])
    if (body.length < length) return undefined
    const { code, message } = JSON.parse(body) as { code: string; message: string }
    assert.match(message, /\w/)
    assert.match(head, new RegExp(`^X-Groktunnel-Error: ${code}$`, 'm'))
    return `${status} ${code}`
  }
}

/** Registers, and waits for the answer. The connection ends with the test. */
export async function registrant(
  t: { after(end: () => unknown): void },
  port: number,
  asked: Asked = {},
): Promise<Registrant> {
  const one = new Registrant(port, asked)
  t.after(() => one.socket.destroy())
  await one.answer()
  return one
}

function headFor(port: number, { name, key, client, token }: Asked): string {
  const fields = [
    `Host: localhost:${port}`,
    'Connection: Upgrade',
    'Upgrade: yamux',
    ...(name === undefined ? [] : [`X-Subdomain: ${name}`]),
    ...(key === undefined ? [] : [`X-Tunnel-Key: ${key}`]),
    ...(client === undefined ? [] : [`X-Tunnel-Client: ${client}`]),
    ...(token === undefined ? [] : [`Authorization: Bearer ${token}`]),
  ]
  return `GET / HTTP/1.1\r\n${fields.join('\r\n')}\r\n\r\n`
}
