import * as Effect from "effect/Effect"
import { formatCursor, type VmCursor, type VmQuery } from "../../domain/Vm.js"
import { VmStore } from "../../services/VmStore.js"
import { Api } from "../Api.js"
import * as HttpApiServer from "../server/HttpApiServer.js"
import { HttpResponse } from "../server/HttpResponse.js"

/** RFC 8288: the next page, with the parameters of this one. */
const linkTo = ({ limit, role, state }: VmQuery, next: VmCursor) => {
  const parameters = Object.entries({ role, state, limit, cursor: formatCursor(next) })
  const query = parameters.flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${value}`]))
  return { link: `</v1/vms?${query.join("&")}>; rel="next"` }
}

/** `/v1/vms`: each handler is one call of the store. */
export const layer = HttpApiServer.group(Api, "vms", (handlers) =>
  Effect.map(VmStore, (store) =>
    handlers
      .handle("create", ({ payload }) =>
        Effect.map(store.create(payload), (vm) => HttpResponse.value(vm, { headers: { location: `/v1/vms/${vm.id}` } }))
      )
      .handle("list", ({ urlParams }) =>
        Effect.map(store.list(urlParams), ({ json, next }) => {
          const headers = next === undefined ? {} : linkTo(urlParams, next)
          return json instanceof Uint8Array
            ? HttpResponse.bytes("application/json", json, { headers })
            : HttpResponse.stream("application/json", json, { headers })
        })
      )
      .handle("get", ({ path }) =>
        Effect.map(store.get(path.nameOrId), (json) => HttpResponse.bytes("application/json", json))
      )
      .handle("delete", ({ path }) => store.delete(path.nameOrId))
  )
)
