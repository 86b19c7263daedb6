import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { StoreUnavailable } from "../domain/Errors.js"

/**
 * Takes one of a bounded number of places for a long list, until the scope closes. Fails, with what `refusal`
 * tells people, when none comes free within the time; nothing is given back then, since nothing was taken.
 */
export const scopedPermits = (
  count: number,
  patience: Duration.DurationInput,
  refusal: string
): Effect.Effect<Effect.Effect<void, StoreUnavailable, Scope.Scope>> =>
  Effect.map(Effect.makeSemaphore(count), (semaphore) =>
    Effect.uninterruptibleMask((restore) =>
      restore(semaphore.take(1)).pipe(
        Effect.timeoutFail({
          duration: patience,
          onTimeout: () => new StoreUnavailable({ message: refusal })
        }),
        Effect.zipRight(Effect.addFinalizer(() => semaphore.release(1)))
      )
    )
  )
