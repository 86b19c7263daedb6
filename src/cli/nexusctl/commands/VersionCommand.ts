import * as Command from "@effect/cli/Command"
import * as Effect from "effect/Effect"
import { formatAddress } from "../../../domain/Address.js"
import { version } from "../../../domain/Version.js"
import { DaemonClient } from "../daemon/DaemonClient.js"
import { outputOption, print } from "../output/Output.js"

/** `nexusctl version`. Succeeds also if the daemon can't be reached. */
export const versionCommand = Command.make("version", { output: outputOption }, ({ output }) =>
  Effect.gen(function* () {
    const { address, attempt } = yield* DaemonClient
    const health = yield* attempt((client) => client.health.check({})).pipe(
      Effect.map((answer) => ({ reachable: true, version: answer.version })),
      Effect.catchTag("Degraded", (answer) => Effect.succeed({ reachable: true, version: answer.version })),
      Effect.catchAll(() => Effect.succeed({ reachable: false, version: undefined }))
    )
    const nexusd = { address: formatAddress(address), ...health }
    yield* print(output, { nexusctl: version, nexusd }, () => [
      `nexusctl ${version}`,
      `nexusd   ${nexusd.reachable ? "reachable" : "not reachable"} at ${nexusd.address}`
    ])
  })
).pipe(Command.withDescription("Show the version of nexusctl, and whether nexusd can be reached"))
