import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type { Gone, StoreUnavailable } from "../domain/Errors.js"
import type { VmEvent } from "../domain/VmEvent.js"

/** What a subscriber gets. */
export interface VmSubscription {
  /**
   * `ready`, then every change in commit order. Chunks that several subscribers get are the same object. Ends only if the
   * subscriber is too far behind.
   */
  readonly events: Stream.Stream<VmEvent>
  /** Succeeds once the subscriber is too far behind, also while it does not pull. */
  readonly lagged: Effect.Effect<void>
}

/** Changes of VM records as they are committed. */
export class VmEvents extends Context.Tag("nexus/VmEvents")<
  VmEvents,
  {
    /**
     * Subscribes to the changes from now on, or to those after the event with the id `since`. A change that is committed
     * after this effect is among the events, whenever the stream begins to run.
     *
     * Fails with `Gone` if events after `since` may be missing, and with `StoreUnavailable` if it can't tell.
     */
    readonly subscribe: (since?: string) => Effect.Effect<VmSubscription, Gone | StoreUnavailable>
  }
>() {}
