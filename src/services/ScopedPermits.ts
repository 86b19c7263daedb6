import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { StoreUnavailable } from "../domain/Errors.js"

/**
 * A semaphore of `count` permits. The inner effect acquires one until its scope closes. It fails with `message` if no permit
 * is available before the timeout; no permit is released then.
 */
export const scopedPermits = (
  count: number,
  timeout: Duration.DurationInput,
  message: string
): Effect.Effect<Effect.Effect<void, StoreUnavailable, Scope.Scope>> =>
  Effect.map(Effect.makeSemaphore(count), (semaphore) =>
    Effect.uninterruptibleMask((restore) =>
      restore(semaphore.take(1)).pipe(
        Effect.timeoutFail({
          duration: timeout,
          onTimeout: () => new StoreUnavailable({ message })
        }),
        Effect.zipRight(Effect.addFinalizer(() => semaphore.release(1)))
      )
    )
  )
