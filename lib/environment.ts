/** What the program takes from its environment: secrets, which never stand on a command line, and where to keep state. */
import { join } from 'node:path'
import { stateFolderOf } from './state-folder.ts'

interface Given {
  tokenFile?: string
  bind: string
  port: number
}

const env = process.env

/** A file given on the command line counts more than GROKTUNNEL_TOKEN. */
function tokenOf({ tokenFile }: Given): { token?: string } {
  const token = env.GROKTUNNEL_TOKEN
  return tokenFile === undefined && token !== undefined ? { token } : {}
}

export const environment = {
  key: env.GROKTUNNEL_KEY,
  stateFolder: stateFolderOf(env),
  client: tokenOf,
  /** Servers on different ports keep different names. */
  server(given: Given): { token?: string; stateFile?: string } {
    const folder = stateFolderOf(env)
    const file = `names-${given.bind.replaceAll(':', '_')}-${given.port}.json`
    return { ...tokenOf(given), ...(folder === undefined ? {} : { stateFile: join(folder, file) }) }
  },
}
