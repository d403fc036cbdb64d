/**
 * A shell that waits beside a command, to end it should we be killed outright, and to end what it leaves behind when it was
 * told to end: `npm test` dies of a SIGTERM and lets its own children run on. Whoever has ended has no children any more
 * in the eyes of the system, so the shell looks who is there before it passes a signal on. It is in a session of its own,
 * where no Ctrl-C ends it before us. What a command leaves behind that ends by itself is left alone.
 */
import { type ChildProcess, spawn } from 'node:child_process'

/** Reads the pid of the command, then names of signals, then `ended`; the end of its input before that is our end. */
const script = `
# PID PARENT of each process, by proc(5) or by ps; not of one that has ended and waits to be asked how.
processes() {
  [ -r /proc/self/stat ] || { ps -A -o pid= -o ppid= -o stat= | grep -v Z; return; }
  for file in /proc/[0-9]*/stat; do
    read -r facts <"$file" || continue
    file=\${file#/proc/} facts=\${facts##*) }
    case $facts in [ZX]*) continue ;; esac
    facts=\${facts#? }
    echo "\${file%/stat} \${facts%% *}"
  done
}
# The command and all that descend from it.
look() {
  all=$(processes) family=" $command " before=
  until [ "$family" = "$before" ]; do
    before=$family
    while read -r pid parent _; do
      case $family in *" $pid "*) ;; *" $parent "*) family="$family$pid " ;; esac
    done <<END
$all
END
  done
}
# Waits until none of these is left, or there is no more time.
gone() {
  while [ $tenths -gt 0 ]; do
    left=
    while read -r pid _; do
      case " $* " in *" $pid "*) left=1 ;; esac
    done <<END
$(processes)
END
    [ "$left" ] || return
    tenths=$((tenths - 1))
    sleep 0.1
  done
  return 1
}
exec 2>/dev/null
tenths=$1 family=
read -r command || exit
while read -r word; do
  [ "$word" = ended ] && break
  case $word in USR*) ;; *) look ;; esac
  kill -s "$word" "$command"
  word=
done
if [ "$word" != ended ]; then
  look
  kill -s TERM "$command"
  gone "$command"
fi
[ "$family" ] || exit
kill -s TERM $family
gone $family || kill -s KILL $family
`

export interface Watcher {
  /** From now on it watches this process. */
  watch: (child: ChildProcess) => void
  pass: (signal: NodeJS.Signals) => void
  /** The command has ended. */
  stop: () => void
}

/** Begins to watch; what does not end when told to is killed after `graceMs`. */
export function startWatcher(graceMs: number): Watcher {
  const shell: ChildProcess = spawn('/bin/sh', ['-c', script, 'sh', String(Math.ceil(graceMs / 100))], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  })
  let command: ChildProcess | undefined
  let isThere = true
  const lose = () => (isThere = false)
  shell.on('error', lose).on('exit', lose)
  shell.stdin?.on('error', lose)
  const tell = (word: string | number | undefined) => shell.stdin?.write(`${word}\n`)
  return {
    watch(child) {
      command = child
      tell(child.pid)
    },
    pass(signal) {
      if (!isThere) command?.kill(signal)
      else if (command !== undefined) tell(signal.slice('SIG'.length))
    },
    stop() {
      if (command !== undefined) tell('ended')
      shell.stdin?.end()
    },
  }
}
