import { expect, it } from "vitest"
import { displayWidth } from "../../src/cli/nexusctl/output/DisplayWidth.js"

it("displayWidth counts the columns that a terminal uses", () => {
  const widths = {
    web: 3,
    日本語: 6,
    ｗｅｂ: 6,
    "e\u0301": 1,
    "🦊": 2,
    "❤\ufe0f": 2,
    "👍🏽": 2,
    "🇩🇪": 2,
    "1\ufe0f\u20e3": 2,
    ﾃﾞ: 2
  }
  for (const [text, width] of Object.entries(widths)) expect(displayWidth(text), text).toBe(width)
  expect(displayWidth("\u1112\u1161\u11ab")).toBe(2)
  expect(displayWidth("naïve")).toBe(5)
})
