import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientError from "@effect/platform/HttpClientError"
import type { HttpClientResponse } from "@effect/platform/HttpClientResponse"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

/** The daemon does not have the route of a call. It is the cause of a `ResponseError`. */
export class MissingRoute extends Data.TaggedError("MissingRoute")<{ readonly status: number }> {}

const hasTag = (json: unknown, tag: string): boolean =>
  typeof json === "object" && json !== null && "_tag" in json && json._tag === tag

/** Daemons that have the route send `_tag` with their errors. */
const isMissing = (response: HttpClientResponse) => {
  if (response.status !== 404) return Effect.succeed(response.status === 405)
  return response.json.pipe(
    Effect.map((json) => !hasTag(json, "NotFound")),
    Effect.orElseSucceed(() => true)
  )
}

/** An `HttpClient` for routes that daemons of the step 4 plan lack. Its requests fail where the route is missing. */
export const layer = Layer.function(HttpClient.HttpClient, HttpClient.HttpClient, (client) =>
  HttpClient.transformResponse(
    client,
    Effect.tap((response) =>
      Effect.flatMap(isMissing(response), (isMissing) =>
        isMissing
          ? new HttpClientError.ResponseError({
              request: response.request,
              response,
              reason: "StatusCode",
              cause: new MissingRoute({ status: response.status })
            })
          : Effect.void
      )
    )
  )
)
