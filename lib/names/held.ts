/** The shape of what a server must keep over a restart for names to stay their owners': no secret, only hashes. */
export type Held = Record<string, HeldName>

export interface HeldName {
  proof: string
  /** the owner's client that had the name last, and those that it replaced */
  client?: string | undefined
  replaced: string[]
}
