import * as HttpApiSchema from "@effect/platform/HttpApiSchema"
import * as Schema from "effect/Schema"
import {
  Conflict,
  errorMessage,
  Gone,
  NotFound,
  PreconditionFailed,
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

/** The answer of `/readyz` when the store can't serve. It needs no token, so it does not say why. */
export class NotReady extends Schema.TaggedError<NotReady>("nexus/NotReady")("NotReady", { message: errorMessage }) {}

/**
 * The record has one of the entity tags of the request's If-None-Match (RFC 9110, 15.4.5).
 *
 * @public Named by the declarations of the client.
 */
export class NotModified extends HttpApiSchema.EmptyError<NotModified>()({ tag: "NotModified", status: 304 }) {}

/** Every error that Nexus sends, with its status: the one place where the two meet. */
export const ApiErrors = {
  ...HttpErrors,
  NotFound: httpError(404, NotFound, "No VM has that name or id"),
  Conflict: httpError(409, Conflict, "The records as they stand forbid the change"),
  NotModified: NotModified.annotations({ description: "The record has one of the entity tags" }),
  PreconditionFailed: httpError(412, PreconditionFailed, "The record is not the one that the request expects", {
    tagged: true
  }),
  StoreUnavailable: httpError(503, StoreUnavailable, "The store does not answer; nothing was changed"),
  StartFailed: httpError(500, StartFailed, "The VMM ended or refused before the guest ran; the state is `failed`", {
    tagged: true
  }),
  VmmUnavailable: httpError(503, VmmUnavailable, "No VMM, or no usable /dev/kvm, is found; the state stays", {
    tagged: true
  }),
  WaitTimeout: httpError(408, WaitTimeout, "The VM reached none of the states in time", { tagged: true }),
  Gone: httpError(410, Gone, "The events after that id are not known here, or no longer", { tagged: true }),
  NotReady: httpError(503, NotReady, "The store can't serve", { tagged: true }),
  Degraded: httpError(503, Degraded, "The daemon runs, but its store does not answer")
} as const
/** Any error that Nexus sends. */
export type ApiError = (typeof ApiErrors)[keyof typeof ApiErrors]["Type"]
