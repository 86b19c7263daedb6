import { accessSync, chmodSync, constants, statSync, writeFileSync } from "node:fs"
import { dirname } from "node:path"
import type * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import { makePrivateDir } from "../../runtime/XdgDirs.js"
import { DatabaseOpenError } from "../DatabaseOpenError.js"
import { copyOnce } from "./DatabaseCopy.js"
import { assertFilePath, fileIdentity, inspectFile } from "./DatabaseFiles.js"
import { Current, complete, create, drop, inspectSchema, isUnusable } from "./DatabaseSchema.js"
import { retryBusy } from "./LockRetry.js"
import { openError, toOpenError, withFiles } from "./OpenErrors.js"
import { enforceForeignKeys, openReadWrite, reserveExecutor, transaction } from "./SqliteConnection.js"

/** Keeps a copy of an older database beside it, then makes the current schema in its place, all under one write lock. */
const upgrade = (sql: SqlClient.SqlClient, path: string, from: number) =>
  Effect.gen(function* () {
    // Copied over a connection of its own, which reads what the lock holds still.
    const kept = yield* copyOnce(path, `${path}.v${from}-`)
    yield* drop(sql)
    yield* create(sql)
    yield* Effect.logWarning(
      `${path} had schema version ${from}; it is kept as ${kept}, and a fresh database takes its place`
    )
  })

/** Reads back what durability depends on: some file systems can't do WAL, and SQLite then silently does without. */
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
 * Makes a file its owner's alone before SQLite opens it, since the log gets the same mode. Returns what restores the mode it
 * had. Fails where the file can't be written: SQLite would open it for reading then, and say so at the first change only.
 */
const makePrivate = (path: string): (() => void) => {
  accessSync(path, constants.W_OK)
  accessSync(dirname(path), constants.W_OK)
  const mode = statSync(path).mode & 0o777
  if (mode === 0o600) return () => {}
  chmodSync(path, 0o600)
  return () => chmodSync(path, mode)
}

/** Opens a file that can be written, with the pragmas and the current schema. */
const openPrivate = (path: string, isCurrent: boolean) =>
  Effect.gen(function* () {
    const sql = yield* openReadWrite(path)
    const ensureSchema = Effect.gen(function* () {
      // No daemon takes a current schema back. Any other is read again under the lock: another daemon may have made it.
      const contents = isCurrent ? Current() : yield* inspectSchema(sql)
      if (isUnusable(contents)) return yield* openError(path, contents)
      if (contents._tag === "Empty") yield* create(sql)
      if (contents._tag === "Current") yield* complete(sql)
      if (contents._tag === "Older") yield* upgrade(sql, path, contents.version)
    })
    yield* retryBusy(transaction(yield* reserveExecutor(sql), ensureSchema))
    yield* enforceForeignKeys(sql)
    yield* assertDurable(sql, path)
    return sql
  })

/** Opens the file at `path`, made if there is none, and leaves it with the current schema or untouched. */
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
      // An empty file that was there becomes ours only with its schema.
      found?._tag === "Empty" ? Effect.ignore(Effect.try(restoreMode)) : Effect.void
    )
  }).pipe(retryBusy, Effect.mapError(toOpenError(path)))
