import * as Effect from "effect/Effect"
import { writeStderr } from "../../runtime/StandardStreams.js"
import { escapeText } from "../../runtime/TerminalText.js"

/** Shows how much of an activity is done, and of what total. */
export type Progress = (activity: string, done: number, total: number) => Effect.Effect<void>

const clearLine = "\r\u001b[K"

/** One line, rewritten ten times a second and cleared at the end. */
const forTerminals = (): Progress => {
  let next = 0
  return (activity, done, total) =>
    Effect.sync(() => {
      if (Date.now() < next && done < total) return
      next = Date.now() + 100
      writeStderr(`${clearLine}${escapeText(activity)}: ${done} of ${total}`)
    })
}

/** A line when an activity begins, and one every 10 s. */
const forLogs = (): Progress => {
  let before = ""
  let next = 0
  return (activity, done, total) =>
    Effect.sync(() => {
      if (activity === before && Date.now() < next) return
      before = activity
      next = Date.now() + 10_000
      writeStderr(`${escapeText(activity)}: ${done} of ${total}\n`)
    })
}

/** Shows progress on stderr until the scope closes. */
export const progress = process.stderr.isTTY
  ? Effect.acquireRelease(Effect.sync(forTerminals), () => Effect.sync(() => writeStderr(clearLine)))
  : Effect.sync(forLogs)
