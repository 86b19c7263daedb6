import { columns } from "../VmRow.js"
import { runValue } from "../VmRunRow.js"

/** The columns of a record, in the order of its fields. */
export const postgresColumns: ReadonlyArray<string> = [...columns, "host"]

/** SQL expression: the VMM of a row of `vms` that runs, else NULL. A cast to JSON would fail on text that is none. */
const vmm = `CASE WHEN vms.state = 'running' THEN substring(${runValue} FROM '"vmm"\\s*:\\s*"(\\w+)"') END`

/** SQL expressions: the fields of a record, in their order. */
export const shownColumns: ReadonlyArray<string> = [
  ...columns.map((name) => `vms.${name}`),
  `${vmm} AS vmm`,
  "vms.host"
]

/** SQL expression: columns of `vms` as JSON text without NULLs. */
export const rowJson = (selected: ReadonlyArray<string>) =>
  `json_strip_nulls(row_to_json((SELECT record FROM (SELECT ${selected.join(", ")}) AS record)))::text`

/** SQL expression: a row of `vms` as JSON text, with the fields in the order of `Vm` and without NULLs. */
export const recordJson = rowJson(shownColumns)
