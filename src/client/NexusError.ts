import * as HttpApiSchema from "@effect/platform/HttpApiSchema"
import type * as HttpClientError from "@effect/platform/HttpClientError"
import { type Address, formatAddress } from "../domain/Address.js"
import { type ApiError, ApiErrors } from "../http/ApiErrors.js"
import type { CallError } from "../http/CallError.js"
import type { BadRequest } from "../http/HttpErrors.js"
import { systemErrorMessage } from "../runtime/SystemError.js"
import { AnswerTooLarge } from "./AnswerBody.js"

/**
 * The kinds of errors: those of the API (docs/api.md), such as `NotFound` and `Conflict`, and those of the client.
 *
 * - `Unreachable`: nothing listens at the address, or no answer came.
 * - `UnexpectedAnswer`: the answer is not one of nexusd, or was cut off.
 * - `InvalidAddress`: `connect` can't read the address.
 * - `Closed`: the client was closed before the call had ended.
 */
export type NexusErrorTag =
  | Exclude<ApiError["_tag"], "NotModified">
  | "Unreachable"
  | "UnexpectedAnswer"
  | "InvalidAddress"
  | "Closed"

/** Why a call failed. */
export class NexusError extends Error {
  override readonly name = "NexusError"
  /** The kind of error, for programs. */
  readonly _tag: NexusErrorTag
  /** The HTTP status; `undefined` if there was no answer. */
  readonly status: number | undefined
  /** The fields that are wrong, of a `BadRequest`. */
  readonly issues: NonNullable<BadRequest["issues"]>

  constructor(
    _tag: NexusErrorTag,
    message: string,
    options: { readonly status?: number; readonly issues?: BadRequest["issues"]; readonly cause?: unknown } = {}
  ) {
    super(message, { cause: options.cause })
    this._tag = _tag
    this.status = options.status
    this.issues = options.issues ?? []
  }
}

const unreachable = (address: Address, reason: string, cause: unknown) =>
  new NexusError("Unreachable", `cannot reach nexusd at ${formatAddress(address)}: ${reason}`, { cause })

const unexpected = (address: Address, reason: string, cause: unknown, status?: number) =>
  new NexusError("UnexpectedAnswer", `unexpected answer of ${formatAddress(address)}: ${reason}`, {
    cause,
    ...(status !== undefined && { status })
  })

const answerReason = ({ cause }: HttpClientError.ResponseError): string => {
  if (cause instanceof AnswerTooLarge) return `it is larger than ${cause.maxBytes / 1_000_000} MB`
  return cause === undefined ? "nexusd has no such answer" : systemErrorMessage(cause)
}

/** Turns an error of the daemon at `address` into one for programs without Effect. */
export const toNexusError =
  (address: Address) =>
  (error: CallError): NexusError => {
    switch (error._tag) {
      case "RequestError":
        return unreachable(address, systemErrorMessage(error.cause), error)
      case "DaemonTimeout":
        return unreachable(address, `no byte came for ${error.seconds} s`, error)
      case "ResponseError":
        return unexpected(address, answerReason(error), error, error.response.status)
      case "ParseError":
      case "HttpApiDecodeError":
        return unexpected(address, error.message, error)
      case "NotModified":
        return unexpected(address, "304 was not asked for", error, 304)
      default:
        return new NexusError(error._tag, error.message, {
          status: HttpApiSchema.getStatusError(ApiErrors[error._tag]),
          ...("issues" in error && { issues: error.issues }),
          cause: error
        })
    }
  }
