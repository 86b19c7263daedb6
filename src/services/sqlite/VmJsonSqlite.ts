import { columns, optionalColumns } from "../VmRow.js"

const jsonObject = (names: ReadonlyArray<string>) =>
  `json_object(${names.map((name) => `'${name}', vms.${name}`).join(", ")})`

const requiredColumns = columns.filter((name) => !optionalColumns.includes(name))

/**
 * SQL expression: a row of `vms` as JSON text without NULLs, which json_patch removes (RFC 7396). A record without optional
 * fields takes the faster form.
 */
export const recordJson = `CASE WHEN coalesce(${optionalColumns.map((name) => `vms.${name}`).join(", ")}) IS NULL
  THEN ${jsonObject(requiredColumns)} ELSE json_patch('{}', ${jsonObject(columns)}) END`
