import * as Options from "@effect/cli/Options"
import * as Console from "effect/Console"
import { oneOf } from "../domain/Bounds.js"
import type { Vm } from "../domain/Vm.js"
import { schemaOption } from "./SchemaOption.js"

/** `-o json`: for programs. */
const Output = oneOf(["text", "json"], "text, or json: what the API sent, on one line")
type Output = typeof Output.Type
export const outputOption = schemaOption("output", "text | json", Output, "text").pipe(Options.withAlias("o"))

/** Prints a result as JSON or as text. */
export const print = <A>(output: Output, value: A, toText: (value: A) => string) =>
  Console.log(output === "json" ? JSON.stringify(value) : toText(value))

const columns: ReadonlyArray<readonly [title: string, width: number, cell: (vm: Vm) => string]> = [
  ["NAME", 20, (vm) => vm.name],
  ["ROLE", 10, (vm) => vm.role],
  ["STATE", 10, (vm) => vm.state],
  ["VCPU", 6, (vm) => String(vm.vcpu_count)],
  ["MEM", 8, (vm) => `${vm.mem_size_mib}M`],
  ["CID", 6, (vm) => String(vm.cid)]
]

/** A line a VM, under a header; a column is as wide as its widest cell, and no narrower than existing CLIs make it. */
export const vmTable = (vms: ReadonlyArray<Vm>): string => {
  const widths = columns.map(([, width, cell]) => vms.reduce((widest, vm) => Math.max(widest, cell(vm).length), width))
  const line = (cells: ReadonlyArray<string>) =>
    cells
      .map((cell, index) => cell.padEnd(widths[index] ?? 0))
      .join(" ")
      .trimEnd()
  return [line(columns.map(([title]) => title)), ...vms.map((vm) => line(columns.map(([, , cell]) => cell(vm))))].join(
    "\n"
  )
}

/** `2026-02-18 14:30:06 UTC`. */
const formatTime = (seconds: number): string => {
  const date = new Date(seconds * 1000)
  return Number.isNaN(date.getTime()) ? String(seconds) : `${date.toISOString().slice(0, 19).replace("T", " ")} UTC`
}

/** All of a record that a person asks for, a line a field. */
export const vmDetails = (vm: Vm): string => {
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
  return fields
    .filter(([, value]) => value !== undefined)
    .map(([label, value]) => `${`${label}:`.padEnd(12)}${value}`)
    .join("\n")
}
