import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { VcpuCount, VmName, VmRole } from "../../domain/Vm.js"
import { ExitCode } from "../../runtime/ExitCode.js"
import { schemaOption } from "../runner/SchemaOption.js"
import { CommandFailed } from "./CommandFailure.js"
import { DaemonClient } from "./DaemonClient.js"
import { memoryOption } from "./MemoryOption.js"
import { nameOrId } from "./SeveralVms.js"
import { configJson, configOptions, firstConfigOption } from "./VmConfigOptions.js"
import { vmOutput, vmPrinter } from "./VmOutput.js"

const fields = {
  name: Options.optional(schemaOption("name", "NAME", VmName)),
  role: Options.optional(schemaOption("role", VmRole.literals.join(" | "), VmRole)),
  vcpu_count: Options.optional(schemaOption("vcpu", "N", VcpuCount)),
  mem_size_mib: Options.optional(memoryOption())
} as const

const usageError = (message: string) =>
  new CommandFailed({ lines: [`Error: ${message}`, "  See: nexusctl vm update --help"], exitCode: ExitCode.usage })

export const updateCommand = Command.make(
  "update",
  {
    vm: nameOrId,
    fields,
    config: configOptions,
    isConfigRemoved: Options.boolean("no-config").pipe(Options.withDescription("Remove the configuration")),
    output: vmOutput
  },
  ({ config, fields, isConfigRemoved, output, vm }) =>
    Effect.gen(function* () {
      const { call } = yield* DaemonClient
      const what = { action: `cannot update VM "${vm}"`, vm }
      const option = firstConfigOption(config)
      if (isConfigRemoved && option !== undefined)
        return yield* usageError(`--no-config and ${option} exclude each other`)
      const given = {
        ...(Option.isSome(fields.name) && { name: fields.name.value }),
        ...(Option.isSome(fields.role) && { role: fields.role.value }),
        ...(Option.isSome(fields.vcpu_count) && { vcpu_count: fields.vcpu_count.value }),
        ...(Option.isSome(fields.mem_size_mib) && { mem_size_mib: fields.mem_size_mib.value })
      }
      if (Object.keys(given).length === 0 && option === undefined && !isConfigRemoved) {
        return yield* usageError("nothing to change: expected an option")
      }
      // The other options change a part of the present configuration.
      const present =
        option === undefined || Option.isSome(config["vm-config"])
          ? undefined
          : yield* call(what, (client) => client.vms.get({ path: { nameOrId: vm } }))
      const config_json = isConfigRemoved ? null : yield* configJson(config, present?.config_json)
      const updated = yield* call({ ...what, newCommand: "vm update" }, (client) =>
        client.vms.update({
          path: { nameOrId: present?.id ?? vm },
          payload: { ...given, ...(config_json !== undefined && { config_json }) }
        })
      )
      yield* vmPrinter(output)(updated, () => [`Updated VM "${vm}"`])
    })
).pipe(Command.withDescription("Change a VM record: what is not given stays"))
