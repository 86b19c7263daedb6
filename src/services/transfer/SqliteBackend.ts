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
import { recordJson } from "../sqlite/VmJsonSqlite.js"
import {
  assertEmpty,
  batchSize,
  sameDatabaseError,
  type TransferBackend,
  type TransferSource,
  type TransferTarget,
  tables
} from "./TransferBackend.js"

const count = "SELECT (SELECT count(*) FROM vms) AS vms, (SELECT count(*) FROM settings) AS settings"
const settings = `SELECT json_object(${tables.settings.map((name) => `'${name}', ${name}`).join(", ")}) AS json
  FROM settings ORDER BY key`
const records = `SELECT rowid AS place, ${recordJson} AS json FROM vms WHERE rowid > ? ORDER BY rowid LIMIT ${batchSize}`

const insertInto = (table: keyof typeof tables) =>
  `INSERT INTO ${table} (${tables[table].join(", ")})
  SELECT ${tables[table].map((name) => `value ->> '$.${name}'`).join(", ")} FROM json_each(?) ORDER BY key`
const inserts = { settings: insertInto("settings"), vms: insertInto("vms") }

/** A database file, read and filled over one connection. */
const over = (path: string, run: Run): TransferTarget => {
  const ask = <A>(text: string, parameters: ReadonlyArray<unknown> = []) =>
    Effect.mapError(run<A>([text, parameters]), toOpenError(path))
  const textsOf = (rows: ReadonlyArray<{ readonly json: string }>) => rows.map(({ json }) => json)
  return {
    identity: fileIdentity(path) ?? path,
    counts: Effect.map(ask<{ vms: number; settings: number }>(count), ([row]) => row ?? { vms: 0, settings: 0 }),
    settings: Effect.map(ask<{ json: string }>(settings), textsOf),
    records: Stream.unfoldEffect(Number.MIN_SAFE_INTEGER, (after) =>
      Effect.map(ask<{ place: number; json: string }>(records, [after]), (rows) =>
        Option.map(Option.fromNullable(rows.at(-1)), ({ place }) => [textsOf(rows), place] as const)
      )
    ),
    insert: (table, rows) => Effect.asVoid(ask(inserts[table], [`[${rows.join(",")}]`]))
  }
}

const source = (path: string) =>
  Effect.gen(function* () {
    yield* check(path, "--from")
    const run = yield* reserveExecutor(yield* openForReading(path))
    yield* run(["BEGIN", []])
    return over(path, run)
  }).pipe(Effect.mapError(toOpenError(path)))

/** Refuses a file that is not to be filled, before anything is done to it. */
const checkTarget = (path: string, { identity }: TransferSource) =>
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

/** A SQLite file as an end of a migration. */
export const end = (path: string): TransferBackend => ({
  source: source(path),
  fill: (from, use) =>
    Effect.gen(function* () {
      yield* checkTarget(path, from)
      const run = yield* reserveExecutor(yield* openDatabase(path))
      const target = over(path, run)
      return yield* retryBusy(transaction(run, Effect.zipRight(assertEmpty(path, target), use(target))))
    }).pipe(Effect.scoped, Effect.mapError(toOpenError(path)))
})
