import * as HttpApiSchema from "@effect/platform/HttpApiSchema"
import * as Schema from "effect/Schema"

/** What went wrong, for people. */
export const errorText = Schema.String.annotations({ description: "What went wrong, for people" })

/** One field of the request that was wrong. */
const Issue = Schema.Struct({
  path: Schema.String.annotations({ description: "The field, its parts joined by dots; empty for the whole" }),
  message: Schema.String
})

/** The request can't be understood: malformed JSON, or a field or parameter that is missing, bad or unknown. */
export class BadRequest extends Schema.TaggedError<BadRequest>("nexus/BadRequest")("BadRequest", {
  error: errorText,
  issues: Schema.optionalWith(Schema.Array(Issue), { exact: true })
}) {
  override get message() {
    return this.error
  }
}

/** The request comes from a web page elsewhere, or asks for another host. */
export class Forbidden extends Schema.TaggedError<Forbidden>("nexus/Forbidden")("Forbidden", { error: errorText }) {
  override get message() {
    return this.error
  }
}

/** The daemon asks for a token, and the request has none or another. */
export class Unauthorized extends Schema.TaggedError<Unauthorized>("nexus/Unauthorized")("Unauthorized", {
  error: errorText
}) {
  override get message() {
    return this.error
  }
}

/** More requests are under way than the daemon takes on at once. */
export class Overloaded extends Schema.TaggedError<Overloaded>("nexus/Overloaded")("Overloaded", {
  error: errorText
}) {
  override get message() {
    return this.error
  }
}

/** Nothing is served at this path. */
export class RouteNotFound extends Schema.TaggedError<RouteNotFound>("nexus/RouteNotFound")("RouteNotFound", {
  error: errorText
}) {}

/** Something is served at this path, but not with this method. */
export class MethodNotAllowed extends Schema.TaggedError<MethodNotAllowed>("nexus/MethodNotAllowed")(
  "MethodNotAllowed",
  { error: errorText, allowed: Schema.Array(Schema.String) }
) {}

/** The body is larger than a request may be. */
export class PayloadTooLarge extends Schema.TaggedError<PayloadTooLarge>("nexus/PayloadTooLarge")("PayloadTooLarge", {
  error: errorText
}) {
  override get message() {
    return this.error
  }
}

/** The body is not said to be `application/json`. */
export class UnsupportedMediaType extends Schema.TaggedError<UnsupportedMediaType>("nexus/UnsupportedMediaType")(
  "UnsupportedMediaType",
  { error: errorText }
) {
  override get message() {
    return this.error
  }
}

/** The request expects what this daemon does not do (RFC 9110, 10.1.1). */
export class ExpectationFailed extends Schema.TaggedError<ExpectationFailed>("nexus/ExpectationFailed")(
  "ExpectationFailed",
  { error: errorText }
) {}

/** The request's head or its body did not arrive in time. */
export class RequestTimeout extends Schema.TaggedError<RequestTimeout>("nexus/RequestTimeout")("RequestTimeout", {
  error: errorText
}) {}

/** The request's head is larger than a request's may be. */
export class HeadTooLarge extends Schema.TaggedError<HeadTooLarge>("nexus/HeadTooLarge")("HeadTooLarge", {
  error: errorText
}) {}

/** The request uses a part of HTTP that this daemon does not implement. */
export class NotImplemented extends Schema.TaggedError<NotImplemented>("nexus/NotImplemented")("NotImplemented", {
  error: errorText
}) {}

/** A bug in the daemon. What happened is in its log, under the request's id. */
export class InternalError extends Schema.TaggedError<InternalError>("nexus/InternalError")("InternalError", {
  error: errorText,
  request_id: Schema.optionalWith(Schema.String, { exact: true })
}) {
  override get message() {
    return this.error
  }
}

/**
 * An error as it is sent: its status, and a body. Existing daemons send `error` alone, so that `_tag` may be missing;
 * what only this daemon sends is told apart by its `_tag`.
 */
export const httpError = <Self, Tag extends string, F extends Schema.Struct.Fields>(
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

/** The errors that the server itself sends, with their statuses. */
export const HttpErrors = {
  BadRequest: httpError(
    400,
    BadRequest,
    "The request is malformed, or a field or parameter is missing, bad or unknown"
  ),
  Unauthorized: httpError(401, Unauthorized, "The daemon asks for a token, and the request has none or another", {
    tagged: true
  }),
  Forbidden: httpError(403, Forbidden, "The request comes from a web page elsewhere, or asks for another host", {
    tagged: true
  }),
  RouteNotFound: httpError(404, RouteNotFound, "Nothing is served at this path", { tagged: true }),
  MethodNotAllowed: httpError(405, MethodNotAllowed, "This path does not take this method", { tagged: true }),
  RequestTimeout: httpError(408, RequestTimeout, "The request did not arrive in time", { tagged: true }),
  PayloadTooLarge: httpError(413, PayloadTooLarge, "The body is larger than 1 MiB", { tagged: true }),
  UnsupportedMediaType: httpError(415, UnsupportedMediaType, "The body is not application/json", { tagged: true }),
  ExpectationFailed: httpError(417, ExpectationFailed, "The request expects what this daemon does not do", {
    tagged: true
  }),
  HeadTooLarge: httpError(431, HeadTooLarge, "The request's head is larger than 16 KiB", { tagged: true }),
  InternalError: httpError(500, InternalError, "A bug in the daemon; its log has more, under the request's id"),
  NotImplemented: httpError(501, NotImplemented, "The request's transfer coding is not implemented", { tagged: true }),
  Overloaded: httpError(503, Overloaded, "Too many requests are under way; Retry-After says when to come again", {
    tagged: true
  })
} as const
export type HttpError = (typeof HttpErrors)[keyof typeof HttpErrors]["Type"]
