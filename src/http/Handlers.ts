import type * as HttpApi from "@effect/platform/HttpApi"
import type * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import type * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type { Api } from "./Api.js"
import type { ApiError } from "./ApiErrors.js"

declare const represents: unique symbol

/** JSON text that stands for an `A`, whole or in pieces. */
interface Json<A> {
  readonly text: string | Uint8Array | Stream.Stream<Uint8Array, ApiError>
  readonly [represents]?: A
}

/** What a handler gives back: what the endpoint's success holds, or its JSON; and headers beside it. */
export type Success<A> = ({ readonly value: A } | { readonly json: Json<A> }) & {
  readonly headers?: Readonly<Record<string, string>>
}

type Groups = typeof Api extends HttpApi.HttpApi<infer _Id, infer Group, infer _E, infer _R> ? Group : never
type ErrorsOfAll = typeof Api extends HttpApi.HttpApi<infer _Id, infer _Group, infer E, infer _R> ? E : never

type Handler<Group, Endpoint extends HttpApiEndpoint.HttpApiEndpoint.Any> = (
  request: Omit<HttpApiEndpoint.HttpApiEndpoint.Request<Endpoint>, "request">
) => Effect.Effect<
  Success<HttpApiEndpoint.HttpApiEndpoint.Success<Endpoint>>,
  HttpApiEndpoint.HttpApiEndpoint.Error<Endpoint> | HttpApiGroup.HttpApiGroup.Error<Group> | ErrorsOfAll
>

/** A function for each endpoint of a group, with the inputs, results and errors that the definition gives it. */
export type GroupHandlers<Name extends Groups["identifier"]> = {
  readonly [E in HttpApiGroup.HttpApiGroup.EndpointsWithName<
    Groups,
    Name
  > as HttpApiEndpoint.HttpApiEndpoint.Name<E>]: Handler<HttpApiGroup.HttpApiGroup.WithName<Groups, Name>, E>
}

/** A function for each endpoint of the API. */
export type Handlers = { readonly [Name in Groups["identifier"]]: GroupHandlers<Name> }
