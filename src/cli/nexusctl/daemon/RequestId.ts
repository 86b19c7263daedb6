import * as HttpClient from "@effect/platform/HttpClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

/** An `HttpClient` that reports the request's id of each answer of status 5xx: the daemon's log has more under it. */
export const layer = (onServerError: (requestId: string) => void) =>
  Layer.function(HttpClient.HttpClient, HttpClient.HttpClient, (client) =>
    HttpClient.transformResponse(
      client,
      Effect.tap(({ headers, status }) => {
        const id = headers["x-request-id"]
        if (status >= 500 && id !== undefined) onServerError(id)
        return Effect.void
      })
    )
  )
