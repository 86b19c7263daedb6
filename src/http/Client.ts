import * as HttpApiClient from "@effect/platform/HttpApiClient"
import type * as HttpClient from "@effect/platform/HttpClient"
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { type Address, formatAddress } from "../domain/Address.js"
import { Api } from "./Api.js"

const make = (address: Address) => HttpApiClient.make(Api, { baseUrl: `http://${formatAddress(address)}` })

/**
 * The API as functions: `client.vms.create({ payload: CreateVm.make({ name: "web" }) })`. A call fails with the errors
 * that `Api` declares for it, with an `HttpClientError` when the daemon can't be reached, or with a `ParseError` when
 * it answers with something else.
 */
export class NexusClient extends Context.Tag("nexus/NexusClient")<
  NexusClient,
  Effect.Effect.Success<ReturnType<typeof make>>
>() {
  /** A client of the daemon at `address`, over any `HttpClient`. */
  static readonly layer = (address: Address): Layer.Layer<NexusClient, never, HttpClient.HttpClient> =>
    Layer.effect(NexusClient, make(address))
}
