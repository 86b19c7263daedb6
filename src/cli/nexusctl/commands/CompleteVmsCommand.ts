import * as Command from "@effect/cli/Command"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { boundedInt } from "../../../domain/Schemas.js"
import { VmName } from "../../../domain/Vm.js"
import { printLines } from "../../../runtime/StandardStreams.js"
import { hidden } from "../../runner/CommandTree.js"
import { completeVms } from "../../runner/completions/CompletedCommand.js"
import { schemaArgument } from "../../runner/SchemaOption.js"
import { DaemonClient } from "../daemon/DaemonClient.js"

const Millis = boundedInt(1, 60_000, "How long to take at most, from the start of the process")

/** Maximum number of names offered at a prompt. */
const maxNames = 1000

const isVmName = Schema.is(VmName)

/**
 * `nexusctl complete-vms MILLIS`, for the completion scripts: prints the names of VMs, one on each line. Leaves out names
 * that are no DNS labels, since a shell may expand them. Prints nothing if the daemon does not answer in time.
 */
export const completeVmsCommand = hidden(
  Command.make(completeVms, { limit: schemaArgument("MILLIS", Millis) }, ({ limit }) =>
    Effect.gen(function* () {
      const { attempt } = yield* DaemonClient
      const vms = yield* attempt((client) => client.vms.list({ urlParams: { limit: maxNames } })).pipe(
        Effect.disconnect,
        Effect.timeout(Duration.millis(limit - performance.now())),
        Effect.orElseSucceed(() => [])
      )
      const names = vms.map(({ name }) => name).filter(isVmName)
      yield* printLines(names.slice(0, maxNames))
    })
  )
)
