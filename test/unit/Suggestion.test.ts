import { expect, it } from "vitest"
import { suggestion } from "../../src/cli/runner/Suggestion.js"

it("suggestion names the nearest word, and none that is far", () => {
  const words = ["create", "list", "inspect", "delete"]
  for (const [word, found] of [
    ["creat", "create"],
    ["lst", "list"],
    ["insp", "inspect"],
    ["DELETE", "delete"],
    ["delte", "delete"]
  ] as const) {
    expect(suggestion(word, words)).toBe(`; did you mean ${found}?`)
  }
  for (const word of ["", "frobnicate", "xyz", "x".repeat(100_000)]) expect(suggestion(word, words)).toBe("")
})
