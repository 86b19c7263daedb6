import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { isBusy, isSqlError } from "./SqliteErrors.js"

/** How long a call waits for a lock or permit: less than the 5 s after which a client gives up. */
export const lockTimeout = "4 seconds"
const whileBusy = Schedule.jittered(Schedule.spaced("20 millis")).pipe(Schedule.upTo(lockTimeout))
const isHeld = (error: unknown) => isSqlError(error) && isBusy(error)

/** Waits for another process's lock without blocking the event loop, which SQLite's own busy handler would. */
export const retryBusy = <A, E, R>(effect: Effect.Effect<A, E | SqlError, R>) =>
  // To set up a retry costs more than most queries.
  Effect.catchIf(effect, isHeld, () => Effect.retry(effect, { while: isHeld, schedule: whileBusy }))
