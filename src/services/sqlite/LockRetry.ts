import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { isBusy, isSqlError } from "./SqliteErrors.js"

/** How long a call waits for a lock or permit. Clients time out after 5 s. */
export const lockTimeout = "4 seconds"
const whileBusy = Schedule.jittered(Schedule.spaced("20 millis")).pipe(Schedule.upTo(lockTimeout))
const isHeld = (error: unknown) => isSqlError(error) && isBusy(error)

/** Retries while another process holds a lock. SQLite's own busy handler would block the event loop. */
export const retryBusy = <A, E, R>(effect: Effect.Effect<A, E | SqlError, R>) =>
  // Effect.retry costs more than most queries, so it is set up only after a failure.
  Effect.catchIf(effect, isHeld, () => Effect.retry(effect, { while: isHeld, schedule: whileBusy }))
