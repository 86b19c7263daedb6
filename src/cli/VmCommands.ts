import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { CreateVm, createDefaults, MemSizeMib, VcpuCount, VmName, VmRole, VmState } from "../domain/Vm.js"
import { ExitCode } from "../system/ExitCode.js"
import { printLines } from "../system/StandardStreams.js"
import { Connection } from "./Connection.js"
import { CommandFailed } from "./Failure.js"
import { outputOption, print, vmDetails, vmTable } from "./Output.js"
import { schemaArgument, schemaOption } from "./SchemaOption.js"

const roleWords = VmRole.literals.join(" | ")
const stateWords = VmState.literals.join(" | ")

const nameOrId = schemaArgument("NAME|ID", Schema.NonEmptyString.annotations({ description: "The VM's name or id" }))

export const createCommand = Command.make(
  "create",
  {
    name: schemaArgument("NAME", VmName),
    role: schemaOption("role", roleWords, VmRole, createDefaults.role),
    vcpu_count: schemaOption("vcpu", "N", VcpuCount, createDefaults.vcpu_count),
    mem_size_mib: schemaOption("mem", "MIB", MemSizeMib, createDefaults.mem_size_mib),
    output: outputOption
  },
  ({ output, ...params }) =>
    Effect.gen(function* () {
      const { call } = yield* Connection
      const vm = yield* call({ doing: `cannot create VM "${params.name}"` }, (client) =>
        client.vms.create({ payload: CreateVm.make(params) })
      )
      yield* print(output, vm, ({ cid, name, state }) => [
        `Created VM "${name}" (state: ${state}, CID: ${cid})`,
        "",
        `  Inspect it: nexusctl vm inspect ${name}`
      ])
    })
).pipe(Command.withDescription("Create a VM record"))

export const listCommand = Command.make(
  "list",
  {
    role: Options.optional(schemaOption("role", roleWords, VmRole)),
    state: Options.optional(schemaOption("state", stateWords, VmState)),
    output: outputOption
  },
  ({ output, role, state }) =>
    Effect.gen(function* () {
      const { call } = yield* Connection
      const vms = yield* call({ doing: "cannot list VMs" }, (client) =>
        client.vms.list({
          urlParams: {
            ...(Option.isSome(role) ? { role: role.value } : {}),
            ...(Option.isSome(state) ? { state: state.value } : {})
          }
        })
      )
      yield* print(output, vms, () => (vms.length === 0 ? ["No VMs found."] : vmTable(vms)))
    })
).pipe(Command.withDescription("List VM records, newest first"))

export const inspectCommand = Command.make("inspect", { vm: nameOrId, output: outputOption }, ({ output, vm }) =>
  Effect.gen(function* () {
    const { call } = yield* Connection
    const found = yield* call({ doing: `cannot inspect VM "${vm}"`, vm }, (client) =>
      client.vms.get({ path: { nameOrId: vm } })
    )
    yield* print(output, found, vmDetails)
  })
).pipe(Command.withDescription("Show one VM record"))

export const deleteCommand = Command.make(
  "delete",
  {
    vm: nameOrId,
    yes: Options.boolean("yes").pipe(
      Options.withAlias("y"),
      Options.withDescription("Delete without being asked: needed, since a record can't be brought back")
    )
  },
  ({ vm, yes }) =>
    Effect.gen(function* () {
      if (!yes) {
        return yield* new CommandFailed({
          lines: [
            "Error: refusing to delete VM without confirmation",
            `  Run with --yes to skip confirmation: nexusctl vm delete ${vm} --yes`
          ],
          exitCode: ExitCode.failure
        })
      }
      const { call } = yield* Connection
      yield* call({ doing: `cannot delete VM "${vm}"`, vm }, (client) => client.vms.delete({ path: { nameOrId: vm } }))
      yield* printLines([`Deleted VM "${vm}"`])
    })
).pipe(Command.withDescription("Delete a VM record"))
