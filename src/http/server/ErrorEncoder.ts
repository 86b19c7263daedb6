import * as HttpApiSchema from "@effect/platform/HttpApiSchema"
import * as Schema from "effect/Schema"
import type * as SchemaAST from "effect/SchemaAST"
import { type HttpError, HttpErrors } from "../HttpErrors.js"
import type { Headers } from "./HttpResponse.js"

/** An error as it is sent. */
export interface EncodedError {
  readonly status: number
  readonly headers: Headers
  readonly body: object
}

/** RFC 9110, 10.2.1 and 10.2.3; RFC 6750, 3. */
const headersOf = (error: HttpError): Headers => {
  switch (error._tag) {
    case "MethodNotAllowed":
      return { allow: error.allowed.join(", ") }
    case "Overloaded":
      return { "retry-after": "1" }
    case "Unauthorized":
      return { "www-authenticate": 'Bearer realm="nexus"' }
    default:
      return {}
  }
}

const encode = Schema.encodeSync(Schema.Union(...Object.values(HttpErrors)))

/** Encodes an error that this server sends by itself. */
export const encodeHttpError = (error: HttpError): EncodedError => ({
  status: HttpApiSchema.getStatusErrorAST(HttpErrors[error._tag].ast),
  headers: headersOf(error),
  body: encode(error)
})

const isHttpError = Schema.is(Schema.Union(...Object.values(HttpErrors)))

/** Encodes an error; returns nothing for a value that is not declared. */
export type ErrorEncoder = (error: unknown) => EncodedError | undefined

/** An encoder of the errors that this server sends by itself and of those that a definition declares. */
export const makeErrorEncoder = (statuses: ReadonlyMap<SchemaAST.AST, number>): ErrorEncoder => {
  const encoders = Array.from(statuses, ([ast, status]) => {
    const schema = Schema.make<object, object>(ast)
    return { status, isInstance: Schema.is(schema), encode: Schema.encodeSync(schema) }
  })
  return (error) => {
    if (isHttpError(error)) return encodeHttpError(error)
    for (const { encode, isInstance, status } of encoders) {
      if (isInstance(error)) return { status, headers: {}, body: encode(error) }
    }
    return undefined
  }
}
