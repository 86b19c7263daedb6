import * as Chunk from "effect/Chunk"

interface Entry<A> {
  readonly value: A
  readonly bytes: number
}

export interface RingLimits {
  /** Maximum number of entries, and maximum of their sizes; the last entry is kept in any case. */
  readonly entries: number
  readonly bytes: number
  /** Maximum size of a chunk, unless it is one entry. */
  readonly chunkBytes: number
}

/** The last entries of a log, numbered from 1. */
export interface Ring<A> {
  /** The number of the last entry; 0 if there was none. */
  readonly last: () => number
  /** Adds an entry, in constant time, and drops the oldest beyond the limits. */
  readonly append: (value: A, bytes: number) => void
  /** Whether all entries after that number are kept. */
  readonly has: (after: number) => boolean
  /** The entries after that number: one chunk of them, empty if there are none, undefined if some are not kept. */
  readonly read: (after: number) => Chunk.Chunk<A> | undefined
}

/** Makes an empty ring. Two reads of the same entries in a row return the same chunk. */
export const make = <A>(limits: RingLimits): Ring<A> => {
  const entries: Array<Entry<A> | undefined> = []
  let [first, last, bytes] = [1, 0, 0]
  const entryAt = (number: number) => entries[number % limits.entries]

  const dropFirst = () => {
    bytes -= entryAt(first)?.bytes ?? 0
    entries[first % limits.entries] = undefined
    first++
  }

  const has = (after: number) => after >= first - 1 && after <= last
  let latest: { readonly after: number; readonly last: number; readonly chunk: Chunk.Chunk<A> } | undefined
  return {
    last: () => last,
    has,
    append: (value, size) => {
      if (last - first + 1 === limits.entries) dropFirst()
      last++
      entries[last % limits.entries] = { value, bytes: size }
      bytes += size
      while (bytes > limits.bytes && first < last) dropFirst()
    },
    read: (after) => {
      if (!has(after)) return undefined
      if (after === last) return Chunk.empty()
      if (latest?.after === after && latest.last === last) return latest.chunk
      const values: Array<A> = []
      let size = 0
      for (let number = after + 1; number <= last; number++) {
        const entry = entryAt(number)
        if (entry === undefined) break
        size += entry.bytes
        if (size > limits.chunkBytes && values.length > 0) break
        values.push(entry.value)
      }
      const chunk = Chunk.unsafeFromArray(values)
      latest = { after, last, chunk }
      return chunk
    }
  }
}
