/** Whether something listens on a port, found out without knocking at it. */
import { readFileSync } from 'node:fs'

const tables = ['/proc/net/tcp', '/proc/net/tcp6']
/** TCP_LISTEN of the kernel's tcp_states.h. */
const LISTEN = '0A'

/** On any address of this machine; undefined where the kernel does not tell, as Linux does in proc_net_tcp. */
export function isListening(port: number): boolean | undefined {
  const ending = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  const told = tables.map(read).filter((text) => text !== undefined)
  if (told.length === 0) return undefined
  return told.some((text) =>
    text.split('\n').some((line) => {
      const [, local = '', , state] = line.trim().split(/\s+/, 4)
      return state === LISTEN && local.endsWith(ending)
    }),
  )
}

function read(table: string): string | undefined {
  try {
    return readFileSync(table, 'latin1')
  } catch {
    return undefined
  }
}
