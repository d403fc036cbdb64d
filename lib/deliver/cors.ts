/**
 * Pages of any origin may call (`--cors`; Fetch standard, CORS protocol). Never with the visitor's cookies: who wants
 * those decides which origins to trust, and that is the service's to say.
 */
import { type Field, isToken } from '../http/fields.ts'
import { valueOf, without } from './fields.ts'

const ours = new Set([
  'access-control-allow-origin',
  'access-control-allow-credentials',
  'access-control-expose-headers',
])

const open: readonly Field[] = [
  { name: 'Access-Control-Allow-Origin', value: '*' },
  { name: 'Access-Control-Expose-Headers', value: '*' },
]

/** The fields of an answer that any page may read. */
export function openedAnswer(fields: readonly Field[]): Field[] {
  return [...without(fields, ours), ...open]
}

/** The fields that answer a browser's question whether it may send a request; undefined if it is no such question. */
export function preflightAnswer(method: string | undefined, fields: readonly Field[]): Field[] | undefined {
  const asked = valueOf(fields, 'access-control-request-method')
  if (method !== 'OPTIONS' || asked === undefined || !isToken(asked)) return undefined
  if (valueOf(fields, 'origin') === undefined) return undefined
  const answer: Field[] = [
    { name: 'Access-Control-Allow-Origin', value: '*' },
    { name: 'Access-Control-Allow-Methods', value: asked },
    { name: 'Access-Control-Max-Age', value: '600' },
    { name: 'Vary', value: 'Access-Control-Request-Method, Access-Control-Request-Headers' },
  ]
  const headers = valueOf(fields, 'access-control-request-headers')
  if (headers !== undefined) answer.push({ name: 'Access-Control-Allow-Headers', value: headers })
  if (valueOf(fields, 'access-control-request-private-network') === 'true')
    answer.push({ name: 'Access-Control-Allow-Private-Network', value: 'true' })
  return answer
}
