import { columns, optionalColumns } from "../VmRow.js"
import { runValue } from "../VmRunRow.js"

const column = (name: string) => [name, `vms.${name}`] as const
const jsonObject = (fields: ReadonlyArray<readonly [name: string, expression: string]>) =>
  `json_object(${fields.map(([name, expression]) => `'${name}', ${expression}`).join(", ")})`

/** SQL expression: the VMM of a row of `vms` that runs, else NULL. */
export const vmm = `CASE WHEN vms.state = 'running' THEN (
    SELECT CASE WHEN json_valid(run) THEN CASE json_type(run, '$.vmm') WHEN 'text' THEN run ->> '$.vmm' END END
    FROM (SELECT ${runValue} AS run)
  ) END`

const requiredColumns = columns.filter((name) => !optionalColumns.includes(name))

/** A record without optional fields, which does not run, takes the faster form. json_patch removes NULLs (RFC 7396). */
const rowJson = (fields: ReadonlyArray<readonly [name: string, expression: string]>) =>
  `CASE WHEN coalesce(${optionalColumns.map((name) => `vms.${name}`).join(", ")}) IS NULL
    AND vms.state <> 'running' THEN ${jsonObject(requiredColumns.map(column))} ELSE json_patch('{}', ${jsonObject(fields)}) END`

/** SQL expression: the columns of a row of `vms` as JSON text without NULLs. */
export const columnsJson = rowJson(columns.map(column))

/** SQL expression: a row of `vms` as JSON text, with the fields in the order of `Vm` and without NULLs. */
export const recordJson = rowJson([...columns.map(column), ["vmm", vmm]])
