import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { VmEvent } from "../../domain/VmEvent.js"
import { VmEvents } from "../../services/VmEvents.js"
import { Api } from "../Api.js"
import * as HttpApiServer from "../server/HttpApiServer.js"
import { HttpResponse } from "../server/HttpResponse.js"
import { toJson } from "./VmEntityTag.js"

/** Computes a function once for each object, as long as it is in use. */
const oncePer = <A extends object, B>(compute: (a: A) => B): ((a: A) => B) => {
  const known = new WeakMap<A, B>()
  return (a) => {
    const found = known.get(a)
    if (found !== undefined) return found
    const computed = compute(a)
    known.set(a, computed)
    return computed
  }
}

const dataOf = (event: VmEvent): string =>
  event.event === "created" || event.event === "updated" ? toJson(event.data) : JSON.stringify(event.data)

/** An event in the format of https://html.spec.whatwg.org/multipage/server-sent-events.html; JSON text is one line. */
const encode = oncePer((event: VmEvent) =>
  Buffer.from(`event: ${event.event}\nid: ${event.id}\ndata: ${dataOf(event)}\n\n`)
)

/** Subscribers get the same chunks, so they share the bytes as well. */
const encodeChunk = oncePer(
  (events: Chunk.Chunk<VmEvent>): Uint8Array => Buffer.concat(Chunk.toArray(events).map(encode))
)

const tooFarBehind = "events: a subscriber is too far behind, and is disconnected"

const headers = { "cache-control": "no-store" }

/** `/v1/events`. */
export const layer = HttpApiServer.group(Api, "events", (handlers) =>
  Effect.map(VmEvents, (events) =>
    handlers.handle("follow", ({ headers: { "last-event-id": lastEventId }, urlParams: { since } }) =>
      // The value of an EventSource that has seen no id is empty.
      Effect.map(events.subscribe(lastEventId || since), ({ events, lagged }) =>
        HttpResponse.stream(
          "text/event-stream",
          Stream.mapChunks(events, (chunk) => Chunk.of(encodeChunk(chunk))),
          { headers, endless: { heartbeat: ":\n\n", cutOff: Effect.zipRight(lagged, Effect.logInfo(tooFarBehind)) } }
        )
      )
    )
  )
)
