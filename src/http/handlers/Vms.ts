import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { formatCursor, type VmCursor, type VmPageQuery } from "../../domain/VmQuery.js"
import { logTailDefault, waitTimeoutDefault } from "../../domain/VmRequests.js"
import { VmLifecycle } from "../../services/VmLifecycle.js"
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

const plainText = "text/plain; charset=utf-8"

/** `/v1/vms`: each handler is one call of the store or of the lifecycle. */
export const layer = HttpApiServer.group(Api, "vms", (handlers) =>
  Effect.map(Effect.all([VmStore, VmLifecycle]), ([store, lifecycle]) => {
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
      .handle("update", ({ path, payload }) => store.update(path.nameOrId, payload))
      .handle("delete", ({ path }) => lifecycle.delete(path.nameOrId))
      .handle("start", ({ path }) => lifecycle.start(path.nameOrId))
      .handle("stop", ({ path, payload: { force = false, host_lost, timeout_s } = {} }) =>
        host_lost
          ? lifecycle.loseHost(path.nameOrId)
          : lifecycle.stop(path.nameOrId, {
              force,
              timeout: timeout_s === undefined ? undefined : Duration.seconds(timeout_s)
            })
      )
      .handle("logs", ({ path, urlParams: { follow, tail = logTailDefault } }) => {
        const isEndless = follow === "true"
        return Effect.map(lifecycle.logs(path.nameOrId, { tail, follow: isEndless }), (log) =>
          HttpResponse.stream(plainText, log, { isEndless })
        )
      })
      .handle(
        "wait",
        ({ path, urlParams: { state, timeout_s = waitTimeoutDefault } }) =>
          lifecycle.wait(path.nameOrId, { states: state, timeout: Duration.seconds(timeout_s) }),
        { longLived: true }
      )
  })
)
