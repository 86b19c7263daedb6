import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { StoreUnavailable } from "../../domain/Errors.js"
import { DatabaseOpenError } from "../DatabaseOpenError.js"
import { scopedPermits } from "../ScopedPermits.js"
import { StoreHealth } from "../StoreHealth.js"
import type { DatabaseAccess, Read } from "./DatabaseAccess.js"
import { fileIdentity } from "./DatabaseFiles.js"
import { fileGuards } from "./FileGuards.js"
import { checkpointWhenFull } from "./FullDisk.js"
import * as GroupCommit from "./GroupCommit.js"
import { lockTimeout, retryBusy } from "./LockRetry.js"
import { openDatabase } from "./OpenDatabase.js"
import { toOpenError } from "./OpenErrors.js"
import { openReadOnly, type Query, type Run, reserveExecutor, transaction } from "./SqliteConnection.js"
import { isSqlError, toUnavailable } from "./SqliteErrors.js"
import * as SqliteHealth from "./SqliteHealth.js"

/** The SQLite database of this daemon, checked, with the current schema. */
export class Database extends Context.Tag("nexus/Database")<Database, DatabaseAccess>() {}

/** Each snapshot is a connection, and keeps the write-ahead log from being reset. */
const maxSnapshots = 4

const makeReader =
  (run: Run, assertNotTruncated: Effect.Effect<void, StoreUnavailable>): Read =>
  <A>(query: Query) =>
    Effect.zipLeft(Effect.catchAll(retryBusy(run<A>(query)), toUnavailable), assertNotTruncated)

/**
 * Opens the database at `path`. Creates the file and schema, or replaces an older version. Fails with `DatabaseOpenError`
 * if the file can't be used.
 */
export const layer = (path: string): Layer.Layer<Database | StoreHealth | SqlClient.SqlClient, DatabaseOpenError> =>
  Layer.scopedContext(
    Effect.gen(function* () {
      const identityBefore = fileIdentity(path)
      const sql = yield* openDatabase(path)
      if (identityBefore !== undefined && identityBefore !== fileIdentity(path)) {
        return yield* new DatabaseOpenError({ message: `${path} was replaced while it was opened: start again` })
      }
      // Reads have their own connection, which never sees an uncommitted change.
      const reader = yield* openReadOnly(path).pipe(Effect.flatMap(reserveExecutor), Effect.mapError(toOpenError(path)))
      const writer = yield* Effect.mapError(reserveExecutor(sql), toOpenError(path))
      // The first read opens the log. Later reads over this connection need no further file descriptor.
      const [page] = yield* Effect.mapError(
        retryBusy(
          reader<{ size: number }>(["SELECT page_size AS size FROM sqlite_master, pragma_page_size LIMIT 1", []])
        ),
        toOpenError(path)
      )
      const { assertFileUnchanged, assertNotTruncated } = fileGuards(path, page?.size ?? 1)

      const health = SqliteHealth.make(path)
      const retryWhenFull = checkpointWhenFull(sql)
      const write = yield* GroupCommit.make(<A>(body: Effect.Effect<A, SqlError>) =>
        assertFileUnchanged.pipe(
          Effect.zipRight(assertNotTruncated),
          Effect.zipRight(Effect.tapError(retryWhenFull(transaction(writer, body)), health.noteWriteError)),
          Effect.zipLeft(assertFileUnchanged)
        )
      )
      const permit = yield* scopedPermits(
        maxSnapshots,
        lockTimeout,
        `${maxSnapshots} long lists are being read; ask again, or page by page with limit`
      )
      const openSnapshot = Effect.gen(function* () {
        yield* assertFileUnchanged
        const run = yield* reserveExecutor(yield* openReadOnly(path))
        yield* assertFileUnchanged
        yield* run(["BEGIN", []])
        return makeReader(run, assertNotTruncated)
      }).pipe(retryBusy, Effect.catchIf(isSqlError, toUnavailable))

      // The number does not change with commits of its own connection, and this is the one that writes.
      const readWriter = makeReader(writer, assertNotTruncated)
      const database = Database.of({
        read: makeReader(reader, assertNotTruncated),
        write: (change, onCommit) => Effect.catchIf(write(change(writer), onCommit), isSqlError, toUnavailable),
        dataVersion: Effect.map(readWriter<{ data_version: number }>(["PRAGMA data_version", []]), ([row]) =>
          row === undefined ? 0 : row.data_version
        ),
        snapshot: Effect.zipRight(permit, openSnapshot)
      })

      return Context.make(Database, database).pipe(
        Context.add(StoreHealth, StoreHealth.of({ check: health.check(database, openSnapshot) })),
        Context.add(SqlClient.SqlClient, sql)
      )
    })
  )
