import type { HttpApiDecodeError } from "@effect/platform/HttpApiError"
import type * as HttpClientError from "@effect/platform/HttpClientError"
import * as Data from "effect/Data"
import type * as ParseResult from "effect/ParseResult"
import { type Address, formatAddress } from "../domain/Address.js"
import type { ApiError } from "../http/ApiErrors.js"
import { ExitCode } from "../system/ExitCode.js"

/** A failed command as its user sees it: the lines on stderr, and the exit code. */
export class CommandFailed extends Data.TaggedError("CommandFailed")<{
  readonly lines: ReadonlyArray<string>
  readonly exitCode: ExitCode
}> {}

/** The daemon took the call and said nothing. */
export class DaemonSilent extends Data.TaggedError("DaemonSilent") {}

/** Whatever a call of the client can fail with. */
export type CallError =
  | ApiError
  | HttpApiDecodeError
  | HttpClientError.HttpClientError
  | ParseResult.ParseError
  | DaemonSilent

const failed = (exitCode: ExitCode, ...lines: ReadonlyArray<string>) =>
  new CommandFailed({ lines: lines.map((line, index) => (index === 0 ? `Error: ${line}` : `  ${line}`)), exitCode })

/** The daemon can't be reached. */
const unreachable = (address: Address) =>
  new CommandFailed({
    lines: [
      `Error: cannot connect to Nexus daemon at ${formatAddress(address)}`,
      "  The daemon does not appear to be running.",
      "",
      "  Start it: systemctl --user start nexus.service"
    ],
    exitCode: ExitCode.unreachable
  })

/** What could not be done, as the first line of the message says it: `cannot create VM "web"`. */
export interface Attempt {
  readonly doing: string
  /** The VM it was done to, as the user named it. */
  readonly vm?: string
}

/** The table of what goes wrong with a call: its message and exit code. */
export const explainCall = (address: Address, { doing, vm }: Attempt, error: CallError): CommandFailed => {
  switch (error._tag) {
    case "DaemonSilent":
      return unreachable(address)
    case "RequestError":
      return error.reason === "Transport" ? unreachable(address) : failed(ExitCode.failure, doing, error.message)
    case "NotFound":
      return failed(ExitCode.notFound, vm === undefined ? error.error : `VM "${vm}" not found`)
    case "Conflict":
      return failed(ExitCode.conflict, doing, error.error)
    case "ResponseError":
      return failed(ExitCode.failure, doing, `the daemon's answer, of status ${error.response.status}, can't be read`)
    case "ParseError":
      return failed(ExitCode.failure, doing, `what answers at ${formatAddress(address)} does not speak as nexusd does`)
    case "Unauthorized":
      return failed(ExitCode.failure, doing, `${error.error} (NEXUS_TOKEN, or --token-file PATH)`)
    case "HttpApiDecodeError":
      return failed(ExitCode.failure, doing, error.message)
    default:
      return failed(ExitCode.failure, doing, error.error)
  }
}
