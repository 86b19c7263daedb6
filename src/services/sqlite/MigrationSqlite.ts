import { existsSync } from "node:fs"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { DatabaseRefused } from "../DatabaseRefused.js"
import {
  checkEmpty,
  copied,
  type MigrationEnd,
  type MigrationSource,
  type MigrationTarget,
  pieceSize,
  refuseSource
} from "../MigrationEnd.js"
import { schemaVersion } from "../SchemaVersion.js"
import { check, fileAt, look, openForReading } from "./DatabaseFiles.js"
import { isUnusable } from "./DatabaseSchema.js"
import { retryBusy } from "./LockRetry.js"
import { openDatabase } from "./OpenDatabase.js"
import { cannotUse, refuse } from "./Refusal.js"
import { directly, type Run, transaction } from "./SqliteConnection.js"
import { recordJson } from "./VmJsonSqlite.js"

const count = "SELECT (SELECT count(*) FROM vms) AS vms, (SELECT count(*) FROM settings) AS settings"
const settings = `SELECT json_object(${copied.settings.map((name) => `'${name}', ${name}`).join(", ")}) AS json
  FROM settings ORDER BY key`
const records = `SELECT rowid AS place, ${recordJson} AS json FROM vms WHERE rowid > ? ORDER BY rowid LIMIT ${pieceSize}`

const insertInto = (table: keyof typeof copied) =>
  `INSERT INTO ${table} (${copied[table].join(", ")})
  SELECT ${copied[table].map((name) => `value ->> '$.${name}'`).join(", ")} FROM json_each(?) ORDER BY key`
const inserts = { settings: insertInto("settings"), vms: insertInto("vms") }

/** A database file, read and filled over one connection. */
const over = (path: string, run: Run): MigrationTarget => {
  const ask = <A>(text: string, parameters: ReadonlyArray<unknown> = []) =>
    Effect.mapError(run<A>([text, parameters]), cannotUse(path))
  const textsOf = (rows: ReadonlyArray<{ readonly json: string }>) => rows.map(({ json }) => json)
  return {
    identity: fileAt(path) ?? path,
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
    const run = yield* directly(yield* openForReading(path))
    yield* run(["BEGIN", []])
    return over(path, run)
  }).pipe(Effect.mapError(cannotUse(path)))

/** Refuses a file that is not to be filled, before anything is done to it. */
const checkTarget = (path: string, { identity }: MigrationSource) =>
  Effect.gen(function* () {
    if (!existsSync(path)) return
    if (fileAt(path) === identity) return yield* refuseSource(path)
    const found = yield* look(path)
    if (isUnusable(found)) return yield* refuse(path, found, "--to")
    if (found._tag === "Older") {
      return yield* new DatabaseRefused({
        message: `${path} has schema version ${found.version}, not ${schemaVersion}: give a file that is empty or new with --to`
      })
    }
  })

/** A SQLite file as an end of a migration. */
export const end = (path: string): MigrationEnd => ({
  source: source(path),
  fill: (from, use) =>
    Effect.gen(function* () {
      yield* checkTarget(path, from)
      const run = yield* directly(yield* openDatabase(path))
      const target = over(path, run)
      return yield* retryBusy(transaction(run, Effect.zipRight(checkEmpty(path, target), use(target))))
    }).pipe(Effect.scoped, Effect.mapError(cannotUse(path)))
})
