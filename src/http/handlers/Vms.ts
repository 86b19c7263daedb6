import * as Effect from "effect/Effect"
import { formatCursor, type VmCursor, type VmPageQuery } from "../../domain/VmQuery.js"
import { VmStore } from "../../services/VmStore.js"
import { Api } from "../Api.js"
import * as HttpApiServer from "../server/HttpApiServer.js"
import { HttpResponse } from "../server/HttpResponse.js"

/** RFC 8288: the next page, with the parameters of this one. */
const linkTo = ({ limit, role, state }: VmPageQuery, next: VmCursor) => {
  const parameters = Object.entries({ role, state, limit, cursor: formatCursor(next) })
  const query = parameters.flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${value}`]))
  return { link: `</v1/vms?${query.join("&")}>; rel="next"` }
}

const json = "application/json"

/** `/v1/vms`: each handler is one call of the store. */
export const layer = HttpApiServer.group(Api, "vms", (handlers) =>
  Effect.map(VmStore, (store) => {
    const listPage = (query: VmPageQuery) =>
      Effect.map(store.list(query), ({ next, vms }) =>
        HttpResponse.value(vms, { headers: next === undefined ? {} : linkTo(query, next) })
      )
    return handlers
      .handle("create", ({ payload }) =>
        Effect.map(store.create(payload), (vm) => HttpResponse.value(vm, { headers: { location: `/v1/vms/${vm.id}` } }))
      )
      .handle("list", ({ urlParams: { limit, ...selection } }) =>
        limit === undefined
          ? Effect.map(store.listJson(selection), (list) =>
              list instanceof Uint8Array ? HttpResponse.bytes(json, list) : HttpResponse.stream(json, list)
            )
          : listPage({ ...selection, limit })
      )
      .handle("get", ({ path }) => store.get(path.nameOrId))
      .handle("delete", ({ path }) => Effect.asVoid(store.delete(path.nameOrId)))
  })
)
