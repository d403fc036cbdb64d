/**
 * A shell that waits beside a command, to end it should we be killed outright, and to end what it leaves behind when it was
 * told to end: `npm test` dies of a SIGTERM and lets its own children run on. Whoever has ended has no children any more
 * in the eyes of the system, so the shell looks who is there before it passes a signal on. It is in a session of its own,
 * where no Ctrl-C ends it before us. What a command leaves behind that ends by itself is left alone.
 */
import { type ChildProcess, spawn } from 'node:child_process'

/** Reads the pid of the command, then names of signals, then `ended`; the end of its input before that is our end. */
const script = `
# PID PARENT START of each process, by proc(5) or by ps; not of one that has ended and waits to be asked how.
processes() {
  if [ ! -r /proc/self/stat ]; then
    ps -A -o pid= -o ppid= -o stat= | while read -r pid parent state; do
      case $state in Z*) ;; *) echo "$pid $parent" ;; esac
    done
    return
  fi
  for file in /proc/[0-9]*/stat; do
    read -r facts <"$file" || continue
    pid=\${file#/proc/}
    set -- \${facts##*) }
    case $1 in [ZX]) ;; *) echo "\${pid%/stat} $2 \${20}" ;; esac
  done
}
# The pids of the family: the command and all that descend from it. Who once belongs to it stays, whoever its parent is.
look() {
  all=$(processes) pids=' ' before=
  until [ "$pids" = "$before" ]; do
    before=$pids
    while read -r pid parent start; do
      case $pids in *" $pid "*) continue ;; esac
      case $family in *" $pid.$start "*) ;; *)
        case $pids in *" $parent "*) family="$family$pid.$start " ;; *) continue ;; esac
      esac
      pids="$pids$pid "
    done <<END
$all
END
  done
}
# Waits until no pid is like $1, or there is no more time.
wait_for() {
  while look; do
    case $pids in *$1*) ;; *) return ;; esac
    [ "$tenths" -gt 0 ] || return 1
    tenths=$((tenths - 1))
    sleep 0.1
  done
}
exec 2>/dev/null
tenths=$1 told=
read -r command || exit
family=" $(processes | while read -r pid _ start; do [ "$pid" = "$command" ] && echo "$pid.$start"; done) "
while read -r word; do
  [ "$word" = ended ] && break
  case $word in USR*) ;; *) look && told=1 ;; esac
  kill -s "$word" "$command"
done
if [ "$word" != ended ]; then
  told=1
  look
  case $pids in *" $command "*) kill -s TERM "$command" ;; esac
  wait_for " $command "
fi
[ "$told" ] || exit
look
kill -s TERM $pids
wait_for '[0-9]' || kill -s KILL $pids
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
