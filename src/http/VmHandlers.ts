import * as Effect from "effect/Effect"
import { formatCursor, type VmCursor, type VmQuery } from "../domain/Vm.js"
import { VmStore } from "../services/VmStore.js"
import type { GroupHandlers } from "./Handlers.js"

/** RFC 8288: where the next page is, with what was asked for this one. */
const linkTo = ({ limit, role, state }: VmQuery, next: VmCursor) => {
  const parameters = Object.entries({ role, state, limit, cursor: formatCursor(next) })
  const query = parameters.flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${value}`]))
  return { link: `</v1/vms?${query.join("&")}>; rel="next"` }
}

/** `/v1/vms`: each call is one call on the store. */
export const vmHandlers = Effect.map(
  VmStore,
  (store): GroupHandlers<"vms"> => ({
    create: ({ payload }) =>
      Effect.map(store.create(payload), (vm) => ({ value: vm, headers: { location: `/v1/vms/${vm.id}` } })),
    list: ({ urlParams }) =>
      Effect.map(store.list(urlParams), ({ json, next }) => ({
        json: { text: json },
        headers: next === undefined ? {} : linkTo(urlParams, next)
      })),
    get: ({ path }) => Effect.map(store.get(path.nameOrId), (text) => ({ json: { text } })),
    delete: ({ path }) => Effect.map(store.delete(path.nameOrId), (value) => ({ value }))
  })
)
