import type * as Http from "node:http"
import * as Headers from "@effect/platform/Headers"
import * as HttpTraceContext from "@effect/platform/HttpTraceContext"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { ApiError } from "./ApiErrors.js"
import type { Found } from "./Router.js"

/**
 * One span for a request, from its routing to the end of its answer, in the caller's trace if it names one (W3C Trace
 * Context). Names and attributes are OpenTelemetry's for HTTP servers.
 */
export const inRequestSpan = <A>(
  request: Http.IncomingMessage,
  response: Http.ServerResponse,
  found: Found | ApiError,
  answering: Effect.Effect<A>
): Effect.Effect<A> => {
  const { method = "", url = "" } = request
  const route = "route" in found ? found.route.path.replace(/:(\w+)/g, "{$1}") : undefined
  const parent = Option.getOrUndefined(HttpTraceContext.fromHeaders(Headers.fromInput(request.headers)))
  return answering.pipe(
    Effect.ensuring(Effect.suspend(() => Effect.annotateCurrentSpan("http.response.status_code", response.statusCode))),
    Effect.withSpan(route === undefined ? method : `${method} ${route}`, {
      kind: "server",
      captureStackTrace: false,
      attributes: {
        "http.request.method": method,
        "url.path": url.split("?", 1)[0],
        ...(route !== undefined && { "http.route": route })
      },
      ...(parent !== undefined && { parent })
    })
  )
}
