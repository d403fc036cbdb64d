/**
 * Puts a text into the clipboard of whoever sits at the terminal, also over ssh: OSC 52 asks the terminal itself to do it
 * (xterm control sequences). A terminal that does not know it, or forbids it, ignores it; nobody can tell.
 */

/** The sequence that copies `text`, to be written to the terminal; '' where there is none that would understand it. */
export function copySequence(text: string, stream: { isTTY?: boolean }, env: NodeJS.ProcessEnv): string {
  const { TERM = '', TMUX } = env
  if (stream.isTTY !== true || TERM === 'dumb') return ''
  const copy = `\x1b]52;c;${Buffer.from(text).toString('base64')}\x07`
  // tmux copies by itself if set to; else it may let pass what is meant for the terminal around it.
  if (TMUX !== undefined) return `${copy}\x1bPtmux;${copy.replaceAll('\x1b', '\x1b\x1b')}\x1b\\`
  return TERM.startsWith('screen') ? `\x1bP${copy}\x1b\\` : copy
}
