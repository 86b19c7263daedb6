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

/** Cuts a text without control characters to `width` terminal columns; `…` stands for what is left out. */
export const truncateToWidth = (text: string, width: number): string => {
  if (displayWidth(text) <= width) return text
  const characters = Array.from(text)
  // The width of a beginning never falls as it gets longer.
  let [fits, exceeds] = [0, characters.length]
  while (exceeds - fits > 1) {
    const middle = (fits + exceeds) >> 1
    if (displayWidth(characters.slice(0, middle).join("")) <= width - 1) fits = middle
    else exceeds = middle
  }
  return `${characters.slice(0, fits).join("")}…`
}
