import * as Command from "@effect/cli/Command"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { boundedInt } from "../domain/Bounds.js"
import { VmName } from "../domain/Vm.js"
import { completeVms } from "../system/Completions.js"
import { printLines } from "../system/StandardStreams.js"
import { Connection } from "./Connection.js"
import { schemaArgument } from "./SchemaOption.js"

const Millis = boundedInt(1, 60_000, "How long to take at most, from the start of the process")

/** More names than that help nobody at a prompt. */
const maxNames = 1000

const isVmName = Schema.is(VmName)

/**
 * `nexusctl complete-vms MILLIS`, for the completion scripts: the names of VMs, one a line. Names that are no DNS labels are left
 * out, since a shell may expand them. Prints nothing when the daemon does not answer in time.
 */
export const completeVmsCommand = Command.make(completeVms, { limit: schemaArgument("MILLIS", Millis) }, ({ limit }) =>
  Effect.gen(function* () {
    const { attempt } = yield* Connection
    const vms = yield* attempt((client) => client.vms.list({ urlParams: { limit: maxNames } })).pipe(
      Effect.disconnect,
      Effect.timeout(Duration.millis(limit - performance.now())),
      Effect.orElseSucceed(() => [])
    )
    const names = vms.map(({ name }) => name).filter(isVmName)
    yield* printLines(names.slice(0, maxNames))
  })
)
