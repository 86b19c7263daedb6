import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { VmmProcess } from "../vmm/Vmm.js"

/** Asks the guest to stop unless `isAsked`, and kills the VMM after the timeout. Returns once the process has ended. */
export const stopProcess = (
  { askToStop, ended, kill }: VmmProcess,
  timeout: Duration.Duration,
  isAsked = false
): Effect.Effect<void> =>
  Effect.gen(function* () {
    // The VMM may not answer.
    if (!isAsked) yield* Effect.forkScoped(askToStop)
    if (Option.isNone(yield* Effect.timeoutOption(ended, timeout))) yield* kill
  }).pipe(Effect.scoped)
