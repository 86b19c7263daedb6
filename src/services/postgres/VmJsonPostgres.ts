import { columns } from "../VmRow.js"

const fields = columns.map((name) => `vms.${name}`)

/** A row's record as JSON text, in the order of the record's fields; what is NULL is left out. */
export const recordJson = `json_strip_nulls(row_to_json((SELECT record FROM (SELECT ${fields.join(", ")}) AS record)))::text`
