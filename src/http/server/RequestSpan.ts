import type * as Http from "node:http"
import * as Headers from "@effect/platform/Headers"
import * as HttpTraceContext from "@effect/platform/HttpTraceContext"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { formatTemplate } from "./Router.js"

/**
 * One span for a request, from its decoding to the end of its response, in the client's trace if its headers name one (W3C
 * Trace Context). Names and attributes are OpenTelemetry's for HTTP servers.
 */
export const withRequestSpan = <A, E>(
  request: Http.IncomingMessage,
  response: Http.ServerResponse,
  route: { readonly path: string } | undefined,
  effect: Effect.Effect<A, E>
): Effect.Effect<A, E> => {
  const { method = "", url = "" } = request
  const template = route && formatTemplate(route.path)
  const parent = Option.getOrUndefined(HttpTraceContext.fromHeaders(Headers.fromInput(request.headers)))
  return effect.pipe(
    Effect.ensuring(Effect.suspend(() => Effect.annotateCurrentSpan("http.response.status_code", response.statusCode))),
    Effect.withSpan(template === undefined ? method : `${method} ${template}`, {
      kind: "server",
      captureStackTrace: false,
      attributes: {
        "http.request.method": method,
        "url.path": url.split("?", 1)[0],
        ...(template !== undefined && { "http.route": template })
      },
      ...(parent !== undefined && { parent })
    })
  )
}
