import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { StoreUnavailable } from "../domain/Errors.js"
import type { DatabaseStatus } from "../domain/Health.js"

/** Asks the store for a sign of life, anew at each call. */
export class StoreHealth extends Context.Tag("nexus/StoreStatus")<
  StoreHealth,
  { readonly check: Effect.Effect<DatabaseStatus, StoreUnavailable> }
>() {}
