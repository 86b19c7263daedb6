import * as Options from "@effect/cli/Options"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { literals } from "../../../domain/Schemas.js"
import { type Vm, VmName } from "../../../domain/Vm.js"
import {
  isStdoutColoured,
  type OutputFailed,
  printJson,
  printLines,
  terminalWidth,
  writeStdout
} from "../../../runtime/StandardStreams.js"
import { schemaOption } from "../../runner/SchemaOption.js"
import { detailsStyle } from "./StateColour.js"
import { vmTable } from "./VmTable.js"
import { toYaml } from "./VmYaml.js"

const Format = literals(
  ["text", "wide", "json", "yaml", "name"],
  "text; wide: a table with ID, AGE and PID; json: what the API sent, on one line; yaml: for apply -f; name: one on each line"
)

/** The options of commands that show records. */
export const vmOutput = {
  format: schemaOption("output", Format.literals.join(" | "), Format, "text").pipe(Options.withAlias("o")),
  isHeaderless: Options.boolean("no-headers").pipe(Options.withDescription("Leave the header of tables out"))
}

export interface VmOutput {
  readonly format: typeof Format.Type
  readonly isHeaderless: boolean
}

const isVmName = Schema.is(VmName)

/** The id of a record whose name could not be given here: such a name may be several words to `xargs`, or an option. */
export const nameLine = ({ id, name }: Vm): string => (isVmName(name) ? name : id)

/** Prints lines of a table, which has escaped its cells; returns whether somebody still reads. */
export const printTableLines = (lines: ReadonlyArray<string>) => writeStdout(lines.map((line) => `${line}\n`).join(""))

const printTable = (vms: ReadonlyArray<Vm>, format: "text" | "wide", hasHeader: boolean) =>
  Effect.flatMap(isStdoutColoured, (isColoured) =>
    printTableLines(vmTable(vms, { hasHeader, isColoured, isWide: format === "wide", width: terminalWidth() }))
  )

/** Prints a YAML document; returns whether somebody still reads. */
export const printYaml = (value: unknown, before = "") =>
  Effect.flatMap(toYaml(value), (text) => writeStdout(before + text))

/** Prints a list of records. */
export const printVms = (
  { format, isHeaderless }: VmOutput,
  vms: ReadonlyArray<Vm>
): Effect.Effect<void, OutputFailed> => {
  switch (format) {
    case "json":
      return printJson(vms)
    case "yaml":
      return printYaml(vms)
    case "name":
      return printLines(vms.map(nameLine))
    default:
      return vms.length === 0 ? printLines(["No VMs found."]) : printTable(vms, format, !isHeaderless)
  }
}

/** Makes a function that prints the records of one command, one after the other. */
export const vmPrinter = ({ format, isHeaderless }: VmOutput) => {
  let isFirst = true
  return (vm: Vm, toLines: (isFirst: boolean) => ReadonlyArray<string>): Effect.Effect<void, OutputFailed> =>
    Effect.suspend(() => {
      const wasFirst = isFirst
      isFirst = false
      switch (format) {
        case "json":
          return printJson(vm)
        case "yaml":
          return printYaml(vm, wasFirst ? "" : "---\n")
        case "name":
          return printLines([nameLine(vm)])
        case "wide":
          return printTable([vm], format, wasFirst && !isHeaderless)
        case "text":
          return printLines(toLines(wasFirst), detailsStyle)
      }
    })
}
