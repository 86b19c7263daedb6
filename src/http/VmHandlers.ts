import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import * as HttpApp from "@effect/platform/HttpApp"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import { VmStore } from "../services/VmStore.js"
import { Api } from "./Api.js"

const withHeader = (name: string, value: string) =>
  HttpApp.appendPreResponseHandler((_, response) => Effect.succeed(HttpServerResponse.setHeader(response, name, value)))

/** `/v1/vms`: each call is one call on the store. */
export const VmHandlers = HttpApiBuilder.group(Api, "vms", (handlers) =>
  Effect.map(VmStore, (store) =>
    handlers
      .handle("create", ({ payload }) =>
        Effect.tap(store.create(payload), (vm) => withHeader("location", `/v1/vms/${vm.id}`))
      )
      .handle("list", ({ urlParams }) => store.list(urlParams))
      .handle("get", ({ path }) => store.get(path.nameOrId))
      .handle("delete", ({ path }) => store.delete(path.nameOrId))
  )
)
