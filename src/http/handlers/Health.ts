import * as Effect from "effect/Effect"
import { version } from "../../domain/Version.js"
import { StoreHealth } from "../../services/StoreHealth.js"
import { Api } from "../Api.js"
import { Degraded } from "../ApiErrors.js"
import * as HttpApiServer from "../server/HttpApiServer.js"

/** `/v1/health`: ok when the store responds. */
export const layer = HttpApiServer.group(Api, "health", (handlers) =>
  Effect.map(StoreHealth, (store) =>
    handlers.handle("check", () =>
      store.check.pipe(
        Effect.map((database) => ({ status: "ok" as const, version, database })),
        Effect.mapError(({ message }) => new Degraded({ status: "degraded", message, version }))
      )
    )
  )
)
