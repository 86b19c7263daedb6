import type * as Http from "node:http"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { type ApiError, InternalError, isApiError } from "./ApiErrors.js"
import { docs } from "./Docs.js"
import { endpoints } from "./Endpoints.js"
import { healthHandlers } from "./HealthHandlers.js"
import { failure, type Reply, send } from "./Reply.js"
import { readJson } from "./RequestBody.js"
import { requestIdHeader } from "./RequestId.js"
import { type Found, router } from "./Router.js"
import { vmHandlers } from "./VmHandlers.js"

/** Answers a request. */
export type App = (request: Http.IncomingMessage, response: Http.ServerResponse) => Effect.Effect<void>

/** Turns whatever went wrong into an error that may be shown. */
const toApiError = (cause: Cause.Cause<unknown>, id: string): Effect.Effect<ApiError> => {
  const error = Cause.squash(cause)
  return isApiError(error)
    ? Effect.succeed(error)
    : Effect.as(
        Effect.logError("unexpected failure", cause),
        new InternalError({ error: "internal error; nexusd's log has more, under this request's id", request_id: id })
      )
}

/** Once an answer has begun, nothing else can be said: the connection is cut, so that nobody takes a part for the whole. */
const cutOff = (response: Http.ServerResponse, error: ApiError) =>
  Effect.zipRight(
    Effect.sync(() => response.destroy()),
    Effect.logWarning(`an answer was cut off: ${error.error}`)
  )

/** The whole API as one function of a request, over whatever store is provided. */
export const httpApp = Effect.gen(function* () {
  const handlers = { vms: yield* vmHandlers, health: yield* healthHandlers }
  const find = router([...endpoints(handlers), ...docs])

  const answer = (request: Http.IncomingMessage, found: Found | ApiError): Effect.Effect<Reply, ApiError> =>
    "route" in found
      ? Effect.flatMap(readJson(request, found.route.takesBody), (body) => found.route.answer({ ...found, body }))
      : Effect.zipRight(readJson(request, false), Effect.fail(found))

  const app: App = (request, response) =>
    Effect.suspend(() => answer(request, find(request.method ?? "", request.url ?? ""))).pipe(
      Effect.flatMap((reply) => send(response, reply)),
      Effect.catchAllCause((cause) => {
        if (Cause.isInterruptedOnly(cause)) return Effect.interrupt
        const id = String(response.getHeader(requestIdHeader))
        return Effect.flatMap(toApiError(cause, id), (error) =>
          response.headersSent ? cutOff(response, error) : Effect.ignore(send(response, failure(error)))
        )
      }),
      Effect.annotateLogs("request_id", String(response.getHeader(requestIdHeader)))
    )
  return app
})
