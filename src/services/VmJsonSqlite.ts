import * as Schema from "effect/Schema"
import { Vm } from "../domain/Vm.js"

const columns = Object.entries(Vm.fields)
const required = columns.filter(([, field]) => Schema.isSchema(field))
const optional = columns.filter(([, field]) => !Schema.isSchema(field))

const jsonObject = (fields: typeof columns) =>
  `json_object(${fields.map(([name]) => `'${name}', vms.${name}`).join(", ")})`

/**
 * A row's record as JSON text: what is NULL is left out, as json_patch does with nulls (RFC 7396). Most records have
 * nothing beyond what all have; for those the quicker form.
 */
export const recordJson = `CASE WHEN coalesce(${optional.map(([name]) => `vms.${name}`).join(", ")}) IS NULL
  THEN ${jsonObject(required)} ELSE json_patch('{}', ${jsonObject(columns)}) END`
