import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { StoreUnavailable } from "../../domain/Errors.js"
import type { VmPageQuery, VmSelection } from "../../domain/VmQuery.js"
import { columns, toVm, type VmRow } from "../VmRow.js"
import type { VmStore } from "../VmStore.js"
import type { Statement } from "./PostgresConnection.js"
import type { PostgresDatabase } from "./PostgresDatabase.js"
import { recordJson } from "./VmJsonPostgres.js"

/** Records of one chunk. */
const chunkSize = 1000

/** The end of a statement that reads a selection in the list's order, its values, and a name for its form. */
const newestFirst = ({ cursor, role, state }: VmSelection) => {
  const values: Array<string | number> = []
  const value = (one: string | number) => `$${values.push(one)}`
  const conditions = [
    ...(role === undefined ? [] : [`role = ${value(role)}`]),
    ...(state === undefined ? [] : [`state = ${value(state)}`]),
    ...(cursor === undefined
      ? []
      : [`(created_at, inserted) < (${value(cursor.created_at)}, ${value(cursor.sequence)})`])
  ]
  return {
    text: `FROM vms WHERE ${["true", ...conditions].join(" AND ")} ORDER BY created_at DESC, inserted DESC`,
    values,
    form: Object.entries({ role, state, cursor })
      .flatMap(([name, given]) => (given === undefined ? [] : [name]))
      .join(" ")
  }
}

const selectSome = (what: string, selected: string, selection: VmSelection, limit: number): Statement => {
  const { form, text, values } = newestFirst(selection)
  return {
    name: `${what} ${form}`,
    text: `SELECT ${selected} ${text} LIMIT $${values.length + 1}`,
    values: [...values, limit]
  }
}

const pageColumns = [...columns, "inserted AS sequence"].join(", ")
type PageRow = VmRow & { readonly sequence: number }

const jsonColumn = `${recordJson} AS json`
type JsonRow = { readonly json: string }

const joinRecords = (rows: ReadonlyArray<JsonRow>): string => rows.map(({ json }) => json).join(",")

/** How the records of one PostgreSQL database are listed. */
export const make = ({ ask, snapshot }: PostgresDatabase["Type"]): Pick<VmStore["Type"], "list" | "listJson"> => {
  const list = (query: VmPageQuery) =>
    Effect.map(ask<PageRow>(selectSome("page", pageColumns, query, query.limit + 1)), (rows) => {
      const page = rows.slice(0, query.limit)
      const last = rows.length > query.limit ? page.at(-1) : undefined
      return {
        vms: page.map(({ sequence: _, ...row }) => toVm(row)),
        next: last && { created_at: Number(last.created_at), sequence: last.sequence }
      }
    })

  /** The chunks of a list of any length, all read from one snapshot with a cursor of the server. */
  const stream = (selection: VmSelection): Stream.Stream<Uint8Array, StoreUnavailable> =>
    Stream.unwrapScoped(
      Effect.gen(function* () {
        const read = yield* snapshot
        const { text, values } = newestFirst(selection)
        yield* read({ text: `DECLARE records NO SCROLL CURSOR FOR SELECT ${jsonColumn} ${text}`, values })
        const fetchRecords = Effect.map(read<JsonRow>({ text: `FETCH ${chunkSize} FROM records` }), joinRecords)
        return Stream.unfoldEffect<string | undefined, Uint8Array, StoreUnavailable, never>("[", (before) =>
          before === undefined
            ? Effect.succeedNone
            : Effect.map(fetchRecords, (records) => {
                const isLast = records === ""
                const text = isLast ? `${before === "[" ? "[" : ""}]` : before + records
                return Option.some([Buffer.from(text), isLast ? undefined : ","] as const)
              })
        )
      })
    )

  const listJson = (selection: VmSelection) =>
    Effect.map(ask<JsonRow>(selectSome("json", jsonColumn, selection, chunkSize + 1)), (rows) =>
      rows.length > chunkSize ? stream(selection) : Buffer.from(`[${joinRecords(rows)}]`)
    )

  return { list, listJson }
}
