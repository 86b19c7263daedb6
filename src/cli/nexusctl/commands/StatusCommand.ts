import * as Command from "@effect/cli/Command"
import * as Effect from "effect/Effect"
import { formatAddress } from "../../../domain/Address.js"
import { ExitCode } from "../../../runtime/ExitCode.js"
import { CommandFailed } from "../daemon/CommandFailure.js"
import { DaemonClient } from "../daemon/DaemonClient.js"
import { outputOption, print } from "../output/Output.js"

/** `nexusctl status` */
export const statusCommand = Command.make("status", { output: outputOption }, ({ output }) =>
  Effect.gen(function* () {
    const { address, call } = yield* DaemonClient
    const daemon = formatAddress(address)
    let requestId: string | undefined
    const show = yield* call(
      { action: "cannot get the daemon's status" },
      (client) =>
        client.health.check({}).pipe(
          Effect.map((health) =>
            print(output, health, ({ database, status }) => [
              `Daemon: ${status} (${daemon})`,
              `Database: ${database.path}`,
              `  Tables: ${database.table_count}`,
              `  Size:   ${database.size_bytes} bytes`
            ])
          ),
          Effect.catchTag("Degraded", ({ message: error, status, version, database }) =>
            Effect.succeed(
              Effect.zipRight(
                print(output, { status, version, error, database }, () => [`Daemon: ${status} (${daemon})`]),
                new CommandFailed({
                  lines: ["Error: the daemon is not well", `  ${error}`],
                  exitCode: ExitCode.failure,
                  ...(requestId !== undefined && { requestId })
                })
              )
            )
          )
        ),
      {
        onServerError: (id) => {
          requestId = id
        }
      }
    )
    yield* show
  })
).pipe(Command.withDescription("Show whether the daemon and its database are well"))
