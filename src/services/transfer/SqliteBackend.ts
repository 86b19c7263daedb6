import { existsSync } from "node:fs"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { DatabaseOpenError } from "../DatabaseOpenError.js"
import { schemaVersion } from "../SchemaVersion.js"
import { check, fileIdentity, inspectFile, openForReading } from "../sqlite/DatabaseFiles.js"
import { isUnusable } from "../sqlite/DatabaseSchema.js"
import { retryBusy } from "../sqlite/LockRetry.js"
import { openDatabase } from "../sqlite/OpenDatabase.js"
import { openError, toOpenError } from "../sqlite/OpenErrors.js"
import { type Run, reserveExecutor, transaction } from "../sqlite/SqliteConnection.js"
import { columnsJson } from "../sqlite/VmJsonSqlite.js"
import { columns } from "../VmRow.js"
import {
  assertEmpty,
  batchSize,
  count,
  deleteId,
  isCopied,
  sameDatabaseError,
  settingsColumns,
  type TableName,
  type TransferBackend,
  type TransferSource,
  type TransferTarget
} from "./TransferBackend.js"

const settings = `SELECT json_object(${settingsColumns.map((name) => `'${name}', ${name}`).join(", ")}) AS json
  FROM settings WHERE ${isCopied} ORDER BY key`
const records = `SELECT rowid AS sequence, ${columnsJson} AS json FROM vms WHERE rowid > ? ORDER BY rowid LIMIT ${batchSize}`

const insertInto = (table: TableName, columns: ReadonlyArray<string>) =>
  `INSERT INTO ${table} (${columns.join(", ")})
  SELECT ${columns.map((name) => `value ->> '$.${name}'`).join(", ")} FROM json_each(?) ORDER BY key`
const inserts = { settings: insertInto("settings", settingsColumns), vms: insertInto("vms", columns) }

/** A database file, over one connection. */
const makeTarget = (path: string, run: Run): TransferTarget => {
  const execute = <A>(text: string, parameters: ReadonlyArray<unknown> = []) =>
    Effect.mapError(run<A>([text, parameters]), toOpenError(path))
  const textsOf = (rows: ReadonlyArray<{ readonly json: string }>) => rows.map(({ json }) => json)
  return {
    identity: fileIdentity(path) ?? path,
    counts: Effect.map(execute<{ vms: number; settings: number }>(count), ([row]) => row ?? { vms: 0, settings: 0 }),
    settings: Effect.map(execute<{ json: string }>(settings), textsOf),
    records: Stream.unfoldEffect(Number.MIN_SAFE_INTEGER, (after) =>
      Effect.map(execute<{ sequence: number; json: string }>(records, [after]), (rows) =>
        Option.map(Option.fromNullable(rows.at(-1)), ({ sequence }) => [textsOf(rows), sequence] as const)
      )
    ),
    insert: (table, rows) => Effect.asVoid(execute(inserts[table], [`[${rows.join(",")}]`]))
  }
}

const source = (path: string) =>
  Effect.gen(function* () {
    yield* check(path, "--from")
    const run = yield* reserveExecutor(yield* openForReading(path))
    yield* run(["BEGIN", []])
    return makeTarget(path, run)
  }).pipe(Effect.mapError(toOpenError(path)))

/** Fails if a file is the source, is no Nexus database or has an older schema. Changes nothing. */
const assertFillable = (path: string, { identity }: TransferSource) =>
  Effect.gen(function* () {
    if (!existsSync(path)) return
    if (fileIdentity(path) === identity) return yield* sameDatabaseError(path)
    const found = yield* inspectFile(path)
    if (isUnusable(found)) return yield* openError(path, found, "--to")
    if (found._tag === "Older") {
      return yield* new DatabaseOpenError({
        message: `${path} has schema version ${found.version}, not ${schemaVersion}: give a file that is empty or new with --to`
      })
    }
  })

/** A SQLite file as the source or target of a transfer. */
export const make = (path: string): TransferBackend => ({
  columns,
  source: () => source(path),
  fill: (from, use) =>
    Effect.gen(function* () {
      yield* assertFillable(path, from)
      const run = yield* reserveExecutor(yield* openDatabase(path))
      const target = makeTarget(path, run)
      return yield* retryBusy(
        transaction(
          run,
          run([deleteId, []]).pipe(Effect.zipRight(assertEmpty(path, target)), Effect.zipRight(use(target)))
        )
      )
    }).pipe(Effect.scoped, Effect.mapError(toOpenError(path)))
})
