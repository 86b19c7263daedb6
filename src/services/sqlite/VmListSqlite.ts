import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { StoreUnavailable } from "../../domain/Errors.js"
import { prefixRange, type VmCursor, type VmPageQuery, type VmSelection } from "../../domain/VmQuery.js"
import { yieldToEventLoop } from "../../runtime/EventLoop.js"
import { columns, toPage, type VmPageRow } from "../VmRow.js"
import type { VmListJson, VmStore } from "../VmStore.js"
import type { Database } from "./Database.js"
import type { Query } from "./SqliteConnection.js"
import { recordJson, vmm } from "./VmJsonSqlite.js"

/** Records per chunk. Reading one takes about a millisecond and blocks the event loop. */
const chunkSize = 1000

/**
 * How SQLite finds the records of a filter. `filterIndex` reads the filter's index and sorts all matches. `listOrder` reads
 * the index of the list's order and skips what does not match; a unary `+` keeps SQLite from using a column's index
 * (https://sqlite.org/optoverview.html §5).
 */
type Plan = "filterIndex" | "listOrder"

const nameConditions = (name: string, prefix: string) => {
  const { end, start } = prefixRange(prefix)
  const from = [`${name} >= ?`, [start]] as const
  return end === undefined ? [from] : [from, [`${name} < ?`, [end]] as const]
}

const where = ({ cursor, name_prefix, role, state }: VmSelection, plan: Plan): Query => {
  const plus = plan === "listOrder" ? "+" : ""
  const conditions: ReadonlyArray<readonly [text: string, values: ReadonlyArray<unknown>]> = [
    ...(role === undefined ? [] : [[`${plus}role = ?`, [role]] as const]),
    ...(state === undefined ? [] : [[`${plus}state = ?`, [state]] as const]),
    ...(name_prefix === undefined ? [] : nameConditions(`${plus}name`, name_prefix)),
    ...(cursor === undefined ? [] : [["(created_at, rowid) < (?, ?)", [cursor.created_at, cursor.sequence]] as const])
  ]
  return [
    conditions.length === 0 ? "" : `WHERE ${conditions.map(([text]) => text).join(" AND ")}`,
    conditions.flatMap(([, values]) => values)
  ]
}

/**
 * Rows in the order of lists, which is that of `idx_vms_created_at`. `LIMIT ?` alone would be recompiled at every run: the
 * planner uses its value (https://sqlite.org/c3ref/prepare.html). An expression hides it.
 */
const newestFirst = (selected: string, selection: VmSelection, plan: Plan, limit: number, offset = 0): Query => {
  const [condition, values] = where(selection, plan)
  const text = `SELECT ${selected} FROM vms ${condition} ORDER BY created_at DESC, rowid DESC LIMIT (? + 0) OFFSET ?`
  return [text, [...values, limit, offset]]
}

/** Whether more records match than one chunk holds. */
const hasMore = (selection: VmSelection): Query => {
  const [condition, values] = where(selection, "filterIndex")
  return [`SELECT 1 FROM vms ${condition} LIMIT 1 OFFSET ?`, [...values, chunkSize]]
}

const pageColumns = [...columns, `${vmm} AS vmm`, "rowid AS sequence"].join(", ")

/** Records as JSON text between `open` and `close`, preceded by `separator` unless there are none. */
const chunk = (open: string, separator: string, close: string, [records, values]: Query): Query => [
  `SELECT CAST(? || coalesce(? || group_concat(json, ','), '') || ? AS BLOB) AS json FROM (${records})`,
  [open, separator, close, ...values]
]

/** The whole list as JSON text if one chunk holds it, else NULL. SQLite evaluates only the branch that is taken. */
const shortList = (selection: VmSelection): Query => {
  const [more, moreValues] = hasMore(selection)
  const records = newestFirst(`${recordJson} AS json`, selection, "filterIndex", chunkSize)
  const [list, listValues] = chunk("[", "", "]", records)
  return [`SELECT CASE WHEN (${more}) IS NULL THEN (${list}) END AS json`, [...moreValues, ...listValues]]
}

/** `list` and `listJson` of the store over SQLite. */
export const make = ({ read, snapshot }: Database["Type"]): Pick<VmStore["Type"], "list" | "listJson"> => {
  /** The filter's index is faster if at most one chunk of records matches; beyond that, sorting costs more. */
  const planFor = (selection: VmSelection): Effect.Effect<Plan, StoreUnavailable> =>
    selection.role === undefined && selection.state === undefined && selection.name_prefix === undefined
      ? Effect.succeed("listOrder")
      : Effect.map(read(hasMore(selection)), (rows) => (rows.length > 0 ? "listOrder" : "filterIndex"))

  const list = (query: VmPageQuery) =>
    Effect.gen(function* () {
      const plan = yield* planFor(query)
      return toPage(yield* read<VmPageRow>(newestFirst(pageColumns, query, plan, query.limit + 1)), query.limit)
    })

  /** A list of any length in chunks, read from one snapshot. */
  const stream = (selection: VmSelection): Stream.Stream<Uint8Array, StoreUnavailable> =>
    Stream.unwrapScoped(
      Effect.map(snapshot, (readSnapshot) =>
        Stream.unfoldEffect<VmSelection | undefined, Uint8Array, StoreUnavailable, never>(selection, (rest) =>
          Effect.gen(function* () {
            if (rest === undefined) return Option.none()
            const position = "created_at, rowid AS sequence"
            const [last] = yield* readSnapshot<VmCursor>(newestFirst(position, rest, "listOrder", 1, chunkSize - 1))
            const records = newestFirst(`${recordJson} AS json`, rest, "listOrder", chunkSize)
            const [open, separator] = rest === selection ? ["[", ""] : ["", ","]
            const close = last === undefined ? "]" : ""
            const [row] = yield* readSnapshot<{ json: Buffer }>(chunk(open, separator, close, records))
            yield* yieldToEventLoop
            return Option.some([row?.json ?? Buffer.alloc(0), last && { ...selection, cursor: last }] as const)
          })
        )
      )
    )

  const listJson = (selection: VmSelection) =>
    Effect.map(
      read<{ readonly json: Buffer | null }>(shortList(selection)),
      ([row]): VmListJson => row?.json ?? stream(selection)
    )

  return { list, listJson }
}
