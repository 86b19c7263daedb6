import * as Effect from "effect/Effect"
import { StoreUnavailable } from "../../domain/Errors.js"
import { fileIdentity, sizeOf } from "./DatabaseFiles.js"

const unavailable = (log: string, error: string) =>
  Effect.zipRight(Effect.logError(`store: ${log}`), new StoreUnavailable({ message: error }))

/** Checks of an open database's file that SQLite does not make. They fail with `StoreUnavailable`, and log the cause. */
export const fileGuards = (path: string, pageSize: number) => {
  const opened = fileIdentity(path)
  const openedLog = fileIdentity(`${path}-wal`)
  return {
    /** SQLite keeps writing to a file that was removed or replaced; such writes are lost when the process ends. */
    assertFileUnchanged: Effect.suspend(() =>
      fileIdentity(path) === opened && fileIdentity(`${path}-wal`) === openedLog
        ? Effect.void
        : unavailable(
            `${path} was removed or replaced; put it back, or restart nexusd`,
            "the database file was removed or replaced"
          )
    ),
    /** SQLite reads the missing part of a truncated page as zeros, and does not find its records. */
    assertNotTruncated: Effect.suspend(() =>
      sizeOf(path) % pageSize === 0
        ? Effect.void
        : unavailable(
            `${path} was cut short; stop nexusd, and put a backup in its place with nexusd restore`,
            "the database is damaged"
          )
    )
  }
}
