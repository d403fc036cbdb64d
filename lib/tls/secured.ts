/** TLS on the server's port, where the options ask for it. It is loaded only then: it is slow to load, and large. */
import type { Secure, TlsOptions } from './tls.ts'

/** As `secure` of lib/tls/tls.ts. */
export async function secured(options: TlsOptions): Promise<Secure | undefined> {
  if (options.cert === undefined && options.key === undefined) return undefined
  const { secure } = await import('./tls.ts')
  return secure(options)
}
