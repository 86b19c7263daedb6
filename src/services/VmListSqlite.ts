import type { SqlClient } from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { StoreUnavailable } from "../domain/Errors.js"
import type { VmCursor, VmFilter, VmQuery } from "../domain/Vm.js"
import { endOfTurn } from "../system/EventLoop.js"
import type { Database } from "./Database.js"
import { recordJson } from "./VmJsonSqlite.js"
import type { VmList } from "./VmStore.js"

/** The records of one piece: a millisecond's work, for which everything else waits. */
const pieceSize = 1000

/** The keys that are read at once: some 5 ms. */
const keysAtOnce = 20_000

/**
 * The records that have these keys, after what opens the array or parts them from those before. They come in the keys' order since a CROSS JOIN walks through its
 * left side first (https://sqlite.org/optoverview.html, 8.2) and json_each through its array; to sort them once more would
 * take half as long again.
 */
const pieceText = `SELECT CAST(? || group_concat(${recordJson}, ',') AS BLOB) AS json
  FROM json_each(?) AS wanted CROSS JOIN vms ON vms.rowid = wanted.value`

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
  const page = (query: VmQuery, limit: number): Effect.Effect<VmList, StoreUnavailable> =>
    Effect.map(
      database.read<Row>(
        sql`
          SELECT ${record} AS json, page.created_at AS created_at, page.sequence AS sequence
          FROM (SELECT rowid AS sequence, created_at FROM vms WHERE ${matching(query)} ORDER BY ${order} LIMIT ${limit + 1})
            AS page JOIN vms ON vms.rowid = page.sequence
          ORDER BY page.created_at DESC, page.sequence DESC
        `.compile()
      ),
      (rows) => {
        const sent = rows.slice(0, limit)
        const last = rows.length > limit ? sent.at(-1) : undefined
        return {
          json: Buffer.from(`[${sent.map(({ json }) => json).join(",")}]`),
          next: last && { created_at: last.created_at, sequence: last.sequence }
        }
      }
    )

  /** The keys of every record that matches, in the list's order. No index has it, but that of inserts comes close. */
  const keysOf = (read: Database["Type"]["read"], query: VmQuery) =>
    Effect.gen(function* () {
      const times: Array<number> = []
      const keys: Array<number> = []
      for (let from = Number.MAX_SAFE_INTEGER, length = keysAtOnce; length === keysAtOnce; ) {
        const [row] = yield* read<{ times: string; keys: string }>(
          sql`
            SELECT json_group_array(created_at) AS times, json_group_array(key) AS keys
            FROM (
              SELECT created_at, rowid AS key FROM vms WHERE ${matching(query)} AND rowid < ${from}
              ORDER BY rowid DESC LIMIT ${keysAtOnce}
            )
          `.compile()
        )
        const found: ReadonlyArray<number> = JSON.parse(row?.keys ?? "[]")
        keys.push(...found)
        times.push(...JSON.parse(row?.times ?? "[]"))
        length = found.length
        from = found.at(-1) ?? from
        yield* endOfTurn
      }
      // In order already, unless the clock was set back; then it is sorted once more, stable as sorting is.
      const timeAt = (index: number) => times[index] ?? 0
      const order = Array.from(keys.keys()).sort((a, b) => timeAt(b) - timeAt(a))
      return order.map((index) => keys[index])
    })

  /** Every record, however many, as they were at the stream's start. The snapshot is kept until the stream ends. */
  const everything = (query: VmQuery): Stream.Stream<Uint8Array, StoreUnavailable> =>
    Stream.unwrapScoped(
      Effect.gen(function* () {
        const read = yield* database.snapshot
        const keys = yield* keysOf(read, query)
        const piece = (from: number) =>
          read<{ json: Buffer }>([
            pieceText,
            [from === 0 ? "[" : ",", JSON.stringify(keys.slice(from, from + pieceSize))]
          ]).pipe(
            Effect.map(([row]) => row?.json ?? Buffer.alloc(0)),
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
    Effect.map(
      database.read(sql`SELECT 1 FROM vms WHERE ${matching(query)} LIMIT 1 OFFSET ${pieceSize}`.compile()),
      (rows) => rows.length > 0
    )

  return (query: VmQuery): Effect.Effect<VmList, StoreUnavailable> =>
    query.limit !== undefined
      ? page(query, query.limit)
      : Effect.flatMap(isLong(query), (long) =>
          long ? Effect.succeed({ json: everything(query), next: undefined }) : page(query, pieceSize)
        )
}
