import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { StoreUnavailable } from "../../domain/Errors.js"
import { prefixRange, type VmPageQuery, type VmSelection } from "../../domain/VmQuery.js"
import { toPage, type VmPageRow } from "../VmRow.js"
import type { VmStore } from "../VmStore.js"
import type { Statement } from "./PostgresConnection.js"
import type { PostgresDatabase } from "./PostgresDatabase.js"
import { recordJson, shownColumns } from "./VmJsonPostgres.js"

/** Records of one chunk. */
const chunkSize = 1000

/** The FROM, WHERE and ORDER BY of a selection, its values, and a name for the combination of its conditions. */
const newestFirst = ({ cursor, name_prefix, role, state }: VmSelection) => {
  const values: Array<string | number> = []
  const parameter = (value: string | number) => `$${values.push(value)}`
  const names = name_prefix === undefined ? undefined : prefixRange(name_prefix)
  const conditions = [
    ...(role === undefined ? [] : [`role = ${parameter(role)}`]),
    ...(state === undefined ? [] : [`state = ${parameter(state)}`]),
    ...(names === undefined ? [] : [`name >= ${parameter(names.start)}`]),
    ...(names?.end === undefined ? [] : [`name < ${parameter(names.end)}`]),
    ...(cursor === undefined
      ? []
      : [`(created_at, inserted) < (${parameter(cursor.created_at)}, ${parameter(cursor.sequence)})`])
  ]
  return {
    text: `FROM vms WHERE ${["true", ...conditions].join(" AND ")} ORDER BY created_at DESC, inserted DESC`,
    values,
    form: Object.entries({ role, state, name_prefix: names, names_end: names?.end, cursor })
      .flatMap(([name, given]) => (given === undefined ? [] : [name]))
      .join(" ")
  }
}

const selectStatement = (kind: string, selected: string, selection: VmSelection, limit: number): Statement => {
  const { form, text, values } = newestFirst(selection)
  return {
    name: `${kind} ${form}`,
    text: `SELECT ${selected} ${text} LIMIT $${values.length + 1}`,
    values: [...values, limit]
  }
}

const pageColumns = [...shownColumns, "inserted AS sequence"].join(", ")

const jsonColumn = `${recordJson} AS json`
type JsonRow = { readonly json: string }

const joinRecords = (rows: ReadonlyArray<JsonRow>): string => rows.map(({ json }) => json).join(",")

/** `list` and `listJson` of the store over PostgreSQL. */
export const make = ({
  executeOrUnavailable,
  snapshot
}: PostgresDatabase["Type"]): Pick<VmStore["Type"], "list" | "listJson"> => {
  const list = (query: VmPageQuery) =>
    Effect.map(executeOrUnavailable<VmPageRow>(selectStatement("page", pageColumns, query, query.limit + 1)), (rows) =>
      toPage(rows, query.limit)
    )

  /** A list of any length in chunks, read with a server-side cursor from one snapshot. */
  const stream = (selection: VmSelection): Stream.Stream<Uint8Array, StoreUnavailable> =>
    Stream.unwrapScoped(
      Effect.gen(function* () {
        const read = yield* snapshot
        const { text, values } = newestFirst(selection)
        yield* read({ text: `DECLARE records NO SCROLL CURSOR FOR SELECT ${jsonColumn} ${text}`, values })
        const fetchRecords = Effect.map(read<JsonRow>({ text: `FETCH ${chunkSize} FROM records` }), joinRecords)
        return Stream.unfoldEffect<string | undefined, Uint8Array, StoreUnavailable, never>("[", (separator) =>
          separator === undefined
            ? Effect.succeedNone
            : Effect.map(fetchRecords, (records) => {
                const isLast = records === ""
                const text = isLast ? `${separator === "[" ? "[" : ""}]` : separator + records
                return Option.some([Buffer.from(text), isLast ? undefined : ","] as const)
              })
        )
      })
    )

  const listJson = (selection: VmSelection) =>
    Effect.map(executeOrUnavailable<JsonRow>(selectStatement("json", jsonColumn, selection, chunkSize + 1)), (rows) =>
      rows.length > chunkSize ? stream(selection) : Buffer.from(`[${joinRecords(rows)}]`)
    )

  return { list, listJson }
}
