import * as Layer from "effect/Layer"
import { StoreUnavailable } from "../../domain/Errors.js"
import { VmEvents } from "../VmEvents.js"

/** No events: other daemons change the same database. */
export const layer = Layer.succeed(VmEvents, {
  subscribe: () => new StoreUnavailable({ message: "events are not served on PostgreSQL" })
})
