import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import { signal } from "@preact/signals"
import * as Effect from "effect/Effect"
import type * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import type { CallError } from "../../http/CallError.js"
import { NexusClient } from "../../http/Client.js"

/** Session storage belongs to one tab, and ends with it. */
const tokenKey = "nexus-token"

export const setToken = (token: string) => sessionStorage.setItem(tokenKey, token)

/** The daemon's message when it asks for a token, or for another one. */
export const tokenRequest = signal<string | undefined>(undefined)

const httpClient = Layer.effect(
  HttpClient.HttpClient,
  Effect.map(HttpClient.HttpClient, (client) =>
    client.pipe(
      HttpClient.withTracerPropagation(false),
      HttpClient.mapRequest((request) => {
        const token = sessionStorage.getItem(tokenKey)
        return token === null ? request : HttpClientRequest.bearerToken(request, token)
      })
    )
  )
).pipe(Layer.provide(FetchHttpClient.layer))

/** Runs effects that call the daemon which served the page. */
export const runtime = ManagedRuntime.make(NexusClient.layerOrigin(location.origin).pipe(Layer.provide(httpClient)))

/** The daemon's own message where it sent one. */
export const messageOf = (error: CallError): string => {
  switch (error._tag) {
    case "DaemonTimeout":
      return "nexusd does not answer"
    case "RequestError":
      return "nexusd can't be reached"
    case "ResponseError":
      return error.response.status === 200
        ? "nexusd's answer was cut off"
        : `nexusd answered with status ${error.response.status}`
    case "ParseError":
      return "nexusd's answer has another form than this page knows: reload the page"
    case "NotModified":
      return "nothing has changed"
    default:
      return error.message
  }
}

/** Calls the daemon. A failure that asks for a token opens the dialog for one. */
export const attempt = <A, E extends CallError>(request: (client: NexusClient["Type"]) => Effect.Effect<A, E>) =>
  Effect.flatMap(NexusClient, request).pipe(
    Effect.tapError((error) =>
      Effect.sync(() => {
        if (error._tag === "Unauthorized") tokenRequest.value = error.message
      })
    )
  )

/** Calls the daemon once, for a component. */
export const call = <A, E extends CallError>(
  request: (client: NexusClient["Type"]) => Effect.Effect<A, E>
): Promise<Either.Either<A, E>> => runtime.runPromise(Effect.either(attempt(request)))
