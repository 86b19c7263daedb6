import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { StoreUnavailable } from "../domain/Errors.js"

/** How many records have a role and a state, which may be words of another daemon. */
export interface VmCount {
  readonly role: string
  readonly state: string
  readonly count: number
}

/** Figures of a store, for metrics. */
export class StoreFigures extends Context.Tag("nexus/StoreFigures")<
  StoreFigures,
  {
    /** Counts every record once. Records that are created or deleted meanwhile may be left out. */
    readonly vmCounts: Effect.Effect<ReadonlyArray<VmCount>, StoreUnavailable>
    readonly sizeBytes: Effect.Effect<number, StoreUnavailable>
  }
>() {}
