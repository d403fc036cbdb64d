/**
 * How much a peer may make us hold or count. Each limit bounds one part of a message, so the sum of what a
 * connection can hold is known: one head, or one trailer section.
 */
export interface Limits {
  /** a whole head, its last empty line included */
  headBytes: number
  /** field lines of a head, and of a trailer section */
  fields: number
  /** the first line of a head */
  requestLineBytes: number
  /** what follows the size on one chunk's line */
  chunkExtensionBytes: number
  /** a whole trailer section, its last empty line included */
  trailerBytes: number
}

export const defaultLimits: Limits = {
  headBytes: 65536,
  fields: 200,
  requestLineBytes: 16384,
  chunkExtensionBytes: 4096,
  trailerBytes: 8192,
}
