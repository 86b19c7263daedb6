import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { VcpuCount, VmName, VmRole } from "../../../domain/Vm.js"
import { NexusClient } from "../../../http/Client.js"
import { schemaOption } from "../../runner/SchemaOption.js"
import { type CommandFailed, usageError } from "../daemon/CommandFailure.js"
import { DaemonClient } from "../daemon/DaemonClient.js"
import { vmOutput, vmPrinter } from "../output/VmOutput.js"
import { memoryOption } from "./MemoryOption.js"
import { forEachVm, namesOrIds } from "./SeveralVms.js"
import { configJson, configOptions, firstConfigOption } from "./VmConfigOptions.js"

const fields = {
  name: Options.optional(schemaOption("name", "NAME", VmName)),
  role: Options.optional(schemaOption("role", VmRole.literals.join(" | "), VmRole)),
  vcpu_count: Options.optional(schemaOption("vcpu", "N", VcpuCount)),
  mem_size_mib: Options.optional(memoryOption())
} as const

const seeHelp = "See: nexusctl vm update --help"

/** How often a record is read again that another client changed meanwhile. */
const maxRetries = 5

const isChangedMeanwhile = ({ daemon }: CommandFailed): boolean => daemon?.["_tag"] === "PreconditionFailed"

export const updateCommand = Command.make(
  "update",
  {
    vms: namesOrIds,
    fields,
    config: configOptions,
    isConfigRemoved: Options.boolean("no-config").pipe(Options.withDescription("Remove the configuration")),
    output: vmOutput
  },
  ({ config, fields, isConfigRemoved, output, vms }) =>
    Effect.gen(function* () {
      const option = firstConfigOption(config)
      if (isConfigRemoved && option !== undefined) {
        return yield* usageError(`--no-config and ${option} exclude each other`, seeHelp)
      }
      if (Option.isSome(fields.name) && vms.length > 1) {
        return yield* usageError("--name is for one VM: two can't have the same name", seeHelp)
      }
      const given = {
        ...(Option.isSome(fields.name) && { name: fields.name.value }),
        ...(Option.isSome(fields.role) && { role: fields.role.value }),
        ...(Option.isSome(fields.vcpu_count) && { vcpu_count: fields.vcpu_count.value }),
        ...(Option.isSome(fields.mem_size_mib) && { mem_size_mib: fields.mem_size_mib.value })
      }
      if (Object.keys(given).length === 0 && option === undefined && !isConfigRemoved) {
        return yield* usageError("nothing to change: expected an option", seeHelp)
      }
      const { call } = yield* DaemonClient
      // Options other than --vm-config change a part of the present configuration.
      const isMerged = option !== undefined && Option.isNone(config["vm-config"])
      const update = (vm: string) =>
        Effect.gen(function* () {
          const what = { action: `cannot update VM "${vm}"`, vm }
          const [present, response] = isMerged
            ? yield* call(what, (client) => client.vms.get({ path: { nameOrId: vm }, withResponse: true }))
            : []
          const config_json = isConfigRemoved ? null : yield* configJson(config, present?.config_json)
          // Daemons of the step 4 plan send no entity tag.
          const tag = response && NexusClient.entityTag(response)
          return yield* call({ ...what, newCommand: "vm update" }, (client) =>
            client.vms.update({
              path: { nameOrId: present?.id ?? vm },
              headers: tag === undefined ? {} : { "if-match": tag },
              payload: { ...given, ...(config_json !== undefined && { config_json }) }
            })
          )
        }).pipe(Effect.retry({ times: maxRetries, while: isChangedMeanwhile }))
      const print = vmPrinter(output)
      yield* forEachVm(vms, update, (record, index) => print(record, () => [`Updated VM "${vms[index]}"`]))
    })
).pipe(Command.withDescription("Change VM records: what is not given stays"))
