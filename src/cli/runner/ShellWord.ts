import { escapeText } from "../../runtime/TerminalText.js"

/** A text as one word of a POSIX shell. */
export const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`

/** Characters that no shell expands, in a word that it takes as it stands. */
const bareWord = /^[\w@%+=:,./-]+$/

const octal = (character: string): string =>
  Array.from(Buffer.from(character), (byte) => `\\${byte.toString(8).padStart(3, "0")}`).join("")

/** As `quote`, for a terminal: bare if that is safe, and with printf(1) for characters that a terminal may act on. */
export const shellWord = (text: string): string =>
  bareWord.test(text)
    ? text
    : Array.from(quote(text), (character) =>
        escapeText(character) === character ? character : `'"$(printf '${octal(character)}')"'`
      ).join("")
