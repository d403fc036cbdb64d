import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { completionScript } from '../lib/options/completion.ts'
import { flagsOf } from '../lib/options/help.ts'
import { type Name, namesOf, rowOf } from '../lib/options/table.ts'

type Shell = Parameters<typeof completionScript>[0]

const folder = mkdtempSync(join(tmpdir(), 'completion-'))
after(() => rmSync(folder, { recursive: true }))
for (const shell of ['bash', 'zsh', 'fish'] as const)
  writeFileSync(join(folder, `.${shell}`), completionScript(shell))
mkdirSync(join(folder, 'two words'))
writeFileSync(join(folder, 'tokens.toml'), '')
writeFileSync(
  join(folder, 'groktunnel.toml'),
  '[tunnels.web]\nlocal = 1\n  [tunnels.api-2] # second\nlocal = 2\n',
)

function run(shell: Shell, script: string): string {
  const { stdout, stderr, error, status } = spawnSync(shell, ['-c', script], {
    cwd: folder,
    encoding: 'utf8',
  })
  assert.deepEqual([error, stderr, status], [undefined, '', 0])
  return stdout
}

const isThere = (shell: Shell) => spawnSync(shell, ['-c', 'true']).status === 0
const unless = (shell: Shell) => (isThere(shell) ? false : `no ${shell} on this machine`)

/** What bash offers for the last of these words, which readline has broken at = as well. */
function inBash(...words: string[]): string[] {
  const quoted = words.map((word) => `'${word}'`).join(' ')
  const offers = run(
    'bash',
    `source ./.bash
    COMP_WORDS=(groktunnel ${quoted}) COMP_CWORD=${words.length}
    $(complete -p groktunnel | sed 's/.*-F \\([^ ]*\\) .*/\\1/'); printf '%s\\n' "\${COMPREPLY[@]}"`,
  )
  return offers
    .split('\n')
    .filter((offer) => offer !== '')
    .sort()
}

const flags = namesOf(() => true).map((name) => flagIn(name))

/** As help writes it: --host, --no-display. */
function flagIn(name: Name): string {
  return /--\S+/.exec(flagsOf(name))?.[0] ?? ''
}

test('bash offers every flag of the table, and those that begin so', () => {
  assert.deepEqual(inBash('-'), flags.toSorted())
  assert.deepEqual(inBash('3000', '--max-t'), ['--max-tunnels', '--max-tunnels-per-address'])
  assert.deepEqual(inBash('--host', 'a.example', '--wa'), ['--wait'])
})

test('bash offers files where a value is one, the choices where there are some, and nothing for other values', () => {
  for (const name of namesOf((row) => row.value !== undefined)) {
    const { value, choices = [], short } = rowOf(name)
    const wanted = value === 'FILE' ? ['groktunnel.toml'] : choices.filter((choice) => choice.startsWith('g'))
    assert.deepEqual(inBash(`--${name}`, 'g'), wanted, name)
    assert.deepEqual(inBash(`--${name}`, '=', 'g'), wanted, name)
    if (short !== undefined) assert.deepEqual(inBash(`-${short}`, ''), [])
  }
  assert.deepEqual(inBash('--completion', ''), ['bash', 'fish', 'zsh'])
  assert.deepEqual(inBash('--completion', '='), ['bash', 'fish', 'zsh'])
  assert.deepEqual(inBash('--host-header', '=', 're'), ['rewrite'])
  assert.deepEqual(inBash('--tokens', 't'), ['tokens.toml', 'two words'])
})

test('bash offers start and folders for a service, and after start the tunnels of groktunnel.toml', () => {
  assert.deepEqual(inBash(''), ['start', 'two words'])
  assert.deepEqual(inBash('start', ''), ['api-2', 'web'])
  assert.deepEqual(inBash('--wait', 'start', 'web', 'a'), ['api-2'])
  assert.deepEqual(inBash('start', '--wa'), ['--wait'])
  assert.deepEqual(inBash('3000', '--', 'tok'), ['tokens.toml'])
})

test('bash completes in a real prompt', () => {
  const script = `bind 'set completion-query-items 0' 'set bell-style none'; PS1=; source ./.bash; groktunnel() { printf '<%s>' "$@"; }`
  const { stdout } = spawnSync('bash', ['--norc', '-i'], {
    cwd: folder,
    encoding: 'utf8',
    input: `${script}\ngroktunnel --tokens=two\\ w\t --subd\tapp\nexit\n`,
    env: { ...process.env, TERM: 'dumb', HOME: folder },
  })
  assert.match(stdout, /<--tokens=two words\/?><--subdomain><app>/)
})

test('the scripts for zsh and fish describe every option', () => {
  for (const shell of ['zsh', 'fish'] as const) {
    const script = completionScript(shell)
    for (const name of namesOf(() => true)) {
      const flag = flagIn(name)
      const { help } = rowOf(name)
      const wanted =
        shell === 'zsh' ? `${flag}${rowOf(name).value === undefined ? '' : '='}[` : ` -l ${flag.slice(2)} `
      const line = script.split('\n').find((line) => line.includes(wanted)) ?? ''
      assert.ok(line.replaceAll('\\', '').includes(help), `${shell} ${flag}: ${line}`)
    }
  }
})

test('zsh takes the script', { skip: unless('zsh') }, () => {
  assert.equal(
    run('zsh', 'autoload -U compinit && compinit -D -u; source ./.zsh && print $_comps[groktunnel]'),
    '_groktunnel\n',
  )
})

test(
  'fish offers flags, files, choices, and the tunnels of groktunnel.toml',
  { skip: unless('fish') },
  () => {
    const offers = (words: string) => {
      const lines = run('fish', `source ./.fish; complete -C 'groktunnel ${words}'`).trim().split('\n')
      return lines.map((line) => line.split('\t')[0] ?? '').sort()
    }
    assert.deepEqual(offers('--'), flags.toSorted())
    assert.deepEqual(offers('--completion '), ['bash', 'fish', 'zsh'])
    assert.deepEqual(offers('--tokens tok'), ['tokens.toml'])
    assert.deepEqual(offers('start '), ['api-2', 'web'])
    assert.deepEqual(offers('st'), ['start'])
  },
)
