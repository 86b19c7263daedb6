import * as Options from "@effect/cli/Options"
import { literals } from "../../domain/Schemas.js"
import type { Vm } from "../../domain/Vm.js"
import { printJson, printLines } from "../../runtime/StandardStreams.js"
import { escapeText } from "../../runtime/TerminalText.js"
import { schemaOption } from "../runner/SchemaOption.js"
import { displayWidth } from "./DisplayWidth.js"

const Output = literals(["text", "json"], "text, or json: what the API sent, on one line")
type Output = typeof Output.Type
export const outputOption = schemaOption("output", "text | json", Output, "text").pipe(Options.withAlias("o"))

/** Prints a result as JSON or as lines of text. */
export const print = <A>(output: Output, value: A, toLines: (value: A) => ReadonlyArray<string>) =>
  output === "json" ? printJson(value) : printLines(toLines(value))

const columns: ReadonlyArray<readonly [title: string, width: number, cell: (vm: Vm) => string]> = [
  ["NAME", 20, (vm) => vm.name],
  ["ROLE", 10, (vm) => vm.role],
  ["STATE", 10, (vm) => vm.state],
  ["VCPU", 6, (vm) => String(vm.vcpu_count)],
  ["MEM", 8, (vm) => `${vm.mem_size_mib}M`],
  ["CID", 6, (vm) => String(vm.cid)]
]

/**
 * A header and a line for each VM. A column is as wide as its widest cell, and at least as wide as in the step 4 plan of
 * WorkFort Nexus.
 */
export const vmTable = (vms: ReadonlyArray<Vm>): ReadonlyArray<string> => {
  const rows = [columns.map(([title]) => title), ...vms.map((vm) => columns.map(([, , cell]) => escapeText(cell(vm))))]
  const widths = columns.map(([, width], index) =>
    rows.reduce((widest, row) => Math.max(widest, displayWidth(row[index] ?? "")), width)
  )
  const padded = (cell: string, index: number) => cell + " ".repeat((widths[index] ?? 0) - displayWidth(cell))
  return rows.map((row) => row.map(padded).join(" ").trimEnd())
}

/** `2026-02-18 14:30:06 UTC`. */
const formatTime = (seconds: number): string => {
  const date = new Date(seconds * 1000)
  return Number.isNaN(date.getTime()) ? String(seconds) : `${date.toISOString().slice(0, 19).replace("T", " ")} UTC`
}

/** The fields of a record, one on each line, with values at column 13. */
export const vmDetails = (vm: Vm): ReadonlyArray<string> => {
  const fields: ReadonlyArray<readonly [string, string | undefined]> = [
    ["Name", vm.name],
    ["ID", vm.id],
    ["Role", vm.role],
    ["State", vm.state],
    ["CID", String(vm.cid)],
    ["vCPUs", String(vm.vcpu_count)],
    ["Memory", `${vm.mem_size_mib} MiB`],
    ["Created", formatTime(vm.created_at)],
    ["Started", vm.started_at === undefined ? undefined : formatTime(vm.started_at)],
    ["Stopped", vm.stopped_at === undefined ? undefined : formatTime(vm.stopped_at)]
  ]
  return fields.filter(([, value]) => value !== undefined).map(([label, value]) => `${`${label}:`.padEnd(12)}${value}`)
}
