import type { SqlClient } from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { StoreUnavailable } from "../../domain/Errors.js"
import { Vm, type VmCursor, type VmQuery } from "../../domain/Vm.js"
import type { VmList } from "../VmStore.js"
import type { PostgresDatabase } from "./PostgresDatabase.js"

/** The records of one piece. */
const pieceSize = 1000

/** A row's record as JSON text, in the order of the record's fields; what is NULL is left out. */
const json = `json_strip_nulls(row_to_json((
  SELECT record FROM (SELECT ${Object.keys(Vm.fields)
    .map((name) => `vms.${name}`)
    .join(", ")}) AS record
)))::text AS json`

const newestFirst = "created_at DESC, inserted DESC"

interface Row extends VmCursor {
  readonly json: string
}

const textOf = (rows: ReadonlyArray<object>): string =>
  rows.map((row) => ("json" in row ? String(row.json) : "")).join(",")

/** How the records of one PostgreSQL database are listed. */
export const make = (sql: SqlClient, { ask, snapshot }: PostgresDatabase["Type"]) => {
  const matching = ({ cursor, role, state }: VmQuery) =>
    sql.and([
      ...(role === undefined ? [] : [sql`role = ${role}`]),
      ...(state === undefined ? [] : [sql`state = ${state}`]),
      ...(cursor === undefined
        ? []
        : [sql`(created_at, inserted) < (${cursor.created_at}::bigint, ${cursor.sequence}::bigint)`])
    ])
  const columns = sql.unsafe(`${json}, created_at, inserted AS sequence`)
  const order = sql.unsafe(newestFirst)

  /** Every record, however many, as they were at the stream's start: the server keeps its place in them. */
  const everything = (query: VmQuery): Stream.Stream<Uint8Array, StoreUnavailable> =>
    Stream.unwrapScoped(
      Effect.gen(function* () {
        const read = yield* snapshot
        const [text, values] = sql`
          DECLARE records NO SCROLL CURSOR FOR
          SELECT ${sql.unsafe(json)} FROM vms WHERE ${matching(query)} ORDER BY ${order}
        `.compile()
        yield* read(text, values)
        const piece = Effect.map(read(`FETCH ${pieceSize} FROM records`), textOf)
        return Stream.concat(
          Stream.unfoldEffect("[", (before) =>
            Effect.map(piece, (records) =>
              records === "" ? Option.none() : Option.some([Buffer.from(before + records), ","] as const)
            )
          ),
          Stream.make(Buffer.from("]"))
        )
      })
    )

  return (query: VmQuery): Effect.Effect<VmList, StoreUnavailable> => {
    const limit = query.limit ?? pieceSize
    return sql<Row>`
      SELECT ${columns} FROM vms WHERE ${matching(query)} ORDER BY ${order} LIMIT ${limit + 1}
    `.pipe(
      ask,
      Effect.map((rows) => {
        if (query.limit === undefined && rows.length > limit) return { json: everything(query), next: undefined }
        const sent = rows.slice(0, limit)
        const last = rows.length > limit ? sent.at(-1) : undefined
        return {
          json: Buffer.from(`[${textOf(sent)}]`),
          next: last && { created_at: last.created_at, sequence: last.sequence }
        }
      })
    )
  }
}
