import * as Data from "effect/Data"
import { AnswerTooLarge } from "../../../client/AnswerBody.js"
import { type Address, formatAddress } from "../../../domain/Address.js"
import { preview } from "../../../domain/Schemas.js"
import type { CallError } from "../../../http/CallError.js"
import { ExitCode } from "../../../runtime/ExitCode.js"
import { systemErrorMessage } from "../../../runtime/SystemError.js"
import { MissingRoute } from "./MissingRoute.js"

/** The lines on stderr and the exit code of a failed command. */
export class CommandFailed extends Data.TaggedError("CommandFailed")<{
  readonly lines: ReadonlyArray<string>
  readonly exitCode: ExitCode
  readonly daemon?: Readonly<Record<string, unknown>>
  readonly requestId?: string
}> {}

const failed = (exitCode: ExitCode, ...lines: ReadonlyArray<string>) =>
  new CommandFailed({ lines: lines.map((line, index) => (index === 0 ? `Error: ${line}` : `  ${line}`)), exitCode })

/** A command line or settings that can't be used. */
export const usageError = (line: string, ...hints: ReadonlyArray<string>): CommandFailed =>
  failed(ExitCode.usage, line, ...hints)

/** Printed if nothing listens at the address; for any other reason that reason is printed. */
const notRunning = [
  "  The daemon does not appear to be running.",
  "",
  "  Start it: systemctl --user start nexus.service"
] as const

const unreachable = (address: Address, reason: string | undefined) =>
  new CommandFailed({
    lines: [
      `Error: cannot connect to Nexus daemon at ${formatAddress(address)}`,
      ...(reason === undefined ? notRunning : [`  ${reason}`])
    ],
    exitCode: ExitCode.unreachable
  })

/** Explains the error code of a failed request; `undefined` if nothing listens. */
const connectReason = (address: Address, cause: unknown): string | undefined => {
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : ""
  const host = "path" in address ? address.path : address.host
  switch (code) {
    case "ECONNREFUSED":
    case "ENOENT":
    case "ENOTDIR":
      return undefined
    case "ENOTFOUND":
      return `Unknown host ${preview(host)}: check the address.`
    case "EAI_AGAIN":
      return `Host ${preview(host)} can't be resolved at present: the name server does not answer.`
    case "ECONNRESET":
    case "EPIPE":
      return "The connection was closed before an answer came."
    case "HPE_HEADER_OVERFLOW":
      return "The head of the answer is larger than 16 KiB: what listens there is not nexusd."
    default:
      return code.startsWith("HPE_")
        ? "What listens there does not speak HTTP, or is not nexusd."
        : `The connection failed: ${systemErrorMessage(cause)}.`
  }
}

/** Node.js reports a response that is cut off so. */
const isReset = (cause: unknown): boolean => cause instanceof Error && "code" in cause && cause.code === "ECONNRESET"

const tooLargeMessage = ({ maxBytes }: AnswerTooLarge): string =>
  `the daemon's answer is larger than ${maxBytes / 1_000_000} MB, the most that nexusctl reads: use vm list --limit N`

/** A call, for the message if it fails. */
export interface Attempt {
  /** The first line of the message: `cannot create VM "web"`. */
  readonly action: string
  /** The VM, as the user named it. */
  readonly vm?: string
  /** The command, if daemons of the step 4 plan lack its route: `vm start`. */
  readonly newCommand?: string
}

/** The daemon does not know what it was asked. */
export const tooOld = (what: string, ...hints: ReadonlyArray<string>) =>
  failed(ExitCode.failure, `this nexusd is too old for "${what}"`, ...hints)

/** What the daemon sent, if the error is its own. */
const daemonError = (error: CallError): Readonly<Record<string, unknown>> | undefined => {
  switch (error._tag) {
    case "DaemonTimeout":
    case "HttpApiDecodeError":
    case "NotModified":
    case "ParseError":
    case "RequestError":
    case "ResponseError":
      return undefined
    default:
      return { ...error, error: error.message }
  }
}

/** The failure of a command for each error of a call. `requestId` is that of an answer of status 5xx. */
export const toCommandFailure = (
  address: Address,
  attempt: Attempt,
  error: CallError,
  requestId?: string
): CommandFailed => {
  const { exitCode, lines } = explain(address, attempt, error)
  const daemon = daemonError(error)
  return new CommandFailed({
    lines,
    exitCode,
    ...(daemon !== undefined && { daemon }),
    ...(requestId !== undefined && { requestId })
  })
}

/** The message and exit code for each error of a call. */
const explain = (address: Address, { action, newCommand = action, vm }: Attempt, error: CallError): CommandFailed => {
  switch (error._tag) {
    case "DaemonTimeout":
      return unreachable(address, `No byte came for ${error.seconds} s; --timeout S waits longer.`)
    case "RequestError":
      return error.reason === "Transport"
        ? unreachable(address, connectReason(address, error.cause))
        : failed(ExitCode.failure, action, error.message)
    case "NotFound":
      return failed(ExitCode.notFound, vm === undefined ? error.message : `VM "${vm}" not found`)
    case "Conflict":
    case "PreconditionFailed":
      return failed(ExitCode.conflict, action, error.message)
    case "WaitTimeout":
      return failed(ExitCode.waitTimeout, action, error.message)
    case "ResponseError":
      if (error.cause instanceof MissingRoute) return tooOld(newCommand)
      if (isReset(error.cause)) {
        return failed(ExitCode.failure, action, "The connection was closed before the answer was complete.")
      }
      if (error.cause instanceof AnswerTooLarge) return failed(ExitCode.failure, action, tooLargeMessage(error.cause))
      return failed(ExitCode.failure, action, `the daemon's answer, of status ${error.response.status}, can't be read`)
    case "ParseError":
      return failed(ExitCode.failure, action, `what answers at ${formatAddress(address)} does not speak as nexusd does`)
    case "NotModified":
      return failed(ExitCode.failure, action, "the daemon's answer, of status 304, was not asked for")
    case "Unauthorized":
      return failed(ExitCode.failure, action, `${error.message} (NEXUS_TOKEN, or --token-file PATH)`)
    case "HttpApiDecodeError":
      return failed(ExitCode.failure, action, error.message)
    default:
      return failed(ExitCode.failure, action, error.message)
  }
}
