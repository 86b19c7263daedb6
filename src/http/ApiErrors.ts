import * as Schema from "effect/Schema"
import {
  Conflict,
  errorMessage,
  NotFound,
  StartFailed,
  StoreUnavailable,
  VmmUnavailable,
  WaitTimeout
} from "../domain/Errors.js"
import { DatabaseStatus } from "../domain/Health.js"
import { HttpErrors, httpError } from "./HttpErrors.js"

/** Health's answer when the store does not answer. */
export class Degraded extends Schema.TaggedError<Degraded>("nexus/Degraded")("Degraded", {
  status: Schema.optionalWith(Schema.Literal("degraded"), { default: () => "degraded" }),
  message: errorMessage,
  version: Schema.optionalWith(Schema.String, { exact: true }),
  database: Schema.optionalWith(Schema.partial(DatabaseStatus), { exact: true })
}) {}

/** Every error that Nexus sends, with its status: the one place where the two meet. */
export const ApiErrors = {
  ...HttpErrors,
  NotFound: httpError(404, NotFound, "No VM has that name or id"),
  Conflict: httpError(409, Conflict, "The records as they stand forbid the change"),
  StoreUnavailable: httpError(503, StoreUnavailable, "The store does not answer; nothing was changed"),
  StartFailed: httpError(500, StartFailed, "The VMM ended or refused before the guest ran; the state is `failed`", {
    tagged: true
  }),
  VmmUnavailable: httpError(503, VmmUnavailable, "No VMM, or no usable /dev/kvm, is found; the state stays", {
    tagged: true
  }),
  WaitTimeout: httpError(408, WaitTimeout, "The VM reached none of the states in time", { tagged: true }),
  Degraded: httpError(503, Degraded, "The daemon runs, but its store does not answer")
} as const
export type ApiError = (typeof ApiErrors)[keyof typeof ApiErrors]["Type"]
