import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { formatAddress } from "../../../domain/Address.js"
import type { Vm } from "../../../domain/Vm.js"
import type { VmFilter } from "../../../domain/VmQuery.js"
import type { VmChange } from "../../../http/Client.js"
import {
  isStdoutColoured,
  type OutputFailed,
  printErrorJson,
  printErrorLines,
  printJsonLines,
  printLines,
  terminalWidth
} from "../../../runtime/StandardStreams.js"
import type { CommandFailed } from "../daemon/CommandFailure.js"
import { DaemonClient } from "../daemon/DaemonClient.js"
import { nameLine, printTableLines, printYaml, type VmOutput } from "../output/VmOutput.js"
import { makeVmTable, type VmRow } from "../output/VmTable.js"

type Report = Exclude<VmChange, { readonly event: "listed" }> | { readonly event: "listed"; readonly vm: Vm }

/** The records of a list one by one. */
const reportsOf = (change: VmChange): ReadonlyArray<Report> =>
  change.event === "listed" ? change.vms.map((vm) => ({ event: "listed", vm })) : [change]

const rowOf = (report: Report): VmRow => {
  const { event, vm } = report
  const renamed = "before" in report && report.before.name !== vm.name ? [`was ${report.before.name}`] : []
  const notes = [...(event === "left" ? ["left"] : []), ...renamed]
  return {
    vm: event === "deleted" ? { ...vm, state: "deleted" } : vm,
    ...(notes.length > 0 && { note: `(${notes.join(", ")})` })
  }
}

/** `{"event":"created","vm":{…}}` */
const toObject = ({ event, vm }: Report) => ({ event, vm })

type Print = (change: VmChange) => Effect.Effect<boolean, OutputFailed>

/** Prints the table, and then a line for each change; returns whether somebody still reads. */
const makePrinter = ({ format, isHeaderless }: VmOutput, isColoured: boolean): Print => {
  switch (format) {
    case "json":
      return (change) => printJsonLines(reportsOf(change).map(toObject))
    case "yaml":
      return (change) =>
        Effect.reduce(reportsOf(change), true, (isRead, report) =>
          isRead ? printYaml(toObject(report), "---\n") : Effect.succeed(false)
        )
    case "name":
      return (change) => printLines(reportsOf(change).map(({ vm }) => nameLine(vm)))
    default: {
      const table = makeVmTable({ isColoured, isWide: format === "wide", width: terminalWidth() })
      return (change) =>
        printTableLines(table(reportsOf(change).map(rowOf), { hasHeader: change.event === "listed" && !isHeaderless }))
    }
  }
}

/** `vm list --watch`: prints the records that match and then each change, until nobody reads any more. */
export const watchVms = (
  filter: VmFilter,
  output: VmOutput
): Effect.Effect<void, CommandFailed | OutputFailed, Effect.Effect.Context<typeof DaemonClient>> =>
  Effect.gen(function* () {
    const { address, call, timeoutSeconds } = yield* DaemonClient
    const print = makePrinter(output, yield* isStdoutColoured)
    const warn = (warning: string) =>
      output.format === "json" ? printErrorJson({ warning }) : printErrorLines([`Warning: ${warning}`])
    const daemon = `nexusd at ${formatAddress(address)}`
    const end = yield* call(
      { action: "cannot watch VMs", newCommand: "vm list --watch" },
      ({ watch }) =>
        watch(filter, {
          answerTimeout: Duration.seconds(timeoutSeconds),
          onDisconnect: () => warn(`the connection to ${daemon} was lost: connecting again`),
          onReconnect: warn(`connected to ${daemon} again: changes since then follow`)
        }).pipe(
          Stream.runForEachWhile(print),
          Effect.as(Effect.void),
          Effect.catchTag("OutputFailed", (failed) => Effect.succeed(failed))
        ),
      { silenceSeconds: "unlimited" }
    )
    yield* end
  })
