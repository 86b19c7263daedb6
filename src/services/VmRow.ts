import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import { Vm } from "../domain/Vm.js"
import type { VmPage } from "../domain/VmQuery.js"

const properties = SchemaAST.getPropertySignatures(Vm.ast).map(({ isOptional, name, type }) => ({
  name: String(name),
  isOptional,
  isText: SchemaAST.encodedAST(type)._tag === "StringKeyword"
}))

/** `vmm` is no column but comes from the run, and SQLite's table has no `host`. */
const tableProperties = properties.filter(({ name }) => name !== "vmm" && name !== "host")

/** The columns of a record that every engine has, in the order of its fields. */
export const columns: ReadonlyArray<string> = tableProperties.map(({ name }) => name)
/** Those that may be NULL. */
export const optionalColumns: ReadonlyArray<string> = tableProperties.flatMap((p) => (p.isOptional ? [p.name] : []))

/** A row of table `vms`. */
export type VmRow = Readonly<Partial<Record<keyof Vm, unknown>>>

const decode = Schema.decodeUnknownSync(Vm)

/** What `decode` checks, ten times as fast: `decode` takes 6 µs, as long as the query. */
const isVm = (record: Readonly<Record<string, unknown>>): record is Vm =>
  properties.every(({ isOptional, isText, name }) => {
    const value = record[name]
    if (value === undefined) return isOptional
    return isText ? typeof value === "string" : Number.isSafeInteger(value)
  })

/**
 * Makes a row a record without its NULL columns. Throws a `ParseError` if a column holds a value of another type, which
 * SQLite allows in any column.
 */
export const toVm = (row: VmRow): Vm => {
  const values: Readonly<Record<string, unknown>> = row
  const record: Record<string, unknown> = {}
  for (const { name } of properties) {
    const value = values[name] ?? undefined
    if (value !== undefined) record[name] = value
  }
  return isVm(record) ? record : decode(record)
}

/** Whether two records have the same fields. */
export const isSameVm = (a: Vm, b: Vm): boolean => {
  const left: Readonly<Record<string, unknown>> = a
  const right: Readonly<Record<string, unknown>> = b
  return a === b || properties.every(({ name }) => left[name] === right[name])
}

/** A row with its position among the rows of one `created_at`. A type, since pg needs an index signature. */
export type VmPageRow = VmRow & { readonly sequence: number }

/** A page of the first `limit` rows; a row beyond them shows that there is a next page. */
export const toPage = (rows: ReadonlyArray<VmPageRow>, limit: number): VmPage => {
  const last = rows.length > limit ? rows[limit - 1] : undefined
  const vms = rows.slice(0, limit).map(toVm)
  return { vms, next: last && { created_at: Number(last.created_at), sequence: last.sequence } }
}
