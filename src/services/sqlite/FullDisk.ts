import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import { isFull } from "./SqliteErrors.js"

/**
 * Retries a change once on a full disk, after a checkpoint that truncates the write-ahead log and so may free space. The
 * next change is preceded by a checkpoint too.
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
