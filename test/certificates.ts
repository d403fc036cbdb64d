/** Certificates made at run time with the openssl program: an authority of our own, and what it issues. */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Why a test that needs certificates is skipped; false where it is not. */
export const noOpenssl: string | false =
  spawnSync('openssl', ['version']).status === 0 ? false : 'needs the openssl program'

/** Paths of PEM files. */
export interface Issued {
  cert: string
  key: string
}

const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']

/** Remove it when the tests are over. */
export class Authority {
  readonly folder = mkdtempSync(join(tmpdir(), 'groktunnel-certificates-'))
  readonly #own = this.selfSigned('authority')

  /** The authority's own certificate, as text. */
  get ca(): string {
    return readFileSync(this.#own.cert, 'utf8')
  }

  /** A certificate for `names`, valid from now for so many days; one of -1 days has expired. */
  issue(name: string, names = 'DNS:localhost,DNS:*.localhost,IP:127.0.0.1', days = 30): Issued {
    const { cert, key } = this.#paths(name)
    const [request, extension] = [`${cert}.request`, `${cert}.extension`]
    openssl('req', ...newKey, '-keyout', key, '-subj', `/CN=${name}`, '-out', request)
    writeFileSync(extension, `subjectAltName=${names}\n`)
    const authority = ['-CA', this.#own.cert, '-CAkey', this.#own.key, '-days', String(days)]
    openssl('x509', '-req', '-in', request, ...authority, '-extfile', extension, '-out', cert)
    return { cert, key }
  }

  /** A certificate that vouches for itself. */
  selfSigned(name: string): Issued {
    const { cert, key } = this.#paths(name)
    const names = ['-addext', 'subjectAltName=DNS:localhost']
    openssl('req', '-x509', ...newKey, '-keyout', key, '-subj', `/CN=${name}`, ...names, '-out', cert)
    return { cert, key }
  }

  /** The same key behind a passphrase. */
  encrypt({ key }: Issued): string {
    openssl('pkey', '-in', key, '-aes128', '-passout', 'pass:secret', '-out', `${key}.encrypted`)
    return `${key}.encrypted`
  }

  remove(): void {
    rmSync(this.folder, { recursive: true })
  }

  #paths(name: string): Issued {
    return { cert: join(this.folder, `${name}.pem`), key: join(this.folder, `${name}.key`) }
  }
}

function openssl(...argv: string[]): void {
  execFileSync('openssl', argv, { stdio: ['ignore', 'ignore', 'pipe'] })
}
