// Puts the types of the library entry, which tsc has left in build/, beside the bundle: every file it reaches.
import { cp, readFile } from 'node:fs/promises'
import { join } from 'node:path'

const seen = new Set()

async function copy(file) {
  if (seen.has(file)) return
  seen.add(file)
  await cp(join('build', file), join('dist', file))
  const text = await readFile(join('build', file), 'utf8')
  for (const [, path] of text.matchAll(/from '(\.[^']+)\.ts'/g)) await copy(join(file, '..', `${path}.d.ts`))
}

await copy('groktunnel.d.ts')
