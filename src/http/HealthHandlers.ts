import * as Effect from "effect/Effect"
import { version } from "../domain/Version.js"
import { StoreStatus } from "../services/StoreStatus.js"
import { Degraded } from "./ApiErrors.js"
import type { GroupHandlers } from "./Handlers.js"

/** `/v1/health`: well when the store answers. */
export const healthHandlers = Effect.map(
  StoreStatus,
  (store): GroupHandlers<"health"> => ({
    check: () =>
      store.check.pipe(
        Effect.map((database) => ({ value: { status: "ok" as const, version, database } })),
        Effect.mapError(({ error }) => new Degraded({ status: "degraded", error, version }))
      )
  })
)
