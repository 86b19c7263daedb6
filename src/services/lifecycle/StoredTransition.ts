import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type { Conflict, NotFound, StoreUnavailable } from "../../domain/Errors.js"
import type { VmTransition } from "../VmStore.js"
import { countEnd } from "./LifecycleMetrics.js"

export const nowInSeconds = Effect.map(Clock.currentTimeMillis, (millis) => Math.floor(millis / 1000))

const retries = Schedule.exponential("50 millis").pipe(Schedule.union(Schedule.spaced("1 second")))

/**
 * Runs a transition that never conflicts until the store has taken it. It may be run again after an unknown outcome, since
 * it changes nothing the second time.
 */
export const untilStored = <A>(
  transition: Effect.Effect<A, Conflict | NotFound | StoreUnavailable>
): Effect.Effect<A, NotFound> =>
  transition.pipe(
    Effect.tapErrorTag("StoreUnavailable", ({ message }) => Effect.logDebug(`VMs: trying again: ${message}`)),
    Effect.retry({ schedule: retries, while: ({ _tag }) => _tag === "StoreUnavailable" }),
    Effect.catchTags({ StoreUnavailable: (error) => Effect.die(error), Conflict: (error) => Effect.die(error) })
  )

/** Logs a change of state and its reason, and counts an end. */
export const noteTransition = ({ after, before }: VmTransition, reason: string): Effect.Effect<void> =>
  Effect.suspend(() => {
    const { state } = after.vm
    if (state === before.vm.state) return Effect.void
    countEnd(state)
    const text = `VM '${after.vm.name}': ${before.vm.state} -> ${state} (${reason})`
    return state === "crashed" || state === "failed" ? Effect.logWarning(text) : Effect.logInfo(text)
  })
