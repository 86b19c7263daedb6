import * as Schema from "effect/Schema"
import { Vm } from "../domain/Vm.js"

const fields = Object.entries(Vm.fields)
const optionalFields = fields.filter(([, field]) => !Schema.isSchema(field))

/** The columns of a record, in the order of its fields. */
export const columns: ReadonlyArray<string> = fields.map(([name]) => name)
/** The columns that may be NULL. */
export const optionalColumns: ReadonlyArray<string> = optionalFields.map(([name]) => name)

/** A row of the table `vms`. */
export type VmRow = Readonly<Record<keyof Vm, unknown>>

const decode = Schema.decodeUnknownSync(Vm)

/**
 * Decodes a row without its NULL columns. Throws if a column holds a value of another type, which SQLite allows in any
 * column.
 */
export const toVm = (row: VmRow): Vm => {
  const record: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(row)) {
    if (value !== null) record[name] = value
  }
  return decode(record)
}
