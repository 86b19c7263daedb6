/** Characters that a terminal may act on: C0 except the line feed, DEL, C1, and Unicode's format characters and separators. */
export const dangerous = /(?!\n)\p{Cc}|\p{Cf}|\p{Zl}|\p{Zp}/u

/** A window title, a clipboard write, C1, a forged line, an override of the direction, a line separator. */
export const hostile = "a\x1b]0;title\x07\x1b]52;c;AAAA\x07\x9b31m\x7f\nError: forged\r\t\u202eb\u2066\u2028\u200b"
/** The same as Nexus prints it. */
export const escaped =
  "a\\x1b]0;title\\x07\\x1b]52;c;AAAA\\x07\\x9b31m\\x7f\\nError: forged\\r\\t\\u202eb\\u2066\\u2028\\u200b"
