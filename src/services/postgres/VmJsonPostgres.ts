import { columns } from "../VmRow.js"

const fields = columns.map((name) => `vms.${name}`)

/** SQL expression: a row of `vms` as JSON text, with the fields in the order of `Vm` and without NULLs. */
export const recordJson = `json_strip_nulls(row_to_json((SELECT record FROM (SELECT ${fields.join(", ")}) AS record)))::text`
