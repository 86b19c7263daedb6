import * as Command from "@effect/cli/Command"
import * as Effect from "effect/Effect"
import { printLines } from "../../../runtime/StandardStreams.js"
import { hidden } from "../../runner/CommandTree.js"
import { completeContexts } from "../../runner/completions/CompletedCommand.js"
import { Daemon } from "../daemon/DaemonClient.js"

/** `nexusctl complete-contexts`, for the completion scripts: prints the names of contexts, one on each line. */
export const completeContextsCommand = hidden(
  Command.make(completeContexts, {}, () =>
    Effect.gen(function* () {
      const { settings } = yield* Daemon
      yield* printLines((yield* settings).contexts)
    })
  )
)
