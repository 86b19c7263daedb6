import * as HttpApiSchema from "@effect/platform/HttpApiSchema"
import { identity } from "effect/Function"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import { errorMessage } from "../domain/Errors.js"

/** One field of the request that was wrong. */
const Issue = Schema.Struct({
  path: Schema.String.annotations({ description: "The field, its parts joined by dots; empty for the whole" }),
  message: Schema.String
})

/** The request can't be understood: malformed JSON, or a field or parameter that is missing, bad or unknown. */
export class BadRequest extends Schema.TaggedError<BadRequest>("nexus/BadRequest")("BadRequest", {
  message: errorMessage,
  issues: Schema.optionalWith(Schema.Array(Issue), { exact: true })
}) {}

/** The request comes from a web page elsewhere, or asks for another host. */
export class Forbidden extends Schema.TaggedError<Forbidden>("nexus/Forbidden")("Forbidden", {
  message: errorMessage
}) {}

/** The daemon asks for a token, and the request has none or another. */
export class Unauthorized extends Schema.TaggedError<Unauthorized>("nexus/Unauthorized")("Unauthorized", {
  message: errorMessage
}) {}

/** More requests are under way than the daemon takes on at once. */
export class Overloaded extends Schema.TaggedError<Overloaded>("nexus/Overloaded")("Overloaded", {
  message: errorMessage
}) {}

/** Nothing is served at this path. */
export class RouteNotFound extends Schema.TaggedError<RouteNotFound>("nexus/RouteNotFound")("RouteNotFound", {
  message: errorMessage
}) {}

/** Something is served at this path, but not with this method. */
export class MethodNotAllowed extends Schema.TaggedError<MethodNotAllowed>("nexus/MethodNotAllowed")(
  "MethodNotAllowed",
  { message: errorMessage, allowed: Schema.Array(Schema.String) }
) {}

/** The body is larger than a request may be. */
export class PayloadTooLarge extends Schema.TaggedError<PayloadTooLarge>("nexus/PayloadTooLarge")("PayloadTooLarge", {
  message: errorMessage
}) {}

/** The body is not said to be `application/json`. */
export class UnsupportedMediaType extends Schema.TaggedError<UnsupportedMediaType>("nexus/UnsupportedMediaType")(
  "UnsupportedMediaType",
  { message: errorMessage }
) {}

/** The request expects what this daemon does not do (RFC 9110, 10.1.1). */
export class ExpectationFailed extends Schema.TaggedError<ExpectationFailed>("nexus/ExpectationFailed")(
  "ExpectationFailed",
  { message: errorMessage }
) {}

/** The request's head or its body did not arrive in time. */
export class RequestTimeout extends Schema.TaggedError<RequestTimeout>("nexus/RequestTimeout")("RequestTimeout", {
  message: errorMessage
}) {}

/** The request's head is larger than a request's may be. */
export class HeadTooLarge extends Schema.TaggedError<HeadTooLarge>("nexus/HeadTooLarge")("HeadTooLarge", {
  message: errorMessage
}) {}

/** The request uses a part of HTTP that this daemon does not implement. */
export class NotImplemented extends Schema.TaggedError<NotImplemented>("nexus/NotImplemented")("NotImplemented", {
  message: errorMessage
}) {}

/** A bug in the daemon. What happened is in its log, under the request's id. */
export class InternalError extends Schema.TaggedError<InternalError>("nexus/InternalError")("InternalError", {
  message: errorMessage,
  request_id: Schema.optionalWith(Schema.String, { exact: true })
}) {}

/** An error as it is sent: its fields, where daemons of the step 4 plan leave out `_tag`. */
type Sent<Tag extends string, F extends Schema.Struct.Fields> = Omit<Schema.Struct.Encoded<F>, "_tag"> & {
  readonly _tag?: Tag
}

/**
 * An error class as it is sent, with its status. Daemons of the step 4 plan send `error` alone, so `_tag` may be missing;
 * an error that only this daemon sends is recognised by its `_tag`. Built of syntax trees, since there are 26 errors, and
 * combining schemas (`extend`, `compose`) took a tenth of the modules' load time.
 */
export const httpError = <Self, Tag extends string, F extends Schema.Struct.Fields>(
  status: number,
  error: Schema.TaggedErrorClass<Self, Tag, F>,
  description: string,
  options?: { readonly tagged: true }
): Schema.Schema<Self, Sent<Tag, F>, Schema.Struct.Context<F>> => {
  const tag = new SchemaAST.PropertySignature(
    "_tag",
    new SchemaAST.Literal(error._tag, { [SchemaAST.DescriptionAnnotationId]: "The error's name, for programs" }),
    options?.tagged !== true,
    true
  )
  const fields = SchemaAST.getPropertySignatures(SchemaAST.encodedAST(error.ast)).filter(({ name }) => name !== "_tag")
  const transformation = new SchemaAST.TypeLiteralTransformation([
    new SchemaAST.PropertySignatureTransformation(
      "_tag",
      "_tag",
      (sent) => Option.orElseSome(sent, () => error._tag),
      identity
    )
  ])
  return Schema.make(
    new SchemaAST.Transformation(new SchemaAST.TypeLiteral([...fields, tag], []), error.ast, transformation, {
      ...HttpApiSchema.annotations({ status }),
      [SchemaAST.DescriptionAnnotationId]: description,
      [SchemaAST.IdentifierAnnotationId]: error._tag
    })
  )
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
  Overloaded: httpError(
    503,
    Overloaded,
    "Too many requests are under way, or the daemon is stopping; Retry-After says when to come again",
    {
      tagged: true
    }
  )
} as const
/** Any error that the server itself sends. */
export type HttpError = (typeof HttpErrors)[keyof typeof HttpErrors]["Type"]
