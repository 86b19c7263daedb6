import * as FastCheck from "effect/FastCheck"
import { describe, expect, it } from "vitest"
import { escapeText, makeLogEscaper, toSafeJson } from "../../src/runtime/TerminalText.js"
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

describe("the escaping of a log", () => {
  /** The text of these bytes, cut into chunks at these places. */
  const escapeLog = (bytes: Uint8Array, ...cuts: ReadonlyArray<number>) => {
    const escape = makeLogEscaper()
    const borders = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]
    const chunks = borders.slice(1).map((end, index) => bytes.subarray(borders[index], end))
    return chunks.map((chunk) => escape(chunk)).join("") + escape()
  }

  const cases = [
    ["a\tb\n", "a\tb\n"],
    ["a\r\nb\r\n", "a\nb\n"],
    ["10%\r20%\r", "10%\\r20%\\r"],
    ["\r\r\n", "\\r\n"],
    ["\x1b[2J\x07\x00", "\\x1b[2J\\x07\\x00"],
    ["\ufeffé€🦊\u202e", "\\ufeffé€🦊\\u202e"]
  ] as const

  it.each(cases)("of %j is %j, wherever it is cut", (text, escaped) => {
    const bytes = Buffer.from(text)
    for (let cut = 0; cut <= bytes.length; cut++) expect(escapeLog(bytes, cut)).toBe(escaped)
  })

  it("shows bytes that are no UTF-8 as the replacement character", () => {
    expect(escapeLog(Uint8Array.of(0x9b, 0x41, 0xe2, 0x82))).toBe("\ufffdA\ufffd")
  })

  it("leaves no control character but line feeds and tabs, and is the same wherever it is cut", () => {
    const texts = FastCheck.array(FastCheck.constantFrom("\r", "\n", "\t", "\x1b", "\u202e", "a", "é", "🦊"))
    const bytes = FastCheck.oneof(
      FastCheck.uint8Array({ maxLength: 50 }),
      texts.map((parts) => new Uint8Array(Buffer.from(parts.join(""))))
    )
    FastCheck.assert(
      FastCheck.property(bytes, FastCheck.array(FastCheck.nat(), { maxLength: 5 }), (bytes, cuts) => {
        const whole = escapeLog(bytes)
        expect(whole.replaceAll("\t", "")).not.toMatch(dangerous)
        expect(escapeLog(bytes, ...cuts)).toBe(whole)
      })
    )
  })
})
