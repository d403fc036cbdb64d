import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parseOptions } from '../lib/options.ts'
import { flagsOf, helpText, meaningOf } from '../lib/options/help.ts'
import { type Name, namesOf } from '../lib/options/table.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const read = (path: string): string => readFileSync(join(root, path), 'utf8')
const readme = read('README.md')

test('the README has at most 150 lines', () => {
  assert.ok(readme.split('\n').length <= 151)
})

/** Two options a line: the client's on the left; those of both sides, then the server's on the right. */
function optionsTable(): string {
  const left = namesOf((row) => row.side === 'client')
  const right = [...namesOf((row) => row.side === undefined), ...namesOf((row) => row.side === 'server')]
  const cells = (name: Name | undefined) =>
    name === undefined ? '| | ' : `| \`${flagsOf(name).trim()}\` | ${meaningOf(name)} `
  const lines = Array.from({ length: Math.max(left.length, right.length) }, (_, index) => {
    return `${cells(left[index])}${cells(right[index])}|`
  })
  return ['| client | means | both, then server | means |', '|---|---|---|---|', ...lines].join('\n')
}

test('its options table is the table of lib/options/table.ts', () => {
  const table = optionsTable()
  assert.ok(readme.includes(table), `the README needs:\n${table}`)
})

test('every npm command it shows is a script', () => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> }
  const shown = [...readme.matchAll(/npm (?:run (\w+)|(start|test)\b)/g)].map(
    ([, run, own]) => run ?? own ?? '',
  )
  assert.ok(shown.length > 3)
  for (const script of shown) assert.ok(script in scripts, `npm run ${script}`)
})

test('every groktunnel command it shows is accepted', () => {
  const shown = [...readme.matchAll(/(?:\$ |^ {4}|`)groktunnel ([^`|#\n]*)/gm)].map(([, args]) => args ?? '')
  assert.ok(shown.length > 3)
  for (const args of shown.filter((args) => !args.startsWith('server ['))) {
    const argv = args.trim().split(/\s+/)
    assert.doesNotThrow(() => parseOptions(argv, { env: {}, folder: '/nowhere' }), `groktunnel ${args}`)
  }
})

test('every file it links to exists', () => {
  for (const [, path = ''] of readme.matchAll(/\]\(([^):]+)\)/g))
    assert.ok(existsSync(join(root, path)), path)
})

test('the line counts it promises are kept', () => {
  const promised = [...readme.matchAll(/(\w+\.ts) \((?:at most )?(\d+)/g)]
  assert.equal(promised.length, 4)
  for (const [, file = '', most] of promised) {
    const lines = read(file).split('\n').length - 1
    assert.ok(lines <= Number(most), `${file} has ${lines} lines`)
  }
})

for (const side of ['client', 'server'] as const) {
  test(`--help for the ${side} leaves a line for the prompt on a screen of 80 by 24`, () => {
    const lines = helpText(side).trimEnd().split('\n')
    assert.ok(lines.length <= 23, `${lines.length} lines`)
    for (const line of lines) assert.ok(line.length <= 80, line)
    assert.match(
      lines.join(' '),
      /0 clean.*1 unexpected.*2 usage.*3 server unreachable.*4 refused.*5 name taken/,
    )
  })

  test(`--help for the ${side} names every option it has`, () => {
    const words = helpText(side).split(/[\s,]+/)
    for (const name of namesOf((row) => (row.side ?? side) === side))
      assert.ok(words.includes(`--${name}`) || words.includes(`--no-${name}`), name)
  })
}

test('--help all tells of every option, each on a line of its own that fits a screen', () => {
  const lines = helpText('all').split('\n')
  for (const line of lines) assert.ok(line.length <= 80, line)
  for (const name of namesOf(() => true))
    assert.equal(lines.filter((line) => line.startsWith(` ${flagsOf(name)} `)).length, 1, name)
})
