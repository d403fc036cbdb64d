/** The folder that keeps what must outlive a run. */
import { mkdir, stat } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { dirname, isAbsolute, join } from 'node:path'
import { codeOf } from './errors.ts'

/** Where our state is kept (XDG Base Directory Specification 0.8, by which relative paths are ignored). */
export function stateFolderOf({ XDG_STATE_HOME: state, HOME: home }: NodeJS.ProcessEnv): string | undefined {
  if (isPath(state)) return join(state, 'groktunnel')
  const homeFolder = isPath(home) ? home : homeOfUser()
  return homeFolder && join(homeFolder, '.local', 'state', 'groktunnel')
}

function isPath(value: string | undefined): value is string {
  return value !== undefined && isAbsolute(value)
}

/** By the user database; a container's user may be in none. */
function homeOfUser(): string | undefined {
  try {
    return userInfo().homedir
  } catch {
    return undefined
  }
}

/** Makes a folder that only the user can read. Not the `recursive` of mkdir, which never returns where a file system makes no folders (/proc, Node 20 to 24). */
export async function makeFolder(folder: string): Promise<void> {
  const parent = dirname(folder)
  const isThere = await stat(parent).then(
    () => true,
    () => parent === folder,
  )
  if (!isThere) await makeFolder(parent)
  await mkdir(folder, { mode: 0o700 }).catch((error) => {
    if (codeOf(error) !== 'EEXIST') throw error
  })
}
