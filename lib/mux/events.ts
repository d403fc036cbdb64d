/**
 * Stands in for `main-event` in the bundle: the base of every yamux stream. That one is made of DOM events, and each
 * stream has five listeners from its birth: measured, 7 KiB of an idle connection and a twentieth of what a new one
 * costs. Listeners are called in their order, at once. There are no phases and no defaults.
 */

type Listener = ((event: Event) => void) | { handleEvent(event: Event): void }

interface Entry {
  listener: Listener
  once: boolean
}

export class TypedEventEmitter {
  #entries: Record<string, Entry[]> = {}

  listenerCount(type: string): number {
    return this.#entries[type]?.length ?? 0
  }

  addEventListener(type: string, listener: Listener, options?: { once?: boolean }): void {
    const entries = (this.#entries[type] ??= [])
    if (entries.some((entry) => entry.listener === listener)) return
    entries.push({ listener, once: options?.once === true })
  }

  removeEventListener(type: string, listener: Listener): void {
    const entries = this.#entries[type]
    if (entries !== undefined) this.#entries[type] = entries.filter((entry) => entry.listener !== listener)
  }

  dispatchEvent(event: Event): boolean {
    for (const { listener, once } of [...(this.#entries[event.type] ?? [])]) {
      if (once) this.removeEventListener(event.type, listener)
      try {
        if (typeof listener === 'function') listener(event)
        else listener.handleEvent(event)
      } catch (error) {
        report(error)
      }
    }
    return true
  }

  /** Nothing is made where nobody listens. */
  safeDispatchEvent(type: string, init?: { detail?: unknown }): boolean {
    return this.listenerCount(type) === 0 || this.dispatchEvent(new CustomEvent(type, init))
  }
}

/** A listener's fault is nobody's here: it is thrown where only the process hears it. */
function report(error: unknown): void {
  process.nextTick(() => {
    throw error
  })
}

/** There is no limit to warn of. */
export function setMaxListeners(): void {}
