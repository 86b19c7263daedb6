import { eastAsianWidth } from "get-east-asian-width"

/** Nonspacing and enclosing marks, and Hangul vowels and final consonants (conjoining jamo). */
const combining = /[\p{Mn}\p{Me}\u1160-\u11ff]/u
const emoji = /\p{Emoji}/u
const emojiModifier = /\p{Emoji_Modifier}/u
const emojiModifierBase = /\p{Emoji_Modifier_Base}/u
/** VARIATION SELECTOR-16 selects the wide, coloured form of an emoji. */
const wideForm = "\ufe0f"

/** The number of terminal columns of a text without control characters, by Unicode's East Asian Width (UAX #11). */
export const displayWidth = (text: string): number => {
  if (/^[\x20-\x7e]*$/.test(text)) return text.length
  let width = 0
  let before = { character: "", width: 0 }
  for (const character of text) {
    if (character === wideForm && before.width === 1 && emoji.test(before.character)) {
      before = { character, width: 2 }
      width += 1
    } else if (combining.test(character)) continue
    else if (emojiModifier.test(character) && emojiModifierBase.test(before.character)) continue
    else {
      before = { character, width: eastAsianWidth(character.codePointAt(0) ?? 0) }
      width += before.width
    }
  }
  return width
}
