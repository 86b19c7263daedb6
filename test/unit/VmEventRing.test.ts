import { describe, expect, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as FastCheck from "effect/FastCheck"
import * as VmEventRing from "../../src/services/VmEventRing.js"

const { array, integer, nat, record } = FastCheck

describe("VmEventRing", () => {
  it.prop(
    "keeps the last entries within its limits, and reads them in order from any position",
    [
      record({ entries: integer({ min: 1, max: 6 }), bytes: integer({ min: 1, max: 30 }), chunkBytes: nat(20) }),
      array(nat(12), { maxLength: 30 })
    ],
    ([limits, sizes]) => {
      const ring = VmEventRing.make<number>(limits)
      let kept: ReadonlyArray<{ readonly number: number; readonly size: number }> = []
      for (const [index, size] of sizes.entries()) {
        ring.append(index + 1, size)
        kept = [...kept, { number: index + 1, size }].slice(-limits.entries)
        while (kept.length > 1 && kept.reduce((sum, one) => sum + one.size, 0) > limits.bytes) kept = kept.slice(1)

        const last = index + 1
        const first = kept[0]?.number ?? last
        expect(ring.last()).toBe(last)
        for (let after = -1; after <= last + 1; after++) {
          const isKept = after >= first - 1 && after <= last
          expect(ring.has(after)).toBe(isKept)
          const chunk = ring.read(after)
          expect(chunk !== undefined).toBe(isKept)
          if (chunk === undefined) continue
          const expected = kept.filter(({ number }) => number > after)
          const values = Chunk.toReadonlyArray(chunk)
          expect(values).toEqual(expected.slice(0, values.length).map(({ number }) => number))
          // As many as the chunk's limit allows, but at least one.
          const sizeOf = (count: number) => expected.slice(0, count).reduce((sum, one) => sum + one.size, 0)
          expect(values.length).toBeGreaterThanOrEqual(Math.min(1, expected.length))
          if (values.length > 1) expect(sizeOf(values.length)).toBeLessThanOrEqual(limits.chunkBytes)
          if (values.length < expected.length) expect(sizeOf(values.length + 1)).toBeGreaterThan(limits.chunkBytes)
        }
      }
    }
  )

  it("gives readers at one position one chunk", () => {
    const ring = VmEventRing.make<string>({ entries: 10, bytes: 100, chunkBytes: 100 })
    ring.append("a", 1)
    ring.append("b", 1)
    const chunk = ring.read(0)
    expect(ring.read(0)).toBe(chunk)
    ring.append("c", 1)
    expect(Chunk.toReadonlyArray(ring.read(0) ?? Chunk.empty())).toEqual(["a", "b", "c"])
  })
})
