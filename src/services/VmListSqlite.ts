import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { StoreUnavailable } from "../domain/Errors.js"
import { Vm, type VmCursor, type VmFilter, type VmQuery } from "../domain/Vm.js"
import { endOfTurn } from "../system/EventLoop.js"
import type { Database } from "./Database.js"
import type { VmList } from "./VmStore.js"

/** The records of one piece: a millisecond's work, for which everything else waits. */
const pieceSize = 1000

const columns = Object.entries(Vm.fields)
const required = columns.filter(([, field]) => Schema.isSchema(field))
const optional = columns.filter(([, field]) => !Schema.isSchema(field))

const jsonObject = (fields: typeof columns) =>
  `json_object(${fields.map(([name]) => `'${name}', vms.${name}`).join(", ")})`

/**
 * A row's record as JSON text: what is NULL is left out, as json_patch does with nulls (RFC 7396). Most records have
 * nothing beyond what all have; for those the quicker form.
 */
const recordJson = `CASE WHEN coalesce(${optional.map(([name]) => `vms.${name}`).join(", ")}) IS NULL
  THEN ${jsonObject(required)} ELSE json_patch('{}', ${jsonObject(columns)}) END`

const newestFirst = "created_at DESC, rowid DESC"

interface Row extends VmCursor {
  readonly json: string
}

/** How the records of one SQLite database are listed. */
export const make = (sql: SqlClient, database: Database["Type"]) => {
  const record = sql.unsafe(recordJson)
  const order = sql.unsafe(newestFirst)

  const matching = ({ cursor, role, state }: VmFilter & { readonly cursor?: VmCursor }) =>
    sql.and([
      ...(role === undefined ? [] : [sql`role = ${role}`]),
      ...(state === undefined ? [] : [sql`state = ${state}`]),
      ...(cursor === undefined ? [] : [sql`(created_at, rowid) < (${cursor.created_at}, ${cursor.sequence})`])
    ])

  /** A page by one statement, which sorts no more than keys. */
  const page = (query: VmQuery, limit: number): Effect.Effect<VmList, SqlError> =>
    sql<Row>`
      SELECT ${record} AS json, page.created_at AS created_at, page.sequence AS sequence
      FROM (SELECT rowid AS sequence, created_at FROM vms WHERE ${matching(query)} ORDER BY ${order} LIMIT ${limit + 1})
        AS page JOIN vms ON vms.rowid = page.sequence
      ORDER BY page.created_at DESC, page.sequence DESC
    `.pipe(
      Effect.map((rows) => {
        const sent = rows.slice(0, limit)
        const last = rows.length > limit ? sent.at(-1) : undefined
        return {
          json: Buffer.from(`[${sent.map(({ json }) => json).join(",")}]`),
          next: last && { created_at: last.created_at, sequence: last.sequence }
        }
      })
    )

  /** Every record, however many, as they were at the stream's start. The snapshot is kept until the stream ends. */
  const everything = (query: VmQuery): Stream.Stream<Uint8Array, StoreUnavailable> =>
    Stream.unwrapScoped(
      Effect.gen(function* () {
        const read = yield* database.snapshot
        const [found] = yield* read(
          (snapshot) => snapshot<{ keys: string }>`
          SELECT json_group_array(rowid) AS keys
          FROM (SELECT rowid FROM vms WHERE ${matching(query)} ORDER BY ${order})
        `
        )
        const keys: ReadonlyArray<number> = JSON.parse(found?.keys ?? "[]")
        const piece = (from: number) =>
          read(
            (snapshot) => snapshot<{ json: Buffer }>`
            SELECT CAST(group_concat(json, ',' ORDER BY place) AS BLOB) AS json
            FROM (
              SELECT ${record} AS json, wanted.key AS place
              FROM json_each(${JSON.stringify(keys.slice(from, from + pieceSize))}) AS wanted
                JOIN vms ON vms.rowid = wanted.value
            )
          `
          ).pipe(
            Effect.map(([row]) => Buffer.concat([Buffer.from(from === 0 ? "[" : ","), row?.json ?? Buffer.alloc(0)])),
            Effect.zipLeft(endOfTurn)
          )
        return Stream.concat(
          Stream.unfoldEffect(0, (from) =>
            from < keys.length
              ? Effect.map(piece(from), (bytes) => Option.some([bytes, from + pieceSize] as const))
              : Effect.succeedNone
          ),
          Stream.make(Buffer.from(keys.length === 0 ? "[]" : "]"))
        )
      })
    )

  const isLong = (query: VmQuery) =>
    Effect.map(sql`SELECT 1 FROM vms WHERE ${matching(query)} LIMIT 1 OFFSET ${pieceSize}`, (rows) => rows.length > 0)

  return (query: VmQuery): Effect.Effect<VmList, StoreUnavailable> =>
    database.read(
      query.limit !== undefined
        ? page(query, query.limit)
        : Effect.flatMap(isLong(query), (long) =>
            long ? Effect.succeed({ json: everything(query), next: undefined }) : page(query, pieceSize)
          )
    )
}
