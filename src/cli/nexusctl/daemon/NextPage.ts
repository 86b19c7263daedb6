import type { HttpClientResponse } from "@effect/platform/HttpClientResponse"
import * as Effect from "effect/Effect"
import * as ParseResult from "effect/ParseResult"
import { NexusClient } from "../../../http/Client.js"

/** Where the page after an answer begins. Fails when a daemon's `Link` header holds a cursor of another kind. */
export const nextPage = (response: HttpClientResponse) =>
  Effect.try({ try: () => NexusClient.nextPage(response), catch: (error) => error }).pipe(
    Effect.catchAll((error) => (ParseResult.isParseError(error) ? Effect.fail(error) : Effect.die(error)))
  )
