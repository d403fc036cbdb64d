/**
 * Whether something listens on a port, found out without knocking at it. The kernel's tables begin with those who listen,
 * and may go on with many thousands who do not: only the beginning is read.
 */
import { closeSync, openSync, readSync } from 'node:fs'

const tables = ['/proc/net/tcp', '/proc/net/tcp6']
/** TCP_LISTEN of the kernel's tcp_states.h. */
const LISTEN = '0A'
const CHUNK_BYTES = 32_768

/** On any address of this machine; undefined where the kernel does not tell, as Linux does in proc_net_tcp. */
export function isListening(port: number): boolean | undefined {
  const ending = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  const told = tables.map(listenersIn).filter((addresses) => addresses !== undefined)
  if (told.length === 0) return undefined
  return told.flat().some((address) => address.endsWith(ending))
}

/** The addresses that are listened on, such as `0100007F:0BB8`. */
function listenersIn(table: string): string[] | undefined {
  let file
  try {
    file = openSync(table, 'r')
    const addresses: string[] = []
    for (const [, local = '', , state] of rowsOf(file)) {
      if (state !== LISTEN) break
      addresses.push(local)
    }
    return addresses
  } catch {
    return undefined
  } finally {
    if (file !== undefined) closeSync(file)
  }
}

/** The rows after the head, in words. */
function* rowsOf(file: number): Generator<string[]> {
  const chunk = Buffer.allocUnsafe(CHUNK_BYTES)
  let text = ''
  let isHead = true
  for (let bytes = readSync(file, chunk); bytes > 0; bytes = readSync(file, chunk)) {
    const lines = (text + chunk.toString('latin1', 0, bytes)).split('\n')
    text = lines.pop() ?? ''
    for (const line of lines.slice(isHead ? 1 : 0)) yield line.trim().split(/\s+/, 4)
    isHead = false
  }
}
