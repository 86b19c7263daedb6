import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { StoreUnavailable } from "../domain/Errors.js"
import type { DatabaseStatus } from "../domain/Health.js"

/** Checks that the store can read and write, and returns its location, table count and size in bytes. */
export class StoreHealth extends Context.Tag("nexus/StoreHealth")<
  StoreHealth,
  { readonly check: Effect.Effect<DatabaseStatus, StoreUnavailable> }
>() {}
