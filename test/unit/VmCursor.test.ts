import * as FastCheck from "effect/FastCheck"
import { describe, expect, it } from "vitest"
import { formatCursor, parseCursor } from "../../src/domain/VmQuery.js"

const max = 999_999_999_999_999

describe("a cursor", () => {
  it("parses to what it was made from", () => {
    const cursor = FastCheck.record({
      created_at: FastCheck.integer({ min: -max, max }),
      sequence: FastCheck.integer({ min: 0, max })
    })
    FastCheck.assert(
      FastCheck.property(cursor, (cursor) => {
        expect(parseCursor(formatCursor(cursor))).toEqual(cursor)
        expect(encodeURIComponent(formatCursor(cursor))).toBe(formatCursor(cursor))
      })
    )
  })

  it("of any other form is refused with an error that says where cursors come from", () => {
    const junk = FastCheck.oneof(
      FastCheck.string(),
      FastCheck.string({ unit: FastCheck.constantFrom(..."019.-e ") }),
      FastCheck.bigInt({ min: 10n ** 15n }).map((n) => `1.${n}`),
      FastCheck.constantFrom("1.", ".1", "1.-1", "1.1.1", "1.1\n", "0x1.1", "Infinity.1")
    ).filter((text) => !/^-?[0-9]{1,15}[.][0-9]{1,15}$/.test(text) || text.includes("\n"))
    FastCheck.assert(
      FastCheck.property(junk, (text) => {
        expect(() => parseCursor(text)).toThrow(/is not a cursor: take the one in the Link header/)
      }),
      { numRuns: 500 }
    )
  })
})
