import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { QueryResultRow } from "pg"
import { DatabaseOpenError } from "../DatabaseOpenError.js"
import { connections, type Run, type Statement } from "../postgres/PostgresConnection.js"
import { toOpenError } from "../postgres/PostgresErrors.js"
import { copying } from "../postgres/PostgresPool.js"
import { ensureSchema, inspectSchema, objection } from "../postgres/PostgresSchema.js"
import type { PostgresTarget } from "../postgres/PostgresUrl.js"
import { recordJson } from "../postgres/VmJsonPostgres.js"
import {
  assertEmpty,
  batchSize,
  sameDatabaseError,
  type TransferBackend,
  type TransferTarget,
  tables
} from "./TransferBackend.js"

/** A standby is its primary's database too. */
const identity = `SELECT concat_ws(' ', system_identifier, current_database(), current_schema()) AS identity
  FROM pg_control_system()`
const count = "SELECT (SELECT count(*) FROM vms) AS vms, (SELECT count(*) FROM settings) AS settings"
const settings = `SELECT json_build_object(${tables.settings.map((name) => `'${name}', ${name}`).join(", ")})::text AS json
  FROM settings ORDER BY key`
// No index has this order, and rows are sorted faster than their JSON.
const records = `DECLARE records NO SCROLL CURSOR FOR
  SELECT ${recordJson} AS json FROM (SELECT * FROM vms ORDER BY inserted OFFSET 0) AS vms`

const insertInto = (table: keyof typeof tables) => {
  const columns = tables[table].join(", ")
  return `INSERT INTO ${table} (${columns})
    SELECT ${columns} FROM (
      SELECT filled.*, place
      FROM json_array_elements($1::json) WITH ORDINALITY AS given (row, place),
        json_populate_record(NULL::${table}, given.row) AS filled
    ) AS rows ORDER BY place`
}
const inserts = { settings: insertInto("settings"), vms: insertInto("vms") }

/** The one character that PostgreSQL's text can't hold. */
const nul = /(?<!\\)(?:\\\\)*\\u0000/

/** A database on a server, read and filled over one connection. */
const over = (shown: string, run: Run, identity: string): TransferTarget => {
  const ask = <Row extends QueryResultRow>(statement: Statement) =>
    Effect.mapError(run<Row>(statement), toOpenError(shown))
  const textsOf = (rows: ReadonlyArray<{ readonly json: string }>) => rows.map(({ json }) => json)
  const piece = Effect.map(ask<{ json: string }>({ text: `FETCH ${batchSize} FROM records` }), (rows) =>
    rows.length === 0 ? Option.none() : Option.some([textsOf(rows), undefined] as const)
  )
  return {
    identity,
    counts: Effect.map(
      ask<{ vms: number; settings: number }>({ text: count }),
      ([row]) => row ?? { vms: 0, settings: 0 }
    ),
    settings: Effect.map(ask<{ json: string }>({ text: settings }), textsOf),
    records: Stream.unwrap(
      Effect.as(
        ask({ text: records }),
        Stream.unfoldEffect(undefined, () => piece)
      )
    ),
    insert: (table, rows) =>
      Effect.gen(function* () {
        const unfit = rows.find((row) => nul.test(row))
        if (unfit !== undefined) {
          return yield* new DatabaseOpenError({
            message: `${shown} can't hold a NUL character, which is in ${unfit.slice(0, 200)}`
          })
        }
        yield* ask({ name: `copy ${table}`, text: inserts[table], values: [`[${rows.join(",")}]`] })
      })
  }
}

/** Opens a transaction in a database, once `prepare` has found no fault with its tables. */
const open = (
  target: PostgresTarget,
  begin: string,
  prepare: (sql: Parameters<typeof inspectSchema>[0]) => Effect.Effect<string | undefined, SqlError>
) =>
  Effect.gen(function* () {
    const { everyWay, sql, transaction } = yield* connections(target, copying)
    const problem = yield* everyWay(prepare(sql))
    if (problem !== undefined) return yield* new DatabaseOpenError({ message: `${target.redactedUrl} ${problem}` })
    const run = yield* transaction(begin)
    const [row] = yield* run<{ identity: string }>({ text: identity })
    return { run, end: over(target.redactedUrl, run, row?.identity ?? target.redactedUrl) }
  })

/** A PostgreSQL database as an end of a migration. */
export const end = (target: PostgresTarget): TransferBackend => ({
  source: open(target, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", (sql) =>
    Effect.map(inspectSchema(sql), (contents) =>
      contents._tag === "Empty" ? "holds no Nexus database: give another with --from" : objection(contents, "--from")
    )
  ).pipe(
    Effect.map(({ end }) => end),
    Effect.mapError(toOpenError(target.redactedUrl))
  ),
  fill: (from, use) =>
    Effect.gen(function* () {
      const { end, run } = yield* open(target, "BEGIN", (sql) =>
        Effect.map(ensureSchema(sql), (contents) => objection(contents, "--to"))
      )
      if (end.identity === from.identity) return yield* sameDatabaseError(target.redactedUrl)
      // Daemons go on reading; what they would write waits until this is over.
      yield* run({ text: "LOCK TABLE vms, settings IN EXCLUSIVE MODE" })
      yield* assertEmpty(target.redactedUrl, end)
      const result = yield* use(end)
      yield* Effect.mapError(
        run({ text: "COMMIT" }),
        (error) =>
          new DatabaseOpenError({
            message: `${toOpenError(target.redactedUrl)(error).message}; this was at the commit, so look whether the VMs are there`
          })
      )
      return result
    }).pipe(Effect.scoped, Effect.mapError(toOpenError(target.redactedUrl)))
})
