/** The program as users have it, which is the bundle where tests run from the build; and unbundled. */
import { readFileSync } from 'node:fs'

const isBuilt = import.meta.url.endsWith('.js')
const root = new URL(isBuilt ? '../../' : '../', import.meta.url)
const { version: packed } = JSON.parse(readFileSync(new URL('package.json', root), 'utf8')) as {
  version: string
}

export const executable = new URL(isBuilt ? 'dist/groktunnel.js' : 'groktunnel.ts', root)

/** What it says to --version. */
export const version = isBuilt ? packed : 'development'

/** The classes of this one can be imported beside it. */
export const unbundled = new URL(isBuilt ? 'build/groktunnel.js' : 'groktunnel.ts', root)
