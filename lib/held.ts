/** The shape of what a server must keep over a restart for names to stay their owners': no secret, only hashes. */
export type Held = Record<string, { proof: string; client?: string | undefined }>
