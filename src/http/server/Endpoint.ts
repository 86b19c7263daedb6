import type * as HttpApi from "@effect/platform/HttpApi"
import * as HttpApiSchema from "@effect/platform/HttpApiSchema"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import { truncate } from "../../domain/Schemas.js"
import { BadRequest } from "../HttpErrors.js"
import { HttpResponse } from "./HttpResponse.js"
import type { LongLived, Route, RouteInput } from "./Router.js"

/** An endpoint of a definition, as `HttpApi.reflect` describes it. */
export type ReflectedEndpoint = Parameters<Parameters<typeof HttpApi.reflect>[1]["onEndpoint"]>[0]

/** A handler whose types have been forgotten. */
export interface EndpointHandler {
  readonly handle: (request: never) => Effect.Effect<unknown, unknown>
  readonly isUninterruptible: boolean
  readonly longLived: LongLived | undefined
  /** Whether it needs no token. */
  readonly isPublic: boolean
}

/** Maximum number of issues reported. */
const maxIssues = 20

type Part = keyof RouteInput

const issueMessage = ({ _tag, message, path }: ParseResult.ArrayFormatterIssue, part: Part, input: RouteInput) => {
  if (path.length === 0) return _tag === "Type" ? "expected a JSON object" : message
  const isRepeated = part === "urlParams" && path.length === 1 && Array.isArray(input.urlParams[String(path[0])])
  return isRepeated && _tag !== "Unexpected" ? "given more than once" : message
}

/** An error that names each bad field of a part of the request. */
const badRequest = ({ issue }: ParseResult.ParseError, part: Part, input: RouteInput) => {
  const issues = ParseResult.ArrayFormatter.formatIssueSync(issue)
    .slice(0, maxIssues)
    .map((issue) => ({
      path: truncate(issue.path.map(String).join("."), 80),
      message: truncate(issueMessage(issue, part, input), 300)
    }))
  const lines = issues.map(({ message, path }) => (path === "" ? message : `${path}: ${message}`))
  return new BadRequest({ message: lines.join("; "), issues })
}

/** Fails at start for a definition that this server can't serve. A success is sent as it is, without encoding. */
const assertSupported = ({ endpoint, middleware, payloads, successes }: ReflectedEndpoint) => {
  const asts = Array.from(successes.values(), ({ ast }) => Option.toArray(ast)).flat()
  const unsupported = [
    [middleware.size > 0, "middleware"],
    [Array.from(payloads.values()).some(({ encoding }) => encoding.kind !== "Json"), "a payload that is not JSON"],
    [successes.size === 0, "no success"],
    [asts.some((ast) => SchemaAST.encodedBoundAST(ast) !== ast), "a success with another shape as JSON"]
  ] as const
  for (const [isPresent, what] of unsupported) {
    if (isPresent) throw new Error(`endpoint ${endpoint.name} has ${what}, which this server does not support`)
  }
}

const decoder = <A>(part: Part, schema: Option.Option<Schema.Schema<A, unknown>>) =>
  Option.toArray(schema).map((schema) => {
    const decode = Schema.decodeUnknownEither(schema)
    return { part, decode: (input: RouteInput) => decode(input[part]) }
  })

/** Most requests have none of the headers that a definition names: decoding them would be a tenth of a GET. */
const headersDecoder = <A>(schema: Option.Option<Schema.Schema<A, unknown>>) =>
  Option.toArray(schema).map((schema) => {
    const names = SchemaAST.getPropertySignatures(SchemaAST.encodedAST(schema.ast)).map(({ name }) => String(name))
    const decode = Schema.decodeUnknownEither(schema)
    const none = decode({})
    return {
      part: "headers" as const,
      decode: ({ headers }: RouteInput) => (names.some((name) => headers[name] !== undefined) ? decode(headers) : none)
    }
  })

/** Decoders of the parts of a request that the definition has a schema for. */
const decodersOf = ({ headersSchema, pathSchema, payloadSchema, urlParamsSchema }: ReflectedEndpoint["endpoint"]) => [
  ...decoder("path", pathSchema),
  ...decoder("urlParams", urlParamsSchema),
  ...headersDecoder(headersSchema),
  ...decoder("payload", payloadSchema)
]

/** The route of an endpoint: decodes the request by the definition's schemas and calls the handler. */
export const toRoute = (reflected: ReflectedEndpoint, handler: EndpointHandler): Route => {
  assertSupported(reflected)
  const { endpoint, errors, successes } = reflected
  const decoders = decodersOf(endpoint)
  const statuses = Array.from(successes.keys())
  // Errors without a body, such as 304, may be sent with headers.
  const emptyErrors = Array.from(errors).flatMap(([status, { ast }]) =>
    Option.exists(ast, HttpApiSchema.getEmptyDecodeable) ? [status] : []
  )
  const hasBody = Array.from(successes.values()).some(({ ast }) => Option.isSome(ast))
  // The definition that types a handler is the one that decodes its request.
  const handle = handler.handle as (request: Partial<Record<Part, unknown>>) => Effect.Effect<unknown, unknown>

  const toResponse = (success: unknown): HttpResponse<unknown, unknown> => {
    if (!(success instanceof HttpResponse)) return hasBody ? HttpResponse.value(success) : HttpResponse.empty()
    if (success.status === undefined || [...statuses, ...emptyErrors].includes(success.status)) return success
    throw new Error(`endpoint ${endpoint.name} does not declare the status ${success.status}`)
  }

  return {
    method: endpoint.method,
    path: endpoint.path,
    hasUrlParams: Option.isSome(endpoint.urlParamsSchema),
    payload: Option.match(endpoint.payloadSchema, {
      onNone: () => "none",
      onSome: (schema) => (Schema.is(schema)(undefined) ? "optional" : "required")
    }),
    defaultStatus: statuses[0] ?? 200,
    isUninterruptible: handler.isUninterruptible,
    longLived: handler.longLived,
    isPublic: handler.isPublic,
    handle: (input) => {
      const request: Partial<Record<Part, unknown>> = {}
      for (const { decode, part } of decoders) {
        const decoded = decode(input)
        if (decoded._tag === "Left") return badRequest(decoded.left, part, input)
        request[part] = decoded.right
      }
      return Effect.map(handle(request), toResponse)
    }
  }
}
