import { Server } from "@modelcontextprotocol/sdk/server/index.js"
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js"
import {
  CallToolRequestSchema,
  type CallToolResult,
  ErrorCode,
  ListToolsRequestSchema,
  McpError
} from "@modelcontextprotocol/sdk/types.js"
import * as Effect from "effect/Effect"
import { version } from "../../../domain/Version.js"
import { writeStderr } from "../../../runtime/StandardStreams.js"
import { escapeText } from "../../../runtime/TerminalText.js"
import type { CommandFailed } from "../daemon/CommandFailure.js"
import type { DaemonClient } from "../daemon/DaemonClient.js"
import type { InvalidArguments, Tool } from "./Tool.js"
import { vmTools } from "./VmTools.js"

const instructions =
  "Tools for the microVMs of a Nexus daemon. A VM is named by its name or id. A tool fails with the daemon's own message; if the daemon can't be reached, the tools work again once it is back."

/** Lines of the command line's failure, without what is for a terminal. */
const failureText = (error: CommandFailed | InvalidArguments): string =>
  (error._tag === "InvalidArguments" ? error.issues : error.lines)
    .map((line) => line.replace(/^Error: /, "").trim())
    .filter((line) => line !== "")
    .join("\n")

const failed = (error: CommandFailed | InvalidArguments): CallToolResult => ({
  content: [{ type: "text", text: failureText(error) }],
  isError: true
})

/** Clients that know no structured results read the text. */
const succeeded = (result: Readonly<Record<string, unknown>>): CallToolResult => ({
  content: [{ type: "text", text: typeof result["log"] === "string" ? result["log"] : JSON.stringify(result) }],
  structuredContent: result
})

/**
 * Serves the tools over the Model Context Protocol on stdin and stdout, until stdin ends or stdout is closed. What goes
 * wrong with the protocol itself is logged to stderr.
 */
export const serve = (daemon: DaemonClient, { isReadOnly }: { readonly isReadOnly: boolean }): Effect.Effect<void> =>
  Effect.async<void>((resume) => {
    const tools: ReadonlyMap<string, Tool> = new Map(
      vmTools.filter(({ annotations }) => annotations.readOnlyHint || !isReadOnly).map((tool) => [tool.name, tool])
    )
    const server = new Server({ name: "nexus", title: "Nexus", version }, { capabilities: { tools: {} }, instructions })
    server.setRequestHandler(ListToolsRequestSchema, () => ({
      tools: Array.from(tools.values(), ({ call: _, ...definition }) => definition)
    }))
    server.setRequestHandler(CallToolRequestSchema, ({ params }, { signal }) => {
      const tool = tools.get(params.name)
      if (tool === undefined) throw new McpError(ErrorCode.InvalidParams, `there is no tool ${params.name}`)
      const result = tool
        .call(daemon, params.arguments ?? {})
        .pipe(Effect.match({ onSuccess: succeeded, onFailure: failed }))
      return Effect.runPromise(result, { signal })
    })
    const close = () => void server.close()
    server.onerror = ({ message }) => writeStderr(`nexusctl mcp: ${escapeText(message)}\n`)
    server.onclose = () => resume(Effect.void)
    process.stdin.once("end", close)
    process.stdout.on("error", close)
    server.connect(new StdioServerTransport()).catch((error) => resume(Effect.die(error)))
    return Effect.promise(() => server.close())
  })
