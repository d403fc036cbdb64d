/** Opens a URL in the user's browser, by the program each system has for it. No shell ever sees the URL. */
import { spawn } from 'node:child_process'

/** By platform; others are thought to follow freedesktop.org. */
const openers: Partial<Record<NodeJS.Platform, string[]>> = {
  darwin: ['open'],
  win32: ['rundll32', 'url.dll,FileProtocolHandler'],
}

/** Does not wait for the browser; `onFailure` is told in one line when there is none. It outlives this process. */
export function openBrowser(
  url: string,
  onFailure: (message: string) => void,
  platform: NodeJS.Platform = process.platform,
): void {
  if (!isWeb(url)) return onFailure(`expected an http URL to open, got ${JSON.stringify(url)}`)
  const [program = '', ...args] = openers[platform] ?? ['xdg-open']
  const browser = spawn(program, [...args, new URL(url).href], { stdio: 'ignore', detached: true })
  const fail = (reason: string) =>
    onFailure(`no browser could be opened (${program}: ${reason}); open ${url}`)
  browser.on('error', (error: NodeJS.ErrnoException) => fail(error.code ?? error.message))
  browser.on('exit', (code) => code !== null && code !== 0 && fail(`exit code ${code}`))
  browser.unref()
}

function isWeb(url: string): boolean {
  return URL.canParse(url) && /^https?:$/.test(new URL(url).protocol)
}
