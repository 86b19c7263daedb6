import * as Effect from "effect/Effect"
import { writeStderr } from "../../runtime/StandardStreams.js"
import { escapeText } from "../../runtime/TerminalText.js"

/** Shows how much has been done of something, and of how much. */
export type Progress = (doing: string, done: number, total: number) => Effect.Effect<void>

const clearLine = "\r\u001b[K"

/** One line that is written over and over, and is gone at the end. */
const forPeople = (): Progress => {
  let next = 0
  return (doing, done, total) =>
    Effect.sync(() => {
      if (Date.now() < next && done < total) return
      next = Date.now() + 100
      writeStderr(`${clearLine}${escapeText(doing)}: ${done} of ${total}`)
    })
}

/** A line for each thing that is begun, and one now and then. */
const forLogs = (): Progress => {
  let before = ""
  let next = 0
  return (doing, done, total) =>
    Effect.sync(() => {
      if (doing === before && Date.now() < next) return
      before = doing
      next = Date.now() + 10_000
      writeStderr(`${escapeText(doing)}: ${done} of ${total}\n`)
    })
}

/** Shows progress on stderr for as long as the scope lasts. */
export const progress = process.stderr.isTTY
  ? Effect.acquireRelease(Effect.sync(forPeople), () => Effect.sync(() => writeStderr(clearLine)))
  : Effect.sync(forLogs)
