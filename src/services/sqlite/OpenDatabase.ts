import { accessSync, chmodSync, constants, statSync, writeFileSync } from "node:fs"
import { dirname } from "node:path"
import type * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import { makePrivateDir } from "../../runtime/XdgDirs.js"
import { DatabaseOpenError } from "../DatabaseOpenError.js"
import { copyOnce } from "./DatabaseCopy.js"
import { assertFilePath, fileIdentity, inspectFile } from "./DatabaseFiles.js"
import { Current, createTables, dropTables, ensureListOrderIndex, inspectSchema, isUnusable } from "./DatabaseSchema.js"
import { retryBusy } from "./LockRetry.js"
import { openError, toOpenError, withFiles } from "./OpenErrors.js"
import { enforceForeignKeys, openReadWrite, reserveExecutor, transaction } from "./SqliteConnection.js"

/** Copies an older database to a backup, then drops its tables and creates the current ones, under one write lock. */
const upgrade = (sql: SqlClient.SqlClient, path: string, from: number) =>
  Effect.gen(function* () {
    // Copies over another connection; the lock keeps the database unchanged meanwhile.
    const kept = yield* copyOnce(path, `${path}.v${from}-`)
    yield* dropTables(sql)
    yield* createTables(sql)
    yield* Effect.logWarning(
      `${path} had schema version ${from}; it is kept as ${kept}, and a fresh database takes its place`
    )
  })

/** Fails unless WAL and synchronous=FULL are in force. SQLite ignores WAL silently where a file system can't do it. */
const assertDurable = (sql: SqlClient.SqlClient, path: string) =>
  Effect.gen(function* () {
    const [found] = yield* sql<{ journal_mode: string; synchronous: number }>`
      SELECT journal_mode, synchronous FROM pragma_journal_mode, pragma_synchronous
    `
    if (found?.journal_mode !== "wal" || found.synchronous !== 2) {
      return yield* new DatabaseOpenError({
        message: `${path} is on a file system that can't keep a write-ahead log (journal_mode ${found?.journal_mode}, synchronous ${found?.synchronous}): give a file on a local disk with --db PATH`
      })
    }
  })

/**
 * Sets mode 0600 before SQLite opens the file, since the log gets the same mode. Returns a function that restores the mode.
 * Throws if the file can't be written; SQLite would open it read-only and fail at the first change.
 */
const makePrivate = (path: string): (() => void) => {
  accessSync(path, constants.W_OK)
  accessSync(dirname(path), constants.W_OK)
  const mode = statSync(path).mode & 0o777
  if (mode === 0o600) return () => {}
  chmodSync(path, 0o600)
  return () => chmodSync(path, mode)
}

/** Opens a writable file, sets the pragmas and ensures the current schema. */
const openPrivate = (path: string, isCurrent: boolean) =>
  Effect.gen(function* () {
    const sql = yield* openReadWrite(path)
    const ensureSchema = Effect.gen(function* () {
      // A current schema stays current. Any other is read again under the lock: another daemon may have changed it.
      const contents = isCurrent ? Current() : yield* inspectSchema(sql)
      if (isUnusable(contents)) return yield* openError(path, contents)
      if (contents._tag === "Empty") yield* createTables(sql)
      if (contents._tag === "Current") yield* ensureListOrderIndex(sql)
      if (contents._tag === "Older") yield* upgrade(sql, path, contents.version)
    })
    yield* retryBusy(transaction(yield* reserveExecutor(sql), ensureSchema))
    yield* enforceForeignKeys(sql)
    yield* assertDurable(sql, path)
    return sql
  })

/** Opens the file at `path` with the current schema, and creates it if missing. A failure leaves the file unchanged. */
export const openDatabase = (path: string) =>
  Effect.gen(function* () {
    yield* assertFilePath(path)
    const found = fileIdentity(path) === undefined ? undefined : yield* inspectFile(path)
    if (found !== undefined && isUnusable(found)) return yield* openError(path, found)
    const restoreMode = yield* withFiles(path, () => {
      if (found === undefined) {
        makePrivateDir(dirname(path))
        writeFileSync(path, "", { flag: "a", mode: 0o600 })
      }
      return makePrivate(path)
    })
    return yield* Effect.tapErrorCause(openPrivate(path, found?._tag === "Current"), () =>
      // An existing empty file keeps its mode if creating the schema fails.
      found?._tag === "Empty" ? Effect.ignore(Effect.try(restoreMode)) : Effect.void
    )
  }).pipe(retryBusy, Effect.mapError(toOpenError(path)))
