import * as Effect from "effect/Effect"
import { clearStatus, isStatusVisible, showStatus, writeStderr } from "../../runtime/StandardStreams.js"
import { escapeText } from "../../runtime/TerminalText.js"

/** Shows how much of an activity is done, and of what total. */
export type Progress = (activity: string, done: number, total: number) => Effect.Effect<void>

/** After a delay one line, rewritten ten times a second and when an activity is done, and cleared at the end. */
const forTerminals = (delayMillis: number) => (): Progress => {
  const first = Date.now() + delayMillis
  let next = first
  return (activity, done, total) =>
    Effect.sync(() => {
      const now = Date.now()
      if (now < first || (now < next && done < total)) return
      next = now + 100
      showStatus(`${activity}: ${done} of ${total}`)
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

const onTerminal = (delayMillis: number) =>
  Effect.acquireRelease(Effect.sync(forTerminals(delayMillis)), () => Effect.sync(clearStatus))

/** Shows progress on stderr until the scope closes. */
export const progress = process.stderr.isTTY ? onTerminal(0) : Effect.sync(forLogs)

const silent: Progress = () => Effect.void

/** Shows progress until the scope closes, on a terminal only, and only if it takes more than half a second. */
export const terminalProgress = Effect.suspend(() => (isStatusVisible() ? onTerminal(500) : Effect.succeed(silent)))
