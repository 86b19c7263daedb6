import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import { isFull } from "./SqliteErrors.js"

/**
 * On a full disk, merges the write-ahead log into the database and empties it, which may free space, and retries once. It
 * does so before the next change too, in case there is space for a checkpoint by then.
 */
export const checkpointWhenFull = (sql: SqlClient) => {
  let wasFull = false
  const emptyLog = sql`PRAGMA wal_checkpoint(TRUNCATE)`
  return <A>(change: Effect.Effect<A, SqlError>) =>
    Effect.suspend(() => (wasFull ? Effect.zipRight(Effect.ignore(emptyLog), change) : change)).pipe(
      Effect.catchIf(isFull, () => Effect.zipRight(emptyLog, change)),
      Effect.tapBoth({
        onFailure: (error) => Effect.sync(() => (wasFull = isFull(error))),
        onSuccess: () => Effect.sync(() => (wasFull = false))
      })
    )
}
