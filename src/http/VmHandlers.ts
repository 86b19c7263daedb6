import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import type { Vm } from "../domain/Vm.js"
import { VmStore } from "../services/VmStore.js"
import { Api } from "./Api.js"

/**
 * A record is its own JSON: `Vm` transforms nothing, and what a store gives back fits it. Encoding it again would check
 * what was checked, for a third of what an answer costs.
 */
const json = (value: Vm, options?: Partial<HttpServerResponse.Options.WithContent>) => {
  const body = JSON.stringify(value)
  return HttpServerResponse.raw(body, {
    contentType: "application/json",
    contentLength: Buffer.byteLength(body),
    ...options
  })
}

/** `/v1/vms`: each call is one call on the store. */
export const VmHandlers = HttpApiBuilder.group(Api, "vms", (handlers) =>
  Effect.map(VmStore, (store) =>
    handlers
      .handle("create", ({ payload }) =>
        Effect.map(store.create(payload), (vm) => json(vm, { status: 201, headers: { location: `/v1/vms/${vm.id}` } }))
      )
      .handle("list", ({ urlParams }) =>
        Effect.map(store.list(urlParams), ({ json }) =>
          json instanceof Uint8Array
            ? HttpServerResponse.uint8Array(json, { contentType: "application/json" })
            : HttpServerResponse.stream(json, { contentType: "application/json" })
        )
      )
      .handle("get", ({ path }) => Effect.map(store.get(path.nameOrId), (vm) => json(vm)))
      .handle("delete", ({ path }) => store.delete(path.nameOrId))
  )
)
