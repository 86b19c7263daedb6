import * as HttpApiClient from "@effect/platform/HttpApiClient"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import type * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { type Address, formatAddress } from "../domain/Address.js"
import { parseCursor, type VmCursor } from "../domain/VmQuery.js"
import { Api } from "./Api.js"

/** A response whose body is left to the caller. */
class Unread extends Data.TaggedError("Unread")<{ readonly response: HttpClientResponse.HttpClientResponse }> {}

/** The body of a log as a stream. Derived clients read a body to its end before they return it. */
const makeLogStream = (httpClient: HttpClient.HttpClient, baseUrl: string) =>
  HttpApiClient.endpoint(Api, {
    group: "vms",
    endpoint: "logs",
    baseUrl,
    httpClient: HttpClient.transformResponse(
      httpClient,
      Effect.flatMap((response) => (response.status === 200 ? new Unread({ response }) : Effect.succeed(response)))
    )
  }).pipe(
    Effect.map(
      (logs) =>
        ({ path, urlParams }: Omit<Parameters<typeof logs>[0], "withResponse">) =>
          logs({ path, urlParams }).pipe(
            Effect.zipRight(Effect.dieMessage("a log of status 200 was read")),
            Effect.catchTag("Unread", ({ response }) => Effect.succeed(response.stream))
          )
    )
  )

/** A client of the daemon at `address`. Over a Unix socket, it is for the `HttpClient` to connect there. */
const make = (address: Address, token?: string) =>
  Effect.gen(function* () {
    const baseUrl = "path" in address ? "http://localhost" : `http://${formatAddress(address)}`
    const withoutToken = yield* HttpClient.HttpClient
    const httpClient =
      token === undefined ? withoutToken : HttpClient.mapRequest(withoutToken, HttpClientRequest.bearerToken(token))
    return {
      ...(yield* HttpApiClient.makeWith(Api, { httpClient, baseUrl })),
      /** Like `vms.logs`, as a stream of bytes: for `follow`, and for bytes that are not UTF-8. */
      logStream: yield* makeLogStream(httpClient, baseUrl)
    }
  })

/**
 * The API as functions: `client.vms.create({ payload: CreateVm.make({ name: "web" }) })`. A call fails with the errors
 * that `Api` declares for it, with an `HttpClientError` when the daemon can't be reached, or with a `ParseError` when
 * it answers with something else.
 */
export class NexusClient extends Context.Tag("nexus/NexusClient")<
  NexusClient,
  Effect.Effect.Success<ReturnType<typeof make>>
>() {
  /**
   * Where the next page begins, after an answer to `list` that a `limit` cut short:
   * `client.vms.list({ urlParams: { limit: 100 }, withResponse: true })` gives the records and their answer.
   */
  static readonly nextPage = ({ headers }: HttpClientResponse.HttpClientResponse): VmCursor | undefined => {
    const [, cursor] = /[?&]cursor=([^&>]+)[^>]*>; *rel="next"/.exec(headers["link"] ?? "") ?? []
    return cursor === undefined ? undefined : parseCursor(cursor)
  }

  /** A client of the daemon at `address`, over any `HttpClient`, with the token that the daemon asks for, if any. */
  static readonly layer = (address: Address, token?: string): Layer.Layer<NexusClient, never, HttpClient.HttpClient> =>
    Layer.effect(NexusClient, make(address, token))
}
