/**
 * A certificate and its key, kept as new as their files. They are looked at when a connection needs them, at most once
 * a second: renewed files count from the next connection on, also when they are swapped behind a symlink, as certbot
 * does. A pair that cannot be used (half written, or its key not there yet) leaves the old one in force until it can.
 */
import { constants, createPrivateKey, X509Certificate } from 'node:crypto'
import { statSync } from 'node:fs'
import { createSecureContext, type SecureContext } from 'node:tls'
import { readCertificates, readText } from '../certificates.ts'
import { TunnelError } from '../errors.ts'

/** Paths of PEM files; the certificate may have its chain behind it. */
export interface KeyPairFiles {
  cert: string
  key: string
}

const CHECK_EVERY_MS = 1_000

export class KeyPair {
  readonly #files: KeyPairFiles
  readonly #now: () => number
  #checkedAtMs: number
  #stamp: string
  #context: SecureContext

  /** `now` is a clock in ms. Throws `usage` when the files are no pair. */
  constructor(files: KeyPairFiles, now: () => number) {
    this.#files = files
    this.#now = now
    this.#checkedAtMs = now()
    // Before the files are read: what is written meanwhile differs from it, and is read at the next check.
    this.#stamp = stampOf(files)
    this.#context = contextOf(files)
  }

  /** The newest pair that can be used. */
  get context(): SecureContext {
    const nowMs = this.#now()
    if (nowMs - this.#checkedAtMs < CHECK_EVERY_MS) return this.#context
    this.#checkedAtMs = nowMs
    try {
      if (stampOf(this.#files) !== this.#stamp) this.reload()
    } catch {
      // no pair yet: the stamp stays old, so the next check tries again
    }
    return this.#context
  }

  /** Reads the files now. Throws `usage` when they are no pair; the old one stays in force. */
  reload(): void {
    const stamp = stampOf(this.#files)
    this.#context = contextOf(this.#files)
    this.#stamp = stamp
  }
}

/** Changes whenever one of the files was written or swapped. */
function stampOf({ cert, key }: KeyPairFiles): string {
  const stamps = [cert, key].map((path) => {
    const { ino, size, mtimeMs, ctimeMs } = statSync(path, { throwIfNoEntry: false }) ?? {}
    return [ino, size, mtimeMs, ctimeMs].join(' ')
  })
  return stamps.join(', ')
}

/** TLS 1.2 or newer, and no renegotiation, which lets a client ask for costly handshakes without end. */
function contextOf({ cert: certPath, key: keyPath }: KeyPairFiles): SecureContext {
  const cert = readCertificates('--cert', certPath)
  const key = readKey(keyPath)
  if (!new X509Certificate(cert).checkPrivateKey(createPrivateKey(key))) {
    const message = `expected the key of ${certPath} in ${keyPath} (--key), got that of another certificate`
    throw new TunnelError('usage', `${message}; give the two that were issued together`)
  }
  try {
    return createSecureContext({
      cert,
      key,
      minVersion: 'TLSv1.2',
      honorCipherOrder: true,
      secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
    })
  } catch (cause) {
    const message = `expected whole certificates in ${certPath} (--cert), got ${String(cause)}; renew the file`
    throw new TunnelError('usage', message, { cause })
  }
}

function readKey(path: string): string {
  const pem = readText('--key', path)
  try {
    createPrivateKey(pem)
    return pem
  } catch (cause) {
    const expected = `expected a PEM private key without a passphrase in ${path} (--key), got something else`
    throw new TunnelError('usage', `${expected}; give one such as privkey.pem`, { cause })
  }
}
