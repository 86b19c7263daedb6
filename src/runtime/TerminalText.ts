/** The common case, tested first: cheaper than a Unicode property. */
const printableAscii = /^[\x20-\x7e]*$/

/**
 * Unicode's control characters (C0, DEL, C1), format characters (bidirectional overrides, zero-width characters, tags),
 * line and paragraph separators, and lone surrogates.
 */
const unsafe = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu

const short: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" }

const escapeCharacter = (character: string): string => {
  const code = character.codePointAt(0) ?? 0
  const hex = code.toString(16)
  if (code > 0xffff) return `\\u{${hex}}`
  return short[character] ?? (code > 0xff ? `\\u${hex.padStart(4, "0")}` : `\\x${hex.padStart(2, "0")}`)
}

/** Escapes every character that a terminal may act on: `\x1b`, `\u202e`, `\n`. */
export const escapeText = (text: string): string =>
  printableAscii.test(text) ? text : text.replace(unsafe, escapeCharacter)

/** As `unsafe`, but for line feeds and tabs. */
const unsafeInLog = new RegExp(`(?![\\n\\t])${unsafe.source}`, unsafe.flags)

/**
 * Makes a function that turns the bytes of a log into text for a terminal: all but line feeds and tabs is escaped, and a
 * carriage return before a line feed is dropped. The bytes come in chunks that may cut characters; the last call has none.
 */
export const makeLogEscaper = (): ((chunk?: Uint8Array) => string) => {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true })
  let held = ""
  return (chunk) => {
    const text = held + decoder.decode(chunk, { stream: chunk !== undefined })
    // Whether a line feed follows is in the next chunk.
    held = chunk !== undefined && text.endsWith("\r") ? "\r" : ""
    return text
      .slice(0, text.length - held.length)
      .replaceAll("\r\n", "\n")
      .replace(unsafeInLog, escapeCharacter)
  }
}

const escapeUnit = (unit: string): string => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`

/** JSON on one line with the same characters escaped. It parses to the same value. */
export const toSafeJson = (value: unknown): string => {
  const json = JSON.stringify(value)
  return printableAscii.test(json)
    ? json
    : json.replace(unsafe, (character) => character.split("").map(escapeUnit).join(""))
}

/** As `unsafe`, but for line feeds, which YAML may have outside of double quotes. */
const unsafeInYaml = new RegExp(`(?!\\n)${unsafe.source}`, "u")

/** Whether a string needs double quotes in YAML to be safe for a terminal. */
export const isUnsafeInYaml = (text: string): boolean => !printableAscii.test(text) && unsafeInYaml.test(text)

const yamlEscape = (character: string): string => {
  const hex = (character.codePointAt(0) ?? 0).toString(16)
  return hex.length > 4 ? `\\U${hex.padStart(8, "0")}` : `\\u${hex.padStart(4, "0")}`
}

/** YAML whose unsafe strings are in double quotes, with what is left of their characters escaped. */
export const toSafeYaml = (yaml: string): string =>
  yaml.replace(unsafe, (character) => (character === "\n" ? character : yamlEscape(character)))
