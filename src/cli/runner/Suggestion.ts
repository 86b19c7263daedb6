/** Levenshtein distance. */
const distance = (a: string, b: string): number => {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}

const isPrefix = (a: string, b: string): boolean => a.startsWith(b) || b.startsWith(a)

/** The word nearest to an unknown one: up to two edits or a third of its letters, or one is a prefix of the other. */
const nearest = (word: string, words: ReadonlyArray<string>): string | undefined => {
  const ranked = words
    .map((candidate) => ({ candidate, edits: distance(word.toLowerCase(), candidate.toLowerCase()) }))
    .filter(
      ({ candidate, edits }) =>
        edits <= Math.max(candidate.length < 4 ? 1 : 2, Math.floor(candidate.length / 3)) ||
        (word !== "" && isPrefix(word, candidate))
    )
    .sort((a, b) => a.edits - b.edits)
  return ranked[0]?.candidate
}

/** The end of a message about an unknown word: `; did you mean list?`, or nothing if no word is near. */
export const suggestion = (word: string, words: ReadonlyArray<string>): string => {
  const found = nearest(word.slice(0, 64), words)
  return found === undefined || found === word ? "" : `; did you mean ${found}?`
}
