import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { VmState } from "../../../domain/Vm.js"
import { StopTimeout, WaitQuery, WaitTimeoutSeconds, waitTimeoutDefault } from "../../../domain/VmRequests.js"
import { ExitCode } from "../../../runtime/ExitCode.js"
import { schemaOption } from "../../runner/SchemaOption.js"
import { CommandFailed } from "../daemon/CommandFailure.js"
import { DaemonClient } from "../daemon/DaemonClient.js"
import { graceSeconds, startSilenceSeconds, stopSilence } from "../daemon/SilenceLimits.js"
import { vmOutput, vmPrinter } from "../output/VmOutput.js"
import { forEachVm, nameOrId, namesOrIds } from "./SeveralVms.js"

/** `(pid: 4711)` */
export const pidText = ({ pid }: { readonly pid?: number }) => (pid === undefined ? "" : ` (pid: ${pid})`)

export const startCommand = Command.make("start", { vms: namesOrIds, output: vmOutput }, ({ output, vms }) =>
  Effect.gen(function* () {
    const { call } = yield* DaemonClient
    const start = (vm: string) =>
      call(
        { action: `cannot start VM "${vm}"`, vm, newCommand: "vm start" },
        (client) => client.vms.start({ path: { nameOrId: vm } }),
        { defaultSilenceSeconds: startSilenceSeconds }
      )
    const print = vmPrinter(output)
    yield* forEachVm(
      vms,
      start,
      (record, index) => print(record, () => [`Started VM "${vms[index]}"${pidText(record)}`]),
      { sideBySide: true }
    )
  })
).pipe(Command.withDescription("Start VMs"))

const stopTimeout = Options.optional(schemaOption("timeout", "S", StopTimeout, undefined, "nexusd's vm.stop_timeout"))

const stopPayload = (force: boolean, timeout: Option.Option<number>) => ({
  ...(force && { force }),
  ...(Option.isSome(timeout) && { timeout_s: timeout.value })
})

const force = Options.boolean("force").pipe(Options.withDescription("Kill the VM's process without asking the guest"))

export const stopCommand = Command.make(
  "stop",
  {
    vms: namesOrIds,
    force,
    timeout: stopTimeout,
    isHostLost: Options.boolean("host-lost").pipe(
      Options.withDescription("The VM's host will not come back: make it crashed, and touch no process")
    ),
    yes: Options.boolean("yes").pipe(Options.withAlias("y"), Options.withDescription("Needed with --host-lost")),
    output: vmOutput
  },
  ({ force, isHostLost, output, timeout, vms, yes }) =>
    Effect.gen(function* () {
      if (isHostLost && !yes) {
        const words = vms.some((vm) => vm.startsWith("-"))
          ? ["--host-lost --yes --", ...vms]
          : [...vms, "--host-lost --yes"]
        return yield* new CommandFailed({
          lines: [
            "Error: refusing to give up a VM and its host without confirmation",
            "  If the host still runs it, two processes may write to its drives.",
            `  Run with --yes to skip confirmation: nexusctl vm stop ${words.join(" ")}`
          ],
          exitCode: ExitCode.failure
        })
      }
      const { call } = yield* DaemonClient
      const stop = (vm: string) =>
        call(
          { action: `cannot stop VM "${vm}"`, vm, newCommand: "vm stop" },
          (client) =>
            client.vms.stop({
              path: { nameOrId: vm },
              payload: isHostLost ? { host_lost: true } : stopPayload(force, timeout)
            }),
          stopSilence(Option.getOrUndefined(timeout))
        )
      const print = vmPrinter(output)
      yield* forEachVm(
        vms,
        stop,
        (record, index) =>
          print(record, () => [isHostLost ? `VM "${vms[index]}" is ${record.state}` : `Stopped VM "${vms[index]}"`]),
        { sideBySide: true }
      )
    })
).pipe(Command.withDescription("Stop VMs: ask the guest, and kill its process after the timeout"))

export const restartCommand = Command.make(
  "restart",
  { vms: namesOrIds, force, timeout: stopTimeout, output: vmOutput },
  ({ force, output, timeout, vms }) =>
    Effect.gen(function* () {
      const { call } = yield* DaemonClient
      const restart = (vm: string) =>
        Effect.gen(function* () {
          const what = { action: `cannot restart VM "${vm}"`, vm }
          const { id, state } = yield* call(what, (client) => client.vms.get({ path: { nameOrId: vm } }))
          const newRoute = { ...what, newCommand: "vm restart" }
          const path = { nameOrId: id }
          if (state === "running") {
            yield* call(
              newRoute,
              (client) =>
                client.vms.stop({ path, payload: stopPayload(force, timeout) }).pipe(
                  // It may have ended by itself.
                  Effect.catchTag("Conflict", (conflict) =>
                    Effect.filterOrFail(
                      client.vms.get({ path }),
                      (vm) => vm.state !== "running",
                      () => conflict
                    )
                  )
                ),
              stopSilence(Option.getOrUndefined(timeout))
            )
          }
          return yield* call(newRoute, (client) => client.vms.start({ path }), {
            defaultSilenceSeconds: startSilenceSeconds
          })
        })
      const print = vmPrinter(output)
      yield* forEachVm(
        vms,
        restart,
        (record, index) => print(record, () => [`Restarted VM "${vms[index]}"${pidText(record)}`]),
        { sideBySide: true }
      )
    })
).pipe(Command.withDescription("Stop VMs that run, and start them"))

export const waitCommand = Command.make(
  "wait",
  {
    vm: nameOrId,
    state: schemaOption("state", VmState.literals.join(" | "), WaitQuery.fields.state),
    timeout: schemaOption("timeout", "S", WaitTimeoutSeconds, waitTimeoutDefault),
    output: vmOutput
  },
  ({ output, state, timeout, vm }) =>
    Effect.gen(function* () {
      const { call } = yield* DaemonClient
      const found = yield* call(
        { action: `cannot wait for VM "${vm}"`, vm, newCommand: "vm wait" },
        (client) => client.vms.wait({ path: { nameOrId: vm }, urlParams: { state, timeout_s: timeout } }),
        { silenceSeconds: timeout + graceSeconds }
      )
      yield* vmPrinter(output)(found, () => [`VM "${vm}" is ${found.state}`])
    })
).pipe(Command.withDescription("Wait until a VM is in a state, or in one of several, joined by commas"))
