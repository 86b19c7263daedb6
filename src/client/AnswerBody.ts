import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientError from "@effect/platform/HttpClientError"
import type { HttpClientResponse } from "@effect/platform/HttpClientResponse"
import * as HttpIncomingMessage from "@effect/platform/HttpIncomingMessage"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"

/** Default maximum size of a response body: about 1,400,000 records. */
export const maxAnswerBytes = 256_000_000

/** The response body is larger than `maxBytes`. It is the cause of a `ResponseError`. */
export class AnswerTooLarge extends Data.TaggedError("AnswerTooLarge")<{ readonly maxBytes: number }> {}

/** The message of @effect/platform-node's error for a body over the maximum size. */
const isTooLarge = (cause: unknown): boolean => cause instanceof Error && cause.message === "maxBytes exceeded"

/**
 * Reads a body by way of its text, in linear time. `arrayBuffer` of @effect/platform-node copies everything read so far for
 * each chunk: 11 s for 36 MB.
 */
const readBody = (response: HttpClientResponse, maxBytes: number) =>
  response.text.pipe(
    HttpIncomingMessage.withMaxBodySize(Option.some(maxBytes)),
    Effect.mapBoth({
      onSuccess: (text) => Buffer.from(text),
      onFailure: (error) =>
        isTooLarge(error.cause)
          ? new HttpClientError.ResponseError({
              request: response.request,
              response,
              reason: "Decode",
              cause: new AnswerTooLarge({ maxBytes })
            })
          : error
    })
  )

/** An `HttpClient` that reads response bodies up to `maxBytes`, in linear time. */
export const layer = (maxBytes: number) =>
  Layer.function(HttpClient.HttpClient, HttpClient.HttpClient, (client) =>
    HttpClient.transformResponse(client, (call) =>
      Effect.map(call, (response) =>
        Object.defineProperty(response, "arrayBuffer", { get: () => readBody(response, maxBytes) })
      )
    )
  )
