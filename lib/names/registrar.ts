/** Who may open a tunnel, and under which name: what a registration says, against tokens, limits and what others have. */
import type { IncomingMessage } from 'node:http'
import { checkSubdomain, newSubdomain } from '../../subdomain.ts'
import { readRegistration } from '../hello.ts'
import type { Session } from '../mux.ts'
import type { Names } from './names.ts'
import { type RegistrationOptions, Registrations } from './registrations.ts'
import { type TokenOptions, type Tokens, tokens } from './tokens/tokens.ts'

export interface Grant {
  readonly name: string
  /** Public connections at once; undefined where the token says nothing of them. */
  readonly maxConnections: number | undefined
  /** The name is that session's from now on. */
  readonly take: (session: Session) => void
}

export class Registrar {
  readonly #names: Names
  readonly #holders: Tokens
  readonly #registrations: Registrations

  /** Throws `usage` when the token files are bad. */
  constructor(options: TokenOptions & RegistrationOptions, names: Names) {
    this.#names = names
    this.#holders = tokens(options)
    this.#registrations = new Registrations(options)
  }

  /** No token is asked for. */
  get isOpen(): boolean {
    return this.#holders.isOpen
  }

  /** Reads the token files again. Throws `usage` when they are bad, and goes on with what was. */
  reload(): void {
    this.#holders.reload()
  }

  /** Throws the code that refuses it. */
  admit(request: IncomingMessage, address: string): Grant {
    this.#registrations.knock(address)
    const registration = readRegistration(request)
    const name = checkSubdomain(registration.subdomain ?? newSubdomain())
    const holder = this.#holders.admit(registration.authorization, name)
    const owner = { ...registration, isEntitled: holder?.owns(name) === true }
    const registrant = { ...holder, address }
    this.#names.check(name, owner)
    this.#registrations.check(registrant, this.#names.find(name))
    const take = (session: Session) => {
      const before = this.#names.find(name)
      this.#names.take(name, owner, session)
      this.#registrations.add(session, registrant, before)
    }
    return { name, maxConnections: holder?.maxConnections, take }
  }
}
