import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { QueryResultRow } from "pg"
import { DatabaseOpenError } from "../DatabaseOpenError.js"
import type { PostgresTarget } from "../PostgresUrl.js"
import { openConnections, type Run, type Statement } from "../postgres/PostgresConnection.js"
import { toOpenError } from "../postgres/PostgresErrors.js"
import { transferTimeouts } from "../postgres/PostgresPool.js"
import { ensureSchema, inspectSchema, unusableMessage } from "../postgres/PostgresSchema.js"
import { rowJson } from "../postgres/VmJsonPostgres.js"
import {
  assertEmpty,
  batchSize,
  sameDatabaseError,
  type TransferBackend,
  type TransferTarget,
  tables
} from "./TransferBackend.js"

/** A standby has its primary's system identifier. */
const identity = `SELECT concat_ws(' ', system_identifier, current_database(), current_schema()) AS identity
  FROM pg_control_system()`
const count = "SELECT (SELECT count(*) FROM vms) AS vms, (SELECT count(*) FROM settings) AS settings"
const settings = `SELECT json_build_object(${tables.settings.map((name) => `'${name}', ${name}`).join(", ")})::text AS json
  FROM settings ORDER BY key`
// The subquery sorts rows, which is faster than sorting their JSON; OFFSET 0 keeps the planner from merging it.
const records = `DECLARE records NO SCROLL CURSOR FOR
  SELECT ${rowJson(tables.vms.map((name) => `vms.${name}`))} AS json FROM (SELECT * FROM vms ORDER BY inserted OFFSET 0) AS vms`

const insertInto = (table: keyof typeof tables) => {
  const columns = tables[table].join(", ")
  return `INSERT INTO ${table} (${columns})
    SELECT ${columns} FROM (
      SELECT filled.*, position
      FROM json_array_elements($1::json) WITH ORDINALITY AS given (row, position),
        json_populate_record(NULL::${table}, given.row) AS filled
    ) AS rows ORDER BY position`
}
const inserts = { settings: insertInto("settings"), vms: insertInto("vms") }

/** An escaped NUL in JSON, which PostgreSQL's text can't hold. */
const nul = /(?<!\\)(?:\\\\)*\\u0000/

/** A database on a server, over one transaction. */
const makeTarget = (redactedUrl: string, run: Run, identity: string): TransferTarget => {
  const execute = <Row extends QueryResultRow>(statement: Statement) =>
    Effect.mapError(run<Row>(statement), toOpenError(redactedUrl))
  const textsOf = (rows: ReadonlyArray<{ readonly json: string }>) => rows.map(({ json }) => json)
  const fetchBatch = Effect.map(execute<{ json: string }>({ text: `FETCH ${batchSize} FROM records` }), (rows) =>
    rows.length === 0 ? Option.none() : Option.some([textsOf(rows), undefined] as const)
  )
  return {
    identity,
    counts: Effect.map(
      execute<{ vms: number; settings: number }>({ text: count }),
      ([row]) => row ?? { vms: 0, settings: 0 }
    ),
    settings: Effect.map(execute<{ json: string }>({ text: settings }), textsOf),
    records: Stream.unwrap(
      Effect.as(
        execute({ text: records }),
        Stream.unfoldEffect(undefined, () => fetchBatch)
      )
    ),
    insert: (table, rows) =>
      Effect.gen(function* () {
        const unstorable = rows.find((row) => nul.test(row))
        if (unstorable !== undefined) {
          return yield* new DatabaseOpenError({
            message: `${redactedUrl} can't hold a NUL character, which is in ${unstorable.slice(0, 200)}`
          })
        }
        yield* execute({ name: `copy ${table}`, text: inserts[table], values: [`[${rows.join(",")}]`] })
      })
  }
}

/** Opens a transaction. `checkSchema` runs before it, and returns why the database can't be used. */
const open = (
  target: PostgresTarget,
  begin: string,
  checkSchema: (sql: Parameters<typeof inspectSchema>[0]) => Effect.Effect<string | undefined, SqlError>
) =>
  Effect.gen(function* () {
    const { withFailover, sql, transaction } = yield* openConnections(target, transferTimeouts)
    const problem = yield* withFailover(checkSchema(sql))
    if (problem !== undefined) return yield* new DatabaseOpenError({ message: `${target.redactedUrl} ${problem}` })
    const run = yield* transaction(begin)
    const [row] = yield* run<{ identity: string }>({ text: identity })
    return { run, database: makeTarget(target.redactedUrl, run, row?.identity ?? target.redactedUrl) }
  })

/** A PostgreSQL database as the source or target of a transfer. */
export const make = (target: PostgresTarget): TransferBackend => ({
  source: open(target, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", (sql) =>
    Effect.map(inspectSchema(sql), (contents) =>
      contents._tag === "Empty"
        ? "holds no Nexus database: give another with --from"
        : unusableMessage(contents, "--from")
    )
  ).pipe(
    Effect.map(({ database }) => database),
    Effect.mapError(toOpenError(target.redactedUrl))
  ),
  fill: (from, use) =>
    Effect.gen(function* () {
      const { database, run } = yield* open(target, "BEGIN", (sql) =>
        Effect.map(ensureSchema(sql), (contents) => unusableMessage(contents, "--to"))
      )
      if (database.identity === from.identity) return yield* sameDatabaseError(target.redactedUrl)
      // Daemons can still read. Their writes wait for the end of this transaction.
      yield* run({ text: "LOCK TABLE vms, settings IN EXCLUSIVE MODE" })
      yield* assertEmpty(target.redactedUrl, database)
      const result = yield* use(database)
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
