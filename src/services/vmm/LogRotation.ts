import { createReadStream, createWriteStream, lstatSync, renameSync, rmSync } from "node:fs"
import { pipeline } from "node:stream/promises"
import * as Effect from "effect/Effect"
import { rotatedPath } from "./ConsoleLog.js"
import { type FileRefused, toFileRefused, withFile } from "./FileRefused.js"
import { openForReading, truncate } from "./VmFolder.js"

/** The copy, until the log is emptied. */
const copyPath = (consoleLog: string): string => `${consoleLog}.1.unfinished`

/** Copies a log into a new file. */
const copy = (from: string, to: string): Effect.Effect<void, FileRefused> =>
  Effect.flatMap(
    withFile(from, () => openForReading(from)),
    (descriptor) =>
      Effect.tryPromise({
        try: () =>
          pipeline(
            createReadStream(from, { fd: descriptor, start: 0, highWaterMark: 1024 * 1024 }),
            createWriteStream(to, { flags: "wx", mode: 0o600 })
          ),
        catch: toFileRefused(to)
      })
  )

const sizeOf = (path: string): number => lstatSync(path, { throwIfNoEntry: false })?.size ?? 0

/**
 * Ends a rotation that was killed. The log is emptied before its copy gets its name: a log that is smaller than its copy was
 * emptied.
 */
export const recoverRotation = (consoleLog: string): Effect.Effect<void, FileRefused> =>
  withFile(consoleLog, () => {
    const copied = copyPath(consoleLog)
    if (lstatSync(copied, { throwIfNoEntry: false }) === undefined) return
    if (sizeOf(consoleLog) < sizeOf(copied)) renameSync(copied, rotatedPath(consoleLog))
    else rmSync(copied)
  })

/** Moves what a log holds into its older file, while its guest is paused. `onRotated` runs before anything else can. */
export const rotate = (consoleLog: string, onRotated: () => void): Effect.Effect<void, FileRefused> => {
  const copied = copyPath(consoleLog)
  const emptied = withFile(consoleLog, () => {
    truncate(consoleLog)
    renameSync(copied, rotatedPath(consoleLog))
    onRotated()
  })
  return recoverRotation(consoleLog).pipe(
    Effect.zipRight(
      Effect.tapError(copy(consoleLog, copied), () => withFile(copied, () => rmSync(copied, { force: true })))
    ),
    Effect.zipRight(emptied),
    Effect.uninterruptible
  )
}
