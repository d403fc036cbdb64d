/**
 * The process in the background (lib/detach/detach.ts). Until its tunnels are up and whoever asked for it knows, all it says goes to
 * him, and it ends when he goes; then it leaves a record, and what it says goes to the file beside it.
 */
import type { Place } from '../place.ts'
import { giveTerminal, takeTerminal } from '../process.ts'
import { MARK, recordReady, removeRecord } from './detached.ts'

/** What it says to whoever asked for it: a line for people, a text for stdout, or that its tunnels are up. */
export type Message = { line: string } | { text: string } | { places: Place[] }

/** What it is told when its places are known: from then on nobody waits for it. */
export const KNOWN = 'known'

export interface Background {
  /** Tells that tunnels are up. Throws where that cannot be recorded. */
  ready(places: Place[], graceMs: number): void
}

/** This process, where it is the one in the background. */
export function background(): Background | undefined {
  const record = process.env[MARK]
  if (record === undefined || process.send === undefined) return undefined
  delete process.env[MARK]
  const isKnown = endUnlessKnown()
  process.once('exit', (code) => {
    // An error's last words are kept: for whoever asked, or for whoever looks why the tunnel is gone.
    if (isKnown() ? code === 0 : !process.connected) removeRecord(record)
  })
  const tell = (message: Message) => process.send?.(message, undefined, undefined, () => undefined)
  giveTerminal({
    line: (line) => tell({ line }),
    print: (text) => tell({ text }),
    suspend() {},
    resume() {},
    close() {},
  })
  return {
    ready(places, graceMs) {
      recordReady(record, { places, graceMs })
      takeTerminal()
      tell({ places })
    },
  }
}

/** Whoever asked for it may go at any time, also before we could hear of it. */
function endUnlessKnown(): () => boolean {
  let isKnown = false
  const end = () => isKnown || process.kill(process.pid, 'SIGTERM')
  process.once('message', () => (isKnown = true)).once('disconnect', end)
  if (!process.connected) end()
  return () => isKnown
}
