import * as HttpApiSchema from "@effect/platform/HttpApiSchema"
import * as Schema from "effect/Schema"
import { Conflict, NotFound, StoreUnavailable } from "../domain/Errors.js"
import { DatabaseStatus } from "../domain/Health.js"

const forPeople = Schema.String.annotations({ description: "What went wrong, for people" })

/** One field of the request that was wrong. */
const Issue = Schema.Struct({
  path: Schema.String.annotations({ description: "The field, its parts joined by dots; empty for the whole" }),
  message: Schema.String
})

/** The request can't be understood: malformed JSON, or a field or parameter that is missing, bad or unknown. */
export class BadRequest extends Schema.TaggedError<BadRequest>("nexus/BadRequest")("BadRequest", {
  error: forPeople,
  issues: Schema.optionalWith(Schema.Array(Issue), { exact: true })
}) {
  override get message() {
    return this.error
  }
}

/** The request comes from a web page elsewhere, or asks for another host. */
export class Forbidden extends Schema.TaggedError<Forbidden>("nexus/Forbidden")("Forbidden", { error: forPeople }) {
  override get message() {
    return this.error
  }
}

/** The daemon asks for a token, and the request has none or another. */
export class Unauthorized extends Schema.TaggedError<Unauthorized>("nexus/Unauthorized")("Unauthorized", {
  error: forPeople
}) {
  override get message() {
    return this.error
  }
}

/** More requests are under way than the daemon takes on at once. */
export class Overloaded extends Schema.TaggedError<Overloaded>("nexus/Overloaded")("Overloaded", {
  error: forPeople
}) {
  override get message() {
    return this.error
  }
}

/** Nothing is served at this path. */
export class RouteNotFound extends Schema.TaggedError<RouteNotFound>("nexus/RouteNotFound")("RouteNotFound", {
  error: forPeople
}) {}

/** Something is served at this path, but not with this method. */
export class MethodNotAllowed extends Schema.TaggedError<MethodNotAllowed>("nexus/MethodNotAllowed")(
  "MethodNotAllowed",
  { error: forPeople, allowed: Schema.Array(Schema.String) }
) {}

/** The body is larger than a request may be. */
export class PayloadTooLarge extends Schema.TaggedError<PayloadTooLarge>("nexus/PayloadTooLarge")("PayloadTooLarge", {
  error: forPeople
}) {
  override get message() {
    return this.error
  }
}

/** The body is not said to be `application/json`. */
export class UnsupportedMediaType extends Schema.TaggedError<UnsupportedMediaType>("nexus/UnsupportedMediaType")(
  "UnsupportedMediaType",
  { error: forPeople }
) {
  override get message() {
    return this.error
  }
}

/** The request expects what this daemon does not do (RFC 9110, 10.1.1). */
export class ExpectationFailed extends Schema.TaggedError<ExpectationFailed>("nexus/ExpectationFailed")(
  "ExpectationFailed",
  { error: forPeople }
) {}

/** The request's head or its body did not arrive in time. */
export class RequestTimeout extends Schema.TaggedError<RequestTimeout>("nexus/RequestTimeout")("RequestTimeout", {
  error: forPeople
}) {}

/** The request's head is larger than a request's may be. */
export class HeadTooLarge extends Schema.TaggedError<HeadTooLarge>("nexus/HeadTooLarge")("HeadTooLarge", {
  error: forPeople
}) {}

/** The request uses a part of HTTP that this daemon does not implement. */
export class NotImplemented extends Schema.TaggedError<NotImplemented>("nexus/NotImplemented")("NotImplemented", {
  error: forPeople
}) {}

/** A bug in the daemon. What happened is in its log, under the request's id. */
export class InternalError extends Schema.TaggedError<InternalError>("nexus/InternalError")("InternalError", {
  error: forPeople,
  request_id: Schema.optionalWith(Schema.String, { exact: true })
}) {
  override get message() {
    return this.error
  }
}

/** Health's answer when the store does not answer. */
export class Degraded extends Schema.TaggedError<Degraded>("nexus/Degraded")("Degraded", {
  status: Schema.optionalWith(Schema.Literal("degraded"), { default: () => "degraded" }),
  error: forPeople,
  version: Schema.optionalWith(Schema.String, { exact: true }),
  database: Schema.optionalWith(Schema.partial(DatabaseStatus), { exact: true })
}) {
  override get message() {
    return this.error
  }
}

/**
 * An error as it is sent: its status, and a body. Existing daemons send `error` alone, so that `_tag` may be missing;
 * what only this daemon sends is told apart by its `_tag`.
 */
const wire = <Self, Tag extends string, F extends Schema.Struct.Fields>(
  status: number,
  error: Schema.TaggedErrorClass<Self, Tag, F>,
  description: string,
  options?: { readonly tagged: true }
) => {
  const tag = Schema.Literal(error._tag).annotations({ description: "The error's name, for programs" })
  const body = Schema.Struct({
    ...error.fields,
    _tag: options?.tagged ? tag : Schema.optionalWith(tag, { default: () => error._tag })
  })
  return Schema.compose(body, error, { strict: false }).annotations({
    ...HttpApiSchema.annotations({ status, description }),
    identifier: error._tag
  })
}

/** Every error that Nexus sends, with its status: the one place where the two meet. */
export const ApiErrors = {
  BadRequest: wire(400, BadRequest, "The request is malformed, or a field or parameter is missing, bad or unknown"),
  Unauthorized: wire(401, Unauthorized, "The daemon asks for a token, and the request has none or another", {
    tagged: true
  }),
  Forbidden: wire(403, Forbidden, "The request comes from a web page elsewhere, or asks for another host", {
    tagged: true
  }),
  NotFound: wire(404, NotFound, "No VM has that name or id"),
  RouteNotFound: wire(404, RouteNotFound, "Nothing is served at this path", { tagged: true }),
  MethodNotAllowed: wire(405, MethodNotAllowed, "This path does not take this method", { tagged: true }),
  RequestTimeout: wire(408, RequestTimeout, "The request did not arrive in time", { tagged: true }),
  Conflict: wire(409, Conflict, "The records as they stand forbid the change"),
  PayloadTooLarge: wire(413, PayloadTooLarge, "The body is larger than 1 MiB", { tagged: true }),
  UnsupportedMediaType: wire(415, UnsupportedMediaType, "The body is not application/json", { tagged: true }),
  ExpectationFailed: wire(417, ExpectationFailed, "The request expects what this daemon does not do", { tagged: true }),
  HeadTooLarge: wire(431, HeadTooLarge, "The request's head is larger than 16 KiB", { tagged: true }),
  InternalError: wire(500, InternalError, "A bug in the daemon; its log has more, under the request's id"),
  NotImplemented: wire(501, NotImplemented, "The request's transfer coding is not implemented", { tagged: true }),
  Overloaded: wire(503, Overloaded, "Too many requests are under way; Retry-After says when to come again", {
    tagged: true
  }),
  StoreUnavailable: wire(503, StoreUnavailable, "The store does not answer; nothing was changed"),
  Degraded: wire(503, Degraded, "The daemon runs, but its store does not answer")
} as const

export type ApiError = (typeof ApiErrors)[keyof typeof ApiErrors]["Type"]

const AnyApiError = Schema.Union(...Object.values(ApiErrors))
export const isApiError = Schema.is(AnyApiError)
const encode = Schema.encodeSync(AnyApiError)

/** The status of an error, and its body. */
export const toWire = (error: ApiError): { readonly status: number; readonly body: object } => ({
  status: HttpApiSchema.getStatusErrorAST(ApiErrors[error._tag].ast),
  body: encode(error)
})
