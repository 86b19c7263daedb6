import * as FastCheck from "effect/FastCheck"
import { describe, expect, it } from "vitest"
import { escapeText, toSafeJson } from "../../src/runtime/TerminalText.js"
import { dangerous, escaped, hostile } from "../support/TerminalTexts.js"

describe("terminal escaping", () => {
  it("escapes control and format characters, and nothing else", () => {
    expect(escapeText(hostile)).toBe(escaped)
    expect(escapeText("naïve 日本語 🦊 e\u0301 \\x1b")).toBe("naïve 日本語 🦊 e\u0301 \\x1b")
    expect(escapeText("\u{e0041}\ud800")).toBe("\\u{e0041}\\ud800")
  })

  it("leaves no control character in any text", () => {
    FastCheck.assert(
      FastCheck.property(FastCheck.string({ unit: "binary" }), (text) => {
        expect(escapeText(text)).not.toMatch(dangerous)
        expect(escapeText(text)).not.toContain("\n")
      })
    )
  })

  it("keeps the value of any JSON, without a control character", () => {
    FastCheck.assert(
      FastCheck.property(FastCheck.jsonValue({ stringUnit: "binary" }), (value) => {
        const json = toSafeJson(value)
        expect(json).not.toMatch(dangerous)
        expect(JSON.parse(json)).toEqual(JSON.parse(JSON.stringify(value)))
      })
    )
    expect(JSON.parse(toSafeJson({ text: `${hostile}\u{e0041}` }))).toEqual({ text: `${hostile}\u{e0041}` })
  })
})
