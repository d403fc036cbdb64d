/**
 * Scripts for bash, zsh and fish that complete our command line, made from the table. They know the flags, files where a
 * value is one, the choices where there are some, and the tunnels of the groktunnel.toml in the working folder.
 */
import { meaningOf } from './help.ts'
import { type Name, namesOf, rowOf } from './table.ts'

export type Shell = 'bash' | 'zsh' | 'fish'

/** The script, to be sourced: `source <(groktunnel --completion bash)`. */
export function completionScript(shell: Shell): string {
  return { bash, zsh, fish }[shell]()
}

const all = namesOf(() => true)
const TUNNELS = `sed -n 's/^ *\\[ *tunnels\\. *"*\\([A-Za-z0-9_-]*\\)"* *\\].*/\\1/p' groktunnel.toml 2>/dev/null`

/** As it is written to have an effect: a switch that is on is there to be switched off. */
function flagOf(name: Name): string {
  const { value, default: fallback } = rowOf(name)
  return value === undefined && fallback === 'true' ? `no-${name}` : name
}

/** Both forms of these options, as patterns of a case. */
function patternOf(names: readonly Name[]): string {
  return names
    .flatMap((name) => {
      const { short } = rowOf(name)
      return short === undefined ? [`--${name}`] : [`-${short}`, `--${name}`]
    })
    .join('|')
}

/** bash breaks words at =, and gives it as a word of its own. Works in bash 3.2 as well, which macOS has. */
function bash(): string {
  const files = namesOf((row) => row.value === 'FILE')
  const chosen = namesOf((row) => row.choices !== undefined)
  const free = namesOf((row) => row.value !== undefined && row.value !== 'FILE' && row.choices === undefined)
  const choices = chosen.map(
    (name) => `    ${patternOf([name])}) _groktunnel_words ${ansi(rowOf(name).choices ?? [])}; return ;;`,
  )
  return `_groktunnel() {
  local IFS=$'\\n' cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD-1]} word
  if [[ $cur == = ]]; then cur=
  elif [[ $prev == = ]]; then prev=\${COMP_WORDS[COMP_CWORD-2]}
  fi
  COMPREPLY=()
  case $prev in
    ${patternOf(files)}) _groktunnel_files -f; return ;;
${choices.join('\n')}
    ${patternOf(free)}) return ;;
  esac
  if [[ $cur == -* ]]; then _groktunnel_words ${ansi(all.map((name) => `--${flagOf(name)}`))}; return; fi
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case $word in
      --) _groktunnel_files -f; return ;;
      start|--stop) _groktunnel_words "$(${TUNNELS})"; return ;;
    esac
  done
  _groktunnel_words start
  _groktunnel_files -d
}
_groktunnel_words() { COMPREPLY+=($(compgen -W "$1" -- "$cur")); }
_groktunnel_files() { compopt -o filenames 2>/dev/null; COMPREPLY+=($(compgen "$1" -- "$cur")); }
complete -F _groktunnel groktunnel
`
}

/** Words as one word of bash, a line each. */
function ansi(words: readonly string[]): string {
  return `$'${words.join('\\n')}'`
}

/** To be sourced, or put as _groktunnel into a folder of $fpath. */
function zsh(): string {
  const specs = all.flatMap((name) => {
    const { short, separator } = rowOf(name)
    const again = separator === undefined ? '' : '*'
    const rest = `[${zshText(meaningOf(name))}]${zshValue(name)}`
    const long = `'${again}--${flagOf(name)}${rowOf(name).value === undefined ? '' : '='}${rest}'`
    return short === undefined ? [long] : [`'${again}-${short}+${rest}'`, long]
  })
  return `#compdef groktunnel
_groktunnel() {
  _arguments -S ${specs.join(' \\\n    ')} \\
    '*:service:_groktunnel_services'
}
_groktunnel_services() {
  if (( \${words[(I)start]} || \${words[(I)--stop]} )); then
    compadd -- \${(f)"$(${TUNNELS})"}
  else
    compadd start
    _files -/
  fi
}
if [[ $funcstack[1] == _groktunnel ]]; then _groktunnel "$@"; else compdef _groktunnel groktunnel; fi
`
}

function zshText(text: string): string {
  return text.replace(/[[\]:\\]/g, '\\$&')
}

function zshValue(name: Name): string {
  const { value, choices } = rowOf(name)
  if (value === undefined) return ''
  const action = value === 'FILE' ? '_files' : choices === undefined ? ' ' : `(${choices.join(' ')})`
  return `:${zshText(value)}:${action}`
}

function fish(): string {
  const lines = all.map((name) => {
    const { short, value, choices } = rowOf(name)
    const letter = short === undefined ? '' : ` -s ${short}`
    const kind = value === undefined ? '' : value === 'FILE' ? ' -rF' : ' -x'
    const some = choices === undefined ? '' : ` -a '${choices.join(' ')}'`
    return `complete -c groktunnel${letter} -l ${flagOf(name)}${kind}${some} -d '${meaningOf(name)}'`
  })
  return `complete -c groktunnel -f
${lines.join('\n')}
complete -c groktunnel -n 'not __fish_seen_subcommand_from start' -a start -d 'tunnels of groktunnel.toml'
complete -c groktunnel -n 'not __fish_seen_subcommand_from start' -a '(__fish_complete_directories)'
complete -c groktunnel -n '__fish_seen_subcommand_from start; or __fish_contains_opt stop' -a '(${TUNNELS.replaceAll("'", "\\'")})'
`
}
