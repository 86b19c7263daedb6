import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type { Vm } from "../../domain/Vm.js"
import { formatCursor, type VmCursor, type VmPageQuery } from "../../domain/VmQuery.js"
import { logTailDefault, waitTimeoutDefault } from "../../domain/VmRequests.js"
import { VmLifecycle } from "../../services/VmLifecycle.js"
import { VmStore } from "../../services/VmStore.js"
import { Api } from "../Api.js"
import * as HttpApiServer from "../server/HttpApiServer.js"
import { HttpResponse } from "../server/HttpResponse.js"
import { entityTag, isUnmodified, preconditionOf, tagged } from "./VmEntityTag.js"

/** RFC 8288: the next page, with the parameters of this one. */
const linkTo = ({ limit, name_prefix, role, state }: VmPageQuery, next: VmCursor) => {
  const parameters = Object.entries({ role, state, name_prefix, limit, cursor: formatCursor(next) })
  const query = parameters.flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}=${encodeURIComponent(value)}`]
  )
  return { link: `</v1/vms?${query.join("&")}>; rel="next"` }
}

/** A record with its entity tag. */
const record = (vm: Vm) => {
  const { json: text, tag: etag } = tagged(vm)
  return HttpResponse.bytes(json, text, { headers: { etag } })
}

const createdRecord = (vm: Vm) => {
  const { json: text, tag: etag } = tagged(vm)
  return HttpResponse.bytes(json, text, { status: 201, headers: { location: `/v1/vms/${vm.id}`, etag } })
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
      .handle("create", ({ payload }) => Effect.map(store.create(payload), createdRecord))
      .handle("list", ({ urlParams: { limit, ...selection } }) =>
        limit === undefined
          ? Effect.map(store.listJson(selection), (list) =>
              list instanceof Uint8Array ? HttpResponse.bytes(json, list) : HttpResponse.stream(json, list)
            )
          : listPage({ ...selection, limit })
      )
      .handle("get", ({ headers, path: { nameOrId } }) => {
        const precondition = preconditionOf(headers, nameOrId)
        if (precondition === undefined) return Effect.map(store.get(nameOrId), record)
        return Effect.flatMap(store.get(nameOrId), (vm) => {
          const etag = entityTag(vm)
          if (isUnmodified(headers, etag)) return Effect.succeed(HttpResponse.empty({ status: 304, headers: { etag } }))
          return Either.map(precondition(vm), () => record(vm))
        })
      })
      .handle("update", ({ headers, path: { nameOrId }, payload }) =>
        Effect.map(store.update(nameOrId, payload, preconditionOf(headers, nameOrId)), record)
      )
      .handle("replace", ({ headers, path: { nameOrId: name }, payload }) =>
        Effect.map(store.replace({ name, ...payload }, preconditionOf(headers, name)), ({ after, before }) =>
          before === undefined ? createdRecord(after) : record(after)
        )
      )
      .handle("delete", ({ headers, path: { nameOrId } }) =>
        lifecycle.delete(nameOrId, preconditionOf(headers, nameOrId))
      )
      .handle(
        "start",
        ({ headers, path: { nameOrId } }) =>
          Effect.map(lifecycle.start(nameOrId, preconditionOf(headers, nameOrId)), record),
        { longLived: "until-done" }
      )
      .handle(
        "stop",
        ({ headers, path: { nameOrId }, payload: { force = false, host_lost, timeout_s } = {} }) => {
          const precondition = preconditionOf(headers, nameOrId)
          const timeout = timeout_s === undefined ? undefined : Duration.seconds(timeout_s)
          const stopped = host_lost
            ? lifecycle.loseHost(nameOrId, precondition)
            : lifecycle.stop(nameOrId, { force, timeout }, precondition)
          return Effect.map(stopped, record)
        },
        { longLived: "until-done" }
      )
      .handle("logs", ({ path, urlParams: { follow, tail = logTailDefault } }) => {
        const isFollowed = follow === "true"
        return Effect.map(lifecycle.logs(path.nameOrId, { tail, follow: isFollowed }), (log) =>
          HttpResponse.stream(plainText, log, { endless: isFollowed ? {} : undefined })
        )
      })
      .handle(
        "wait",
        ({ path, urlParams: { state, timeout_s = waitTimeoutDefault } }) =>
          Effect.map(lifecycle.wait(path.nameOrId, { states: state, timeout: Duration.seconds(timeout_s) }), record),
        { longLived: "until-stop" }
      )
  })
)
