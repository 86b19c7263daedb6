import * as Schema from "effect/Schema"
import { preview, strict } from "./Schemas.js"
import { Vm } from "./Vm.js"

/** The id of an event. Opaque: it is good only to resume after it, at the daemon that gave it. */
const EventId = Schema.String.annotations({ description: "The event's id, to resume after it" })

/** What is left of a record that was deleted. */
export const DeletedVm = Schema.Struct({ id: Vm.fields.id, name: Vm.fields.name }).annotations({
  identifier: "DeletedVm",
  description: "A record that was deleted"
})
export type DeletedVm = typeof DeletedVm.Type

/**
 * An event of `GET /v1/events`; the fields are those of a server-sent event, `data` as its JSON.
 *
 * - `ready` is the first event of every stream: changes from here on follow.
 * - `created` and `updated` have the record as it is at that change or a later one.
 * - `reset` says that records changed in ways that this daemon can't name: list them again.
 *
 * A newer daemon may send others. Skip them.
 */
export const VmEvent = Schema.Union(
  Schema.Struct({ event: Schema.Literal("created", "updated"), id: EventId, data: Vm }),
  Schema.Struct({ event: Schema.Literal("deleted"), id: EventId, data: DeletedVm }),
  Schema.Struct({ event: Schema.Literal("ready", "reset"), id: EventId, data: Schema.Struct({}) })
).annotations({ identifier: "VmEvent", description: "A change of a record" })
export type VmEvent = typeof VmEvent.Type

const maxIdLength = 256

/** Where a stream of events resumes. */
export const EventsQuery = Schema.Struct({
  since: Schema.optionalWith(
    Schema.String.pipe(
      Schema.filter((text) => text.length >= 1 && text.length <= maxIdLength, {
        message: ({ actual }) => `expected the id of an event, got ${preview(actual)}`,
        description: "The id of the last event that was received: those after it follow",
        jsonSchema: { type: "string", minLength: 1, maxLength: maxIdLength }
      })
    ),
    { exact: true }
  )
}).annotations({ parseOptions: strict })
