import * as Command from "@effect/cli/Command"
import * as Effect from "effect/Effect"
import { formatAddress } from "../../domain/Address.js"
import { ExitCode } from "../../runtime/ExitCode.js"
import { CommandFailed, toCommandFailure } from "./CommandFailure.js"
import { DaemonClient } from "./DaemonClient.js"
import { outputOption, print } from "./Output.js"

/** `nexusctl status` */
export const statusCommand = Command.make("status", { output: outputOption }, ({ output }) =>
  Effect.gen(function* () {
    const { address, attempt } = yield* DaemonClient
    const daemon = formatAddress(address)
    const health = yield* attempt((client) => client.health.check({})).pipe(
      Effect.catchTag("Degraded", ({ message: error, status, version, database }) =>
        Effect.zipRight(
          print(output, { status, version, error, database }, () => [`Daemon: ${status} (${daemon})`]),
          new CommandFailed({ lines: ["Error: the daemon is not well", `  ${error}`], exitCode: ExitCode.failure })
        )
      ),
      Effect.mapError((error) =>
        error._tag === "CommandFailed" || error._tag === "OutputFailed"
          ? error
          : toCommandFailure(address, { action: "cannot get the daemon's status" }, error)
      )
    )
    yield* print(output, health, ({ database, status }) => [
      `Daemon: ${status} (${daemon})`,
      `Database: ${database.path}`,
      `  Tables: ${database.table_count}`,
      `  Size:   ${database.size_bytes} bytes`
    ])
  })
).pipe(Command.withDescription("Show whether the daemon and its database are well"))
