import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientError from "@effect/platform/HttpClientError"
import type { HttpClientResponse } from "@effect/platform/HttpClientResponse"
import * as Chunk from "effect/Chunk"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"

/** Default maximum size of a response body: about 1,400,000 records. */
export const maxAnswerBytes = 256_000_000

/** The response body is larger than `maxBytes`. It is the cause of a `ResponseError`. */
export class AnswerTooLarge extends Data.TaggedError("AnswerTooLarge")<{ readonly maxBytes: number }> {}

/** Reads a whole body. @effect/platform-node copies everything read so far for each chunk: 11 s for 36 MB. */
const readBody = (response: HttpClientResponse, maxBytes: number) => {
  const tooLarge = new HttpClientError.ResponseError({
    request: response.request,
    response,
    reason: "Decode",
    cause: new AnswerTooLarge({ maxBytes })
  })
  let length = 0
  return response.stream.pipe(
    Stream.tap((part) => {
      length += part.length
      return length > maxBytes ? Effect.fail(tooLarge) : Effect.void
    }),
    Stream.runCollect,
    Effect.map((parts) => Buffer.concat(Chunk.toReadonlyArray(parts)))
  )
}

/** An `HttpClient` that reads response bodies up to `maxBytes`, in linear time. */
export const layer = (maxBytes: number) =>
  Layer.function(HttpClient.HttpClient, HttpClient.HttpClient, (client) =>
    HttpClient.transformResponse(client, (call) =>
      Effect.map(call, (response) =>
        Object.defineProperty(response, "arrayBuffer", { get: () => readBody(response, maxBytes) })
      )
    )
  )
