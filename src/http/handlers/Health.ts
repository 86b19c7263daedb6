import * as Effect from "effect/Effect"
import { version } from "../../domain/Version.js"
import { StoreHealth } from "../../services/StoreHealth.js"
import { Api } from "../Api.js"
import { Degraded, NotReady } from "../ApiErrors.js"
import * as HttpApiServer from "../server/HttpApiServer.js"

const ok = { status: "ok" } as const

/** Anyone may ask `/readyz`, and a check takes the database's write lock. */
const readinessInterval = "1 second"

/** `/v1/health` and `/readyz`: ok when the store responds. `/livez`: ok. */
export const layer = HttpApiServer.group(Api, "health", (handlers) =>
  Effect.gen(function* () {
    const store = yield* StoreHealth
    const readiness = yield* Effect.cachedWithTTL(store.check, readinessInterval)
    return (
      handlers
        .handle("check", () =>
          store.check.pipe(
            Effect.map((database) => ({ ...ok, version, database })),
            Effect.mapError(({ message }) => new Degraded({ status: "degraded", message, version }))
          )
        )
        .handle("live", () => Effect.succeed(ok), { public: true })
        // A client that disconnects must not interrupt the check that others wait for.
        .handle(
          "ready",
          () =>
            readiness.pipe(
              Effect.as(ok),
              Effect.mapError(() => new NotReady({ message: "the store can't serve; GET /v1/health says why" }))
            ),
          { public: true, uninterruptible: true }
        )
    )
  })
)
