import type { HttpApiDecodeError } from "@effect/platform/HttpApiError"
import type * as HttpClientError from "@effect/platform/HttpClientError"
import type * as ParseResult from "effect/ParseResult"
import type { DaemonTimeout } from "../domain/Errors.js"
import type { ApiError } from "./ApiErrors.js"

/** Every error of a call. */
export type CallError =
  | ApiError
  | HttpApiDecodeError
  | HttpClientError.HttpClientError
  | ParseResult.ParseError
  | DaemonTimeout

/** Whether the same call may succeed later: the daemon was not reached, is busy or stopping, or its answer was cut off. */
export const isTransient = (error: CallError): boolean => {
  switch (error._tag) {
    case "DaemonTimeout":
    case "InternalError":
    case "Overloaded":
    case "RequestTimeout":
    case "StoreUnavailable":
      return true
    case "RequestError":
      return error.reason === "Transport"
    case "ResponseError":
      return error.response.status === 200 || error.response.status >= 500
    default:
      return false
  }
}
