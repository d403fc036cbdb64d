import assert from 'node:assert/strict'
import { test } from 'node:test'
import { cutTo, padTo, printable, saidBytes, saidMs, widthOf, wrapTo } from '../lib/text.ts'

test('what could move a cursor or hide text is written as an escape, everything else stays', () => {
  assert.equal(printable('a\x1b[2J\r\n\t\x00\x7f\x9b'), 'a\\x1b[2J\\x0d\\x0a\\x09\\x00\\x7f\\x9b')
  assert.equal(printable('\u202etxt.exe\u200b\u2028\ufeff'), '\\u{202e}txt.exe\\u{200b}\\u{2028}\\u{feff}')
  assert.equal(printable('lone \ud800 surrogate'), 'lone \\u{d800} surrogate')
  assert.equal(printable('grüße 漢字 🎉 \\x1b'), 'grüße 漢字 🎉 \\x1b')
})

test('wide characters count twice, combining marks not at all', () => {
  const widths: [text: string, width: number][] = [
    ['', 0],
    ['abc', 3],
    ['漢字', 4],
    ['한글', 4],
    ['ｆｕｌｌ', 8],
    ['🎉', 2],
    ['e\u0301', 1],
    ['é→…', 3],
  ]
  for (const [text, width] of widths) assert.equal(widthOf(text), width, text)
})

test('a text is cut to columns, and says so', () => {
  assert.equal(cutTo('abcdef', 6), 'abcdef')
  assert.equal(cutTo('abcdef', 5), 'abcd…')
  assert.equal(cutTo('漢字漢字', 7), '漢字漢…')
  assert.equal(cutTo('漢字漢字', 6), '漢字…')
  assert.equal(cutTo('ab', 1), '…')
  assert.equal(cutTo('ab', 0), '')
  assert.equal(padTo('漢字漢字', 6), '漢字… ')
  assert.equal(padTo('ab', 4), 'ab  ')
})

test('a text is broken between words, or within one that is too long, and the last row has all the rest', () => {
  assert.deepEqual(wrapTo('one two three', 7, 9), ['one two', 'three'])
  assert.deepEqual(wrapTo('one two three', 13, 9), ['one two three'])
  assert.deepEqual(wrapTo('abcdefgh ij', 3, 9), ['abc', 'def', 'gh', 'ij'])
  assert.deepEqual(wrapTo('漢字漢字', 5, 9), ['漢字', '漢字'])
  assert.deepEqual(wrapTo('one two three four', 5, 2), ['one', 'two three four'])
  assert.deepEqual(wrapTo('漢', 1, 9), ['漢', ''])
})

test('times and sizes are said in few characters', () => {
  const times = [0, 0.04, 9.94, 9.96, 999, 999.6, 99_900, 100_000, 5_969_000, 6_000_000, 7_200_000]
  assert.deepEqual(times.map(saidMs), [
    '0.0 ms',
    '0.0 ms',
    '9.9 ms',
    '10 ms',
    '999 ms',
    '1.0 s',
    '99.9 s',
    '2 min',
    '99 min',
    '2 h',
    '2 h',
  ])
  const sizes = [0, 999, 1000, 1536, 9949, 9960, 999_400, 999_600, 12_345_678, 5e12, 5e15]
  assert.deepEqual(sizes.map(saidBytes), [
    '0 B',
    '999 B',
    '1.0 kB',
    '1.5 kB',
    '9.9 kB',
    '10 kB',
    '999 kB',
    '1.0 MB',
    '12 MB',
    '5.0 TB',
    '5000 TB',
  ])
})
