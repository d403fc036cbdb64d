import assert from 'node:assert/strict'
import { test } from 'node:test'
import { matches, overlap, parsePattern, type Pattern } from '../lib/names/tokens/pattern.ts'

function patternOf(text: string): Pattern {
  const pattern = parsePattern(text)
  assert.ok(pattern, `${text} is no pattern`)
  return pattern
}

/** All texts of at most `length` of these characters. */
function textsOf(characters: string, length: number): string[] {
  const texts = ['']
  for (const text of texts) if (text.length < length) texts.push(...[...characters].map((one) => text + one))
  return texts
}

/** The oracle: the same as a regular expression. */
function expressionOf(pattern: string): RegExp {
  return new RegExp(`^${pattern.replaceAll('*', '.*')}$`)
}

const patterns = textsOf('ab*', 4).filter((text) => text !== '')
const labels = textsOf('ab', 8)

test('a pattern matches what a regular expression with .* would', () => {
  for (const text of patterns) {
    const [pattern, expression] = [patternOf(text), expressionOf(text)]
    for (const label of labels)
      assert.equal(matches(pattern, label), expression.test(label), `${text} ${label}`)
  }
})

test('two patterns overlap when there is a label that both match', () => {
  const sets = patterns.map((text) => {
    const expression = expressionOf(text)
    return { pattern: patternOf(text), matched: new Set(labels.filter((label) => expression.test(label))) }
  })
  for (const one of sets) {
    for (const other of sets) {
      const isMet = [...one.matched].some((label) => other.matched.has(label))
      assert.equal(overlap(one.pattern, other.pattern), isMet, `${one.pattern.text} ${other.pattern.text}`)
    }
  }
})

test('the characters of a regular expression mean nothing special', () => {
  for (const text of ['a.c', 'a+', '(a)', 'a|b', 'a?', '[a]', '^a', 'a$', '\\a'])
    assert.equal(parsePattern(text), undefined, text)
})

test('a pattern is in lower case, and made of what labels are made of', () => {
  assert.equal(parsePattern('Alice-*')?.text, 'alice-*')
  for (const text of ['', '-a', 'a-', '-*', '*-', 'a_b', 'a b', 'é', '\u212a', 'a'.repeat(64)])
    assert.equal(parsePattern(text), undefined, text)
  for (const text of ['*', '**', 'a', 'a*', '*a', 'a-*', 'a--b', 'a'.repeat(63)])
    assert.ok(parsePattern(text), text)
})
