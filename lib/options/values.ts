/** Texts become values. Each of these throws `usage`: what was expected `where` (such as `--port`), and what came. */
import { usage } from './mistakes.ts'

export type Parse<T> = (text: string, where: string) => T

/** A port number from `least` on; 0 is any that is free. */
export function port(text: string, where: string): number {
  const number = /^\d{1,5}$/.test(text) ? Number(text) : NaN
  if (number <= 65535) return number
  throw bad(where, 'a number from 0 to 65535', text)
}

/** A name for a tunnel, in lower case: one label of a host name (RFC 1123 section 2.1). */
export function label(text: string, where: string): string {
  if (/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/i.test(text)) return text.toLowerCase()
  throw bad(where, 'a name of 1 to 63 letters a-z, digits and inner hyphens', text)
}

export function count(text: string, where: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text)
  throw bad(where, 'a number from 1 on', text)
}

const UNITS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }
const MOST_MS = 500 * UNITS.h // timers hold 2^31 ms

/** A time in ms; without a unit it is in seconds. */
export function time(least: '0' | '100ms'): Parse<number> {
  const leastMs = parseInt(least)
  return (text, where) => {
    const [, digits = '', unit = 's'] = /^(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h)?$/.exec(text) ?? []
    const ms = digits === '' ? NaN : Math.round(Number(digits) * UNITS[unit as keyof typeof UNITS])
    if (ms >= leastMs && ms <= MOST_MS) return ms
    throw bad(where, `a time from ${least} to 500h such as 3, 500ms, 3s or 1m`, text)
  }
}

export function oneOf<T extends string>(...choices: T[]): Parse<T> {
  return (text, where) => {
    const choice = choices.find((choice) => choice === text)
    if (choice !== undefined) return choice
    throw bad(where, choices.join(' or '), text)
  }
}

/** A switch: also variables and config files say on or off. */
export function onOrOff(text: string, where: string): boolean {
  if (text === 'true' || text === '1') return true
  if (text === 'false' || text === '0') return false
  throw bad(where, 'true or false', text)
}

export interface Server {
  host: string
  /** As the URL, or the text after a colon, says. */
  port?: string
  /** As the URL's scheme says. */
  tls?: boolean
}

/** The server: a host name, maybe with a port, maybe as the URL that a browser shows. */
export function server(text: string, where: string): Server {
  const [, scheme, name = '', own] = /^(?:(https?):\/\/)?(.*?)(?::(\d+))?\/?$/is.exec(text) ?? []
  const host = name.toLowerCase().replace(/\.$/, '')
  if (host.length > 253 || !/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/.test(host) || host.includes('..'))
    throw bad(where, 'a host name such as lvh.me, or a URL without a path', text.replace(/[^/]*@/, '…@'))
  if (scheme === undefined) return { host, ...(own !== undefined && { port: own }) }
  const tls = scheme.toLowerCase() === 'https'
  return { host, tls, port: own ?? (tls ? '443' : '80') }
}

function bad(where: string, expected: string, text: string): Error {
  return usage(`expected ${where} to be ${expected}, got ${JSON.stringify(text.slice(0, 100))}`)
}
