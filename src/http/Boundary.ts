import type { HttpApiDecodeError } from "@effect/platform/HttpApiError"
import type * as HttpApp from "@effect/platform/HttpApp"
import type { RouteNotFound as NoRoute, RequestError } from "@effect/platform/HttpServerError"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { cut, show } from "../domain/Bounds.js"
import {
  type ApiError,
  BadRequest,
  InternalError,
  isApiError,
  MethodNotAllowed,
  RouteNotFound,
  toWire
} from "./ApiErrors.js"
import { hasBody, withCheckedBody } from "./RequestBody.js"
import { requestIdHeader } from "./RequestId.js"
import { methodsOf, unknownParameters } from "./Routes.js"

/** What can go wrong in the library, beside the errors that the API declares. */
type Failure = ApiError | HttpApiDecodeError | RequestError | NoRoute

const isTagged = <T extends Failure["_tag"]>(error: unknown, tag: T): error is Extract<Failure, { _tag: T }> =>
  typeof error === "object" && error !== null && "_tag" in error && error._tag === tag

/** More than these help nobody. */
const maxIssues = 20

const badRequest = (error: HttpApiDecodeError) => {
  const issues = error.issues.slice(0, maxIssues).map(({ _tag, message, path }) => ({
    path: cut(path.map(String).join("."), 80),
    message: _tag === "Type" && path.length === 0 ? "expected a JSON object" : cut(message, 300)
  }))
  const lines = issues.map(({ message, path }) => (path === "" ? message : `${path}: ${message}`))
  return new BadRequest({ error: lines.join("; "), issues })
}

const noRoute = (method: string, url: string) => {
  const allowed = methodsOf(url)
  // The router gives up on a path that it can't decode.
  if (allowed.includes(method))
    return new BadRequest({ error: `${show(url)} is not percent-encoded UTF-8 (RFC 3986, 2.1)` })
  return allowed.length === 0
    ? new RouteNotFound({ error: `nothing is served at ${show(url)}; GET /openapi.json lists what is` })
    : new MethodNotAllowed({ error: `${show(url)} does not take ${method}, only ${allowed.join(", ")}`, allowed })
}

/** HttpApi checks the parameters that a call takes; that it takes no others is checked here. */
const checkParameters = ({ method, url }: HttpServerRequest.HttpServerRequest) => {
  const issues = unknownParameters(method, url).map((path) => ({ path, message: "is not a parameter of this call" }))
  return issues.length === 0
    ? Effect.void
    : new BadRequest({ error: issues.map(({ message, path }) => `${show(path)} ${message}`).join("; "), issues })
}

/** Turns whatever went wrong into an error that may be shown. */
const toApiError = (cause: Cause.Cause<unknown>, request: HttpServerRequest.HttpServerRequest, id: string) => {
  const error = Cause.squash(cause)
  if (isApiError(error)) return Effect.succeed(error)
  if (isTagged(error, "HttpApiDecodeError")) return Effect.succeed(badRequest(error))
  if (isTagged(error, "RouteNotFound")) return Effect.succeed(noRoute(request.method, request.url))
  if (isTagged(error, "RequestError") && error.reason === "Decode") {
    const why = error.cause instanceof Error ? `: ${error.cause.message}` : ""
    return Effect.succeed(new BadRequest({ error: `the body is not valid JSON${why}` }))
  }
  return Effect.as(
    Effect.logError("unexpected failure", cause),
    new InternalError({ error: "internal error; nexusd's log has more, under this request's id", request_id: id })
  )
}

/** The id that the listener has given the answer. */
const requestId = (request: HttpServerRequest.HttpServerRequest): string =>
  String(NodeHttpServerRequest.toServerResponse(request).getHeader(requestIdHeader))

const respond = (error: ApiError) => {
  const { body, status } = toWire(error)
  const response = HttpServerResponse.unsafeJson(body, { status })
  return error._tag === "MethodNotAllowed"
    ? HttpServerResponse.setHeader(response, "allow", error.allowed.join(", "))
    : response
}

/** What is wrong with a request, if anything can be told before it is routed; and the request with its body read. */
const check = (request: HttpServerRequest.HttpServerRequest) =>
  Effect.zipRight(checkParameters(request), withCheckedBody)

/**
 * The edge between the network and the API: checks the body before anything is routed, answers every failure with the
 * contract's JSON, and lets the log speak of each request under its id.
 */
export const boundary = (app: HttpApp.Default): HttpApp.Default =>
  Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => {
    const id = requestId(request)
    // Most requests have nothing to check, and each step costs.
    const checked =
      hasBody(request) || request.url.includes("?")
        ? Effect.flatMap(check(request), (next) =>
            Effect.provideService(app, HttpServerRequest.HttpServerRequest, next)
          )
        : app
    return checked.pipe(
      Effect.catchAllCause((cause) =>
        Cause.isInterruptedOnly(cause) ? Effect.interrupt : Effect.map(toApiError(cause, request, id), respond)
      ),
      Effect.annotateLogs("request_id", id)
    )
  })
