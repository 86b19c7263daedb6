import { columns, optionalColumns } from "../VmRow.js"

const jsonObject = (names: ReadonlyArray<string>) =>
  `json_object(${names.map((name) => `'${name}', vms.${name}`).join(", ")})`

const requiredColumns = columns.filter((name) => !optionalColumns.includes(name))

/**
 * A row's record as JSON text: what is NULL is left out, as json_patch does with nulls (RFC 7396). Most records have
 * no optional field; for those the faster form.
 */
export const recordJson = `CASE WHEN coalesce(${optionalColumns.map((name) => `vms.${name}`).join(", ")}) IS NULL
  THEN ${jsonObject(requiredColumns)} ELSE json_patch('{}', ${jsonObject(columns)}) END`
