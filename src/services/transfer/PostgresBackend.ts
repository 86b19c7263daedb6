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
import { type Contents, ensureSchema, inspectSchema, unusableMessage } from "../postgres/PostgresSchema.js"
import { postgresColumns, rowJson } from "../postgres/VmJsonPostgres.js"
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
  type TransferTarget
} from "./TransferBackend.js"

/** A standby has its primary's system identifier. */
const identity = `SELECT concat_ws(' ', system_identifier, current_database(), current_schema()) AS identity
  FROM pg_control_system()`
const settings = `SELECT json_build_object(${settingsColumns.map((name) => `'${name}', ${name}`).join(", ")})::text AS json
  FROM settings WHERE ${isCopied} ORDER BY key`
// The subquery sorts rows, which is faster than sorting their JSON; OFFSET 0 keeps the planner from merging it.
const records = (columns: ReadonlyArray<string>) => `DECLARE records NO SCROLL CURSOR FOR
  SELECT ${rowJson(columns.map((name) => `vms.${name}`))} AS json FROM (SELECT * FROM vms ORDER BY inserted OFFSET 0) AS vms`

const insertInto = (table: TableName, columns: ReadonlyArray<string>) => `
  INSERT INTO ${table} (${columns.join(", ")})
    SELECT ${columns.join(", ")} FROM (
      SELECT filled.*, position
      FROM json_array_elements($1::json) WITH ORDINALITY AS given (row, position),
        json_populate_record(NULL::${table}, given.row) AS filled
    ) AS rows ORDER BY position
`
const inserts = { settings: insertInto("settings", settingsColumns), vms: insertInto("vms", postgresColumns) }

/** An escaped NUL in JSON, which PostgreSQL's text can't hold. */
const nul = /(?<!\\)(?:\\\\)*\\u0000/

/** A database on a server, over one transaction. */
const makeTarget = (
  redactedUrl: string,
  run: Run,
  identity: string,
  columns: ReadonlyArray<string>
): TransferTarget => {
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
        execute({ text: records(columns) }),
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

/** Opens a transaction on a database that `schema` finds to be one. Its records have those of `columns` that it has. */
const open = (
  target: PostgresTarget,
  begin: string,
  schema: (sql: Parameters<typeof inspectSchema>[0]) => Effect.Effect<Contents, SqlError>,
  option: "--from" | "--to",
  columns: ReadonlyArray<string>
) =>
  Effect.gen(function* () {
    const { withFailover, sql, transaction } = yield* openConnections(target, transferTimeouts)
    const contents = yield* withFailover(schema(sql))
    const problem =
      contents._tag === "Empty"
        ? `holds no Nexus database: give another with ${option}`
        : unusableMessage(contents, option)
    if (problem !== undefined) return yield* new DatabaseOpenError({ message: `${target.redactedUrl} ${problem}` })
    const hasHost = contents._tag === "Current" && contents.hasHost
    const run = yield* transaction(begin)
    const [row] = yield* run<{ identity: string }>({ text: identity })
    const database = makeTarget(
      target.redactedUrl,
      run,
      row?.identity ?? target.redactedUrl,
      columns.filter((name) => postgresColumns.includes(name) && (hasHost || name !== "host"))
    )
    return { run, database }
  })

/** A PostgreSQL database as the source or target of a transfer. */
export const make = (target: PostgresTarget): TransferBackend => ({
  columns: postgresColumns,
  source: (columns) =>
    open(target, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", inspectSchema, "--from", columns).pipe(
      Effect.map(({ database }) => database),
      Effect.mapError(toOpenError(target.redactedUrl))
    ),
  fill: (from, use) =>
    Effect.gen(function* () {
      const { database, run } = yield* open(target, "BEGIN", ensureSchema, "--to", postgresColumns)
      if (database.identity === from.identity) return yield* sameDatabaseError(target.redactedUrl)
      // Daemons can still read. Their writes wait for the end of this transaction.
      yield* run({ text: "LOCK TABLE vms, settings IN EXCLUSIVE MODE" })
      yield* run({ text: deleteId })
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
