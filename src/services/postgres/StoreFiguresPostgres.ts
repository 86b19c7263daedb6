import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { StoreFigures } from "../StoreFigures.js"
import type { Statement } from "./PostgresConnection.js"
import { PostgresDatabase } from "./PostgresDatabase.js"

const count: Statement = {
  name: "count",
  text: "SELECT role, state, count(*) AS count FROM vms GROUP BY role, state"
}
const size: Statement = { name: "size", text: "SELECT pg_database_size(current_database()) AS bytes" }

/** Figures of the database, which other daemons may share. PostgreSQL counts; nexusd waits. */
export const layer = Layer.effect(
  StoreFigures,
  Effect.map(PostgresDatabase, ({ executeOrUnavailable }) =>
    StoreFigures.of({
      vmCounts: executeOrUnavailable(count),
      sizeBytes: Effect.map(executeOrUnavailable<{ bytes: number }>(size), ([row]) => row?.bytes ?? 0)
    })
  )
)
