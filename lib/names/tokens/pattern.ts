/**
 * Name patterns: a label in which `*` stands for any run of characters, also for none. The fixed parts between the stars
 * are sought from left to right, each once and never again, so that no pattern is slow to match (nothing here becomes a
 * regular expression).
 */
export interface Pattern {
  readonly text: string
  /** What comes before the first star, between stars, and after the last; no tail where there is no star. */
  readonly head: string
  readonly middle: readonly string[]
  readonly tail: string | undefined
}

/** The pattern in lower case; undefined where it can match no label (RFC 1123 section 2.1). */
export function parsePattern(pattern: string): Pattern | undefined {
  if (!/^[a-z0-9*]([a-z0-9*-]{0,61}[a-z0-9*])?$/i.test(pattern)) return undefined
  const text = pattern.toLowerCase()
  const [head = '', ...middle] = text.split('*')
  const tail = middle.pop()
  return { text, head, middle, tail }
}

/** Whether a lower-case label is one of the pattern's. */
export function matches({ head, middle, tail }: Pattern, label: string): boolean {
  if (tail === undefined) return label === head
  if (!label.startsWith(head) || !label.endsWith(tail)) return false
  let from = head.length
  for (const part of middle) {
    const at = label.indexOf(part, from)
    if (at < 0) return false
    from = at + part.length
  }
  return from + tail.length <= label.length
}

/** Whether a label of any length could match both patterns: between their stars there is room for whatever both want. */
export function overlap(one: Pattern, other: Pattern): boolean {
  if (one.tail === undefined) return matches(other, one.text)
  if (other.tail === undefined) return matches(one, other.text)
  const headsAgree = one.head.startsWith(other.head) || other.head.startsWith(one.head)
  return headsAgree && (one.tail.endsWith(other.tail) || other.tail.endsWith(one.tail))
}
