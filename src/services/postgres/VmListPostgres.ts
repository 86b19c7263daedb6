import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { StoreUnavailable } from "../../domain/Errors.js"
import type { VmQuery } from "../../domain/Vm.js"
import type { VmList } from "../VmStore.js"
import type { Statement } from "./PostgresConnection.js"
import type { PostgresDatabase } from "./PostgresDatabase.js"
import { recordJson } from "./VmJsonPostgres.js"

/** The records of one piece. */
const pieceSize = 1000

type Row = { readonly json: string; readonly created_at: number; readonly sequence: number }

/** What selects and orders the records of a query: the statement's end, its values, and a name for its form. */
const matching = ({ cursor, role, state }: VmQuery) => {
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

const page = (query: VmQuery, limit: number): Statement => {
  const { form, text, values } = matching(query)
  return {
    name: `list ${form}`,
    text: `SELECT ${recordJson} AS json, created_at, inserted AS sequence ${text} LIMIT $${values.length + 1}`,
    values: [...values, limit + 1]
  }
}

const textOf = (rows: ReadonlyArray<{ readonly json: string }>): string => rows.map((row) => row.json).join(",")

/** How the records of one PostgreSQL database are listed. */
export const make = ({ ask, snapshot }: PostgresDatabase["Type"]) => {
  /** Every record, however many, as they were at the stream's start: the server keeps its place in them. */
  const everything = (query: VmQuery): Stream.Stream<Uint8Array, StoreUnavailable> =>
    Stream.unwrapScoped(
      Effect.gen(function* () {
        const read = yield* snapshot
        const { text, values } = matching(query)
        yield* read({ text: `DECLARE records NO SCROLL CURSOR FOR SELECT ${recordJson} AS json ${text}`, values })
        const piece = Effect.map(read<Row>({ text: `FETCH ${pieceSize} FROM records` }), textOf)
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
    return Effect.map(ask<Row>(page(query, limit)), (rows) => {
      if (query.limit === undefined && rows.length > limit) return { json: everything(query), next: undefined }
      const sent = rows.slice(0, limit)
      const last = rows.length > limit ? sent.at(-1) : undefined
      return {
        json: Buffer.from(`[${textOf(sent)}]`),
        next: last && { created_at: last.created_at, sequence: last.sequence }
      }
    })
  }
}
