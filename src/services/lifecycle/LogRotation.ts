import { createReadStream, createWriteStream, lstatSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { pipeline } from "node:stream/promises"
import * as Effect from "effect/Effect"
import type { VmFiles } from "../vmm/Vmm.js"
import { rotatedPath } from "./ConsoleLog.js"
import { type FileRefused, toFileRefused, withFile } from "./FileRefused.js"
import { openForReading, truncate } from "./VmFolder.js"

/** The copy, until the log is emptied. */
const copyPath = (consoleLog: string): string => `${consoleLog}.1.unfinished`

/** Stands in a VM's folder while its guest may be paused for a rotation. */
const pausedPath = ({ folder }: VmFiles): string => join(folder, "paused")

/** Whether a rotation was begun whose guest was not seen to run since. */
export const isPausedByRotation = (files: VmFiles): boolean =>
  lstatSync(pausedPath(files), { throwIfNoEntry: false }) !== undefined

/** Notes that a guest is about to be paused, so that the next nexusd resumes it. */
export const notePaused = (files: VmFiles): Effect.Effect<void, FileRefused> =>
  withFile(pausedPath(files), () => {
    if (!isPausedByRotation(files)) writeFileSync(pausedPath(files), "", { flag: "wx", mode: 0o600 })
  })

/** Notes that a guest runs. */
export const noteResumed = (files: VmFiles): Effect.Effect<void> =>
  Effect.ignore(withFile(pausedPath(files), () => rmSync(pausedPath(files), { force: true })))

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
