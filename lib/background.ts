/**
 * The process in the background (lib/detach.ts). Until its tunnels are up, all it says goes to whoever asked for it, and it
 * ends when he goes; then it leaves a record, and what it says goes to the file beside it.
 */
import { MARK, recordReady, removeRecord } from './detached.ts'
import { giveTerminal, takeTerminal } from './process.ts'

/** A tunnel that is up, in words. */
export interface Place {
  name: string
  url: string
  title: string
  target: string
}

/** What it says to whoever asked for it. */
export type Message = { line: string } | { places: Place[] }

export interface Background {
  /** Tells that tunnels are up. Throws where that cannot be recorded. */
  ready(places: Place[], graceMs: number): void
}

/** This process, where it is the one in the background. */
export function background(): Background | undefined {
  const record = process.env[MARK]
  if (record === undefined || process.send === undefined) return undefined
  delete process.env[MARK]
  const tell = (message: Message) => process.send?.(message)
  let isUp = false
  process.once('disconnect', () => isUp || process.kill(process.pid, 'SIGTERM'))
  process.once('exit', (code) => code === 0 && isUp && removeRecord(record))
  giveTerminal({ line: (line) => tell({ line }), suspend() {}, resume() {}, close() {} })
  return {
    ready(places, graceMs) {
      recordReady(record, { places, graceMs })
      isUp = true
      takeTerminal()
      tell({ places })
    },
  }
}
