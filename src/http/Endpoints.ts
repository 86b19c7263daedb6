import * as HttpApi from "@effect/platform/HttpApi"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import { cut } from "../domain/Bounds.js"
import { Api } from "./Api.js"
import { type ApiError, BadRequest } from "./ApiErrors.js"
import type { Handlers, Success } from "./Handlers.js"
import { json, type Reply, text } from "./Reply.js"
import type { Input, Route } from "./Router.js"

/** More than these help nobody. */
const maxIssues = 20

/** Says of each field what is wrong with it. */
const badRequest = ({ issue }: ParseResult.ParseError) => {
  const issues = ParseResult.ArrayFormatter.formatIssueSync(issue)
    .slice(0, maxIssues)
    .map(({ _tag, message, path }) => ({
      path: cut(path.map(String).join("."), 80),
      message: _tag === "Type" && path.length === 0 ? "expected a JSON object" : cut(message, 300)
    }))
  const lines = issues.map(({ message, path }) => (path === "" ? message : `${path}: ${message}`))
  return new BadRequest({ error: lines.join("; "), issues })
}

/** Decodes a part of the request by what the definition has for it, which may be nothing. */
const decoder = <A>(schema: Option.Option<Schema.Schema<A, unknown>>, part: (input: Input) => unknown) => {
  if (Option.isNone(schema)) return () => Either.right(undefined)
  const decode = Schema.decodeUnknownEither(schema.value)
  return (input: Input) => Either.mapLeft(decode(part(input)), badRequest)
}

/** The values of each parameter: text, or a list where it was given more than once. */
const valuesOf = (parameters: URLSearchParams) =>
  Object.fromEntries(
    Array.from(new Set(parameters.keys()), (name) => {
      const values = parameters.getAll(name)
      return [name, values.length === 1 ? values[0] : values]
    })
  )

/** Every success is sent as it is: to encode it again would only check what types have shown. */
const checkTransformsNothing = (name: string, ast: SchemaAST.AST) => {
  if (SchemaAST.encodedBoundAST(ast) !== ast) throw new Error(`${name}: its success has another shape as JSON`)
}

const toReply = (status: number, hasBody: boolean, success: Success<unknown>): Reply => {
  const { headers } = success
  if (!hasBody) return { status, headers: { ...headers }, body: undefined }
  if ("value" in success) return json(status, success.value, headers)
  const { text: body } = success.json
  return typeof body === "string" || body instanceof Uint8Array
    ? text(status, "application/json", body, headers)
    : { status, headers: { "content-type": "application/json", ...headers }, body }
}

/** The definition's endpoints as routes that decode by its schemas, call their handlers and answer with its statuses. */
export const endpoints = (handlers: Handlers): ReadonlyArray<Route> => {
  // What `reflect` walks through has no types. `Handlers` has seen to it that each fits what its endpoint decodes.
  const handlersByName = handlers as Readonly<
    Record<string, Readonly<Record<string, (request: object) => Effect.Effect<Success<unknown>, ApiError>>>>
  >
  const routes: Array<Route> = []
  HttpApi.reflect(Api, {
    onGroup: () => {},
    onEndpoint: ({ endpoint, group, successes }) => {
      const name = `${group.identifier}.${endpoint.name}`
      const handle = handlersByName[group.identifier]?.[endpoint.name]
      const [success] = successes
      if (handle === undefined || success === undefined) throw new Error(`${name} has no handler or no success`)
      const [status, { ast }] = success
      const hasBody = Option.isSome(ast)
      if (hasBody) checkTransformsNothing(name, ast.value)

      const path = decoder(endpoint.pathSchema, ({ captured }) => captured)
      const urlParams = decoder(endpoint.urlParamsSchema, ({ parameters }) => valuesOf(parameters))
      const payload = decoder(endpoint.payloadSchema, ({ body }) => body)
      routes.push({
        method: endpoint.method,
        path: endpoint.path,
        takesParameters: Option.isSome(endpoint.urlParamsSchema),
        takesBody: Option.isSome(endpoint.payloadSchema),
        answer: (input) =>
          Either.all({ path: path(input), payload: payload(input), urlParams: urlParams(input) }).pipe(
            Effect.flatMap(handle),
            Effect.map((success) => toReply(status, hasBody, success))
          )
      })
    }
  })
  return routes
}
