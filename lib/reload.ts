/** Reading files again while the server runs: a bad one must not keep the others from being read. */
interface Reloadable {
  reload(): void
}

/** Reloads each of these; throws what the first that failed threw, when all were tried. */
export function reloadAll(...all: (Reloadable | undefined)[]): void {
  const errors: unknown[] = []
  for (const one of all) {
    try {
      one?.reload()
    } catch (error) {
      errors.push(error)
    }
  }
  if (errors.length > 0) throw errors[0]
}
