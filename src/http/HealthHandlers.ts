import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import * as Effect from "effect/Effect"
import { version } from "../domain/Version.js"
import { StoreStatus } from "../services/StoreStatus.js"
import { Api } from "./Api.js"
import { Degraded } from "./ApiErrors.js"

/** `/v1/health`: well when the store answers. */
export const HealthHandlers = HttpApiBuilder.group(Api, "health", (handlers) =>
  Effect.map(StoreStatus, (store) =>
    handlers.handle("check", () =>
      store.check.pipe(
        Effect.map((database) => ({ status: "ok" as const, version, database })),
        Effect.mapError(({ error }) => new Degraded({ status: "degraded", error, version }))
      )
    )
  )
)
