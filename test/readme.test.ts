import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { helpText, optionTable, parseOptions } from '../lib/options.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const read = (path: string): string => readFileSync(join(root, path), 'utf8')
const readme = read('README.md')

test('the README has at most 150 lines', () => {
  assert.ok(readme.split('\n').length <= 151)
})

test('its options table is the table of lib/options.ts', () => {
  const rows = optionTable.map(({ name, short, value, default: fallback, help }) => {
    const flag = `\`${value === undefined ? `--${name}` : `--${name} ${value}`}\``
    const flags = short === undefined ? flag : `\`-${short}\`, ${flag}`
    return `| ${flags} | ${fallback === undefined ? '' : `\`${fallback}\` `}| ${help} |`
  })
  const table = ['| option | default | means |', '|---|---|---|', ...rows].join('\n')
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
    assert.doesNotThrow(() => parseOptions(argv), `groktunnel ${args}`)
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
  test(`--help for the ${side} fits a screen of 80 by 24`, () => {
    const lines = helpText(side).split('\n')
    assert.ok(lines.length <= 25, `${lines.length} lines`)
    for (const line of lines) assert.ok(line.length <= 80, line)
    assert.match(
      lines.join(' '),
      /0 clean.*1 unexpected.*2 usage.*3 server unreachable.*4 refused.*5 name taken/,
    )
  })
}

test('--help names every option', () => {
  const text = helpText('client') + helpText('server')
  for (const { name } of optionTable) assert.ok(text.includes(`--${name}`), name)
})
