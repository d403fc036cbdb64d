/** What the environment gives: GROKTUNNEL_ and the name of an option, two secrets, and the folder that keeps state. */
import { join } from 'node:path'
import { stateFolderOf } from '../state-folder.ts'
import type { Layer, Secret } from './layers.ts'
import { unknown, usage } from './mistakes.ts'
import { type Name, namesOf, variableOf } from './table.ts'

const secrets: ReadonlyMap<string, Secret> = new Map([
  ['GROKTUNNEL_TOKEN', 'token'],
  ['GROKTUNNEL_KEY', 'owner-key'],
])

/**
 * Not for us: what we tell the command that we run, the version that images are labelled with, and what Kubernetes tells
 * the neighbours of a Service called groktunnel.
 */
const FOREIGN = /^GROKTUNNEL_(URL(_.*)?|DETACHED|VERSION|SERVICE_.*|PORT_\d.*)$/

/** The options in the environment. Throws `usage` on a variable of ours that is none. */
export function readEnvironment(env: NodeJS.ProcessEnv): Layer {
  const names = new Map<string, Name | Secret>(secrets)
  for (const name of namesOf((row) => row.isRequest !== true)) names.set(variableOf(name), name)
  const called = new Map([...names].map(([variable, name]) => [name, variable]))
  const texts: Layer['texts'] = new Map()
  for (const [variable, text] of Object.entries(env)) {
    if (text === undefined || !isOurs(variable, text)) continue
    const name = names.get(variable)
    if (name === undefined) throw strange(variable, [...names.keys()])
    texts.set(name, [text])
  }
  return { texts, called: (name) => called.get(name) ?? name, isVariables: true }
}

function strange(variable: string, known: readonly string[]): Error {
  const request = namesOf((row) => row.isRequest === true).find((name) => variableOf(name) === variable)
  if (request === undefined) return unknown('environment variable', variable, known)
  return usage(`expected --${request} on the command line, got ${variable}; unset it`)
}

function isOurs(variable: string, text: string): boolean {
  if (variable === 'GROKTUNNEL_PORT' && text.startsWith('tcp://')) return false // of Kubernetes, too
  return variable.startsWith('GROKTUNNEL_') && !FOREIGN.test(variable)
}

export interface State {
  /** Where keys are kept; absent where there is no home. */
  stateFolder?: string
  /** Where a server keeps its names; servers on different ports keep different ones. */
  stateFile?: string
}

/** Where state is kept. */
export function stateOf(env: NodeJS.ProcessEnv, server?: { bind: string; port: number }): State {
  const stateFolder = stateFolderOf(env)
  if (stateFolder === undefined) return {}
  if (server === undefined) return { stateFolder }
  const file = `names-${server.bind.replaceAll(':', '_')}-${server.port}.json`
  return { stateFolder, stateFile: join(stateFolder, file) }
}
