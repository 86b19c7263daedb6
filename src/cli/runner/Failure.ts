import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { ExitCode } from "../../runtime/ExitCode.js"
import { printErrorJson, printErrorLines } from "../../runtime/StandardStreams.js"

/** How a command failed: the lines on stderr and the exit code. */
export interface Failure {
  readonly lines: ReadonlyArray<string>
  readonly exitCode: ExitCode
  /** The daemon's own error, as far as there is one. */
  readonly daemon?: Readonly<Record<string, unknown>> | undefined
  /** The id under which the daemon's log has more. */
  readonly requestId?: string | undefined
}

/** Whether failures are printed as lines for people, or as JSON for programs. */
export class FailureFormat extends Context.Reference<FailureFormat>()("nexus/FailureFormat", {
  defaultValue: (): "lines" | "json" => "lines"
}) {}

/** `{"error": "…", "exit_code": 4, "request_id": "…", "daemon": {"error": "…", "_tag": "NotFound"}}` */
const toJson = ({ daemon, exitCode, lines, requestId }: Failure) => {
  const texts = lines.map((line) => line.trim().replace(/^Error: /, "")).filter((line) => line !== "")
  return {
    error: texts.join("\n"),
    exit_code: exitCode,
    ...(requestId !== undefined && { request_id: requestId }),
    ...(daemon !== undefined && { daemon })
  }
}

/** Prints a failure on stderr. One that was reported before has no lines. */
export const reportFailure = (failure: Failure): Effect.Effect<void> =>
  Effect.flatMap(FailureFormat, (format) => {
    const { lines, requestId } = failure
    if (lines.length === 0) return Effect.void
    if (format === "json") return printErrorJson(toJson(failure))
    return printErrorLines(requestId === undefined ? lines : [...lines, `  Request id, for nexusd's log: ${requestId}`])
  })
