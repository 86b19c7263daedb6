import * as Schema from "effect/Schema"
import { Vm } from "../domain/Vm.js"

const fields = Object.entries(Vm.fields)
const optionalFields = fields.filter(([, field]) => !Schema.isSchema(field))

/** The columns of a record, in the order of its fields. */
export const columns: ReadonlyArray<string> = fields.map(([name]) => name)
/** The columns that may be NULL. */
export const optionalColumns: ReadonlyArray<string> = optionalFields.map(([name]) => name)

type OptionalField = {
  [K in keyof Vm]-?: undefined extends Vm[K] ? K : object extends Pick<Vm, K> ? K : never
}[keyof Vm]

/** A record as a row of the table `vms`. */
export type VmRow = Omit<Vm, OptionalField> & { readonly [K in OptionalField]: Vm[K] | null }

/** The record of a row: columns that are NULL are left out. */
export const toVm = ({
  started_at,
  stopped_at,
  pid,
  socket_path,
  uds_path,
  console_log_path,
  config_json,
  ...required
}: VmRow): Vm => ({
  ...required,
  ...(started_at !== null && { started_at }),
  ...(stopped_at !== null && { stopped_at }),
  ...(pid !== null && { pid }),
  ...(socket_path !== null && { socket_path }),
  ...(uds_path !== null && { uds_path }),
  ...(console_log_path !== null && { console_log_path }),
  ...(config_json !== null && { config_json })
})
