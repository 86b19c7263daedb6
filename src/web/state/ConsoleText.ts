import { makeLogEscaper } from "../../runtime/TerminalText.js"

/** Characters of a console log that the page keeps. */
const maxCharacters = 256 * 1024

/** Collects the bytes of a console log as text that can't act: all but line feeds and tabs is escaped. The oldest lines are dropped. */
export const makeConsoleText = () => {
  const escape = makeLogEscaper()
  let text = ""
  return (chunk: Uint8Array): string => {
    text += escape(chunk)
    // Cut rarely: each cut copies the text.
    if (text.length > 2 * maxCharacters) text = text.slice(text.indexOf("\n", text.length - maxCharacters) + 1)
    return text
  }
}
