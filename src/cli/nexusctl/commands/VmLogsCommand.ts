import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { LogTail, logTailDefault } from "../../../domain/VmRequests.js"
import { isTerminal, writeStdout } from "../../../runtime/StandardStreams.js"
import { makeLogEscaper } from "../../../runtime/TerminalText.js"
import { schemaOption } from "../../runner/SchemaOption.js"
import { DaemonClient } from "../daemon/DaemonClient.js"
import { nameOrId } from "./SeveralVms.js"

export const logsCommand = Command.make(
  "logs",
  {
    vm: nameOrId,
    tail: schemaOption("tail", "N", LogTail, logTailDefault),
    follow: Options.boolean("follow").pipe(
      Options.withAlias("f"),
      Options.withDescription("Show what the guest prints until the VM stops")
    )
  },
  ({ follow, tail, vm }) =>
    Effect.gen(function* () {
      const { call } = yield* DaemonClient
      // Into a pipe or a file the bytes go out unchanged.
      const escape = isTerminal() ? makeLogEscaper() : undefined
      const end = yield* call(
        { action: `cannot read the log of VM "${vm}"`, vm, newCommand: "vm logs" },
        (client) =>
          Effect.flatMap(
            client.logStream({ path: { nameOrId: vm }, urlParams: { tail, ...(follow && { follow: "true" }) } }),
            Stream.runForEachWhile((chunk) => writeStdout(escape?.(chunk) ?? chunk))
          ).pipe(
            Effect.as(Effect.void),
            Effect.catchTag("OutputFailed", (failed) => Effect.succeed(Effect.fail(failed)))
          ),
        follow ? { silenceSeconds: "unlimited" } : {}
      )
      yield* end
      if (escape !== undefined) yield* writeStdout(escape())
    })
).pipe(Command.withDescription("Show the console log of a VM"))
