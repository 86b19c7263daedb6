import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Effect from "effect/Effect"
import { DaemonClient } from "../daemon/DaemonClient.js"

export const mcpCommand = Command.make(
  "mcp",
  {
    isReadOnly: Options.boolean("read-only").pipe(Options.withDescription("Leave out the tools that change something"))
  },
  ({ isReadOnly }) =>
    Effect.gen(function* () {
      const daemon = yield* DaemonClient
      const { serve } = yield* Effect.promise(() => import("../mcp/McpServer.js"))
      yield* serve(daemon, { isReadOnly })
    })
).pipe(Command.withDescription("Serve the VMs as tools to agents, over the Model Context Protocol on stdin and stdout"))
