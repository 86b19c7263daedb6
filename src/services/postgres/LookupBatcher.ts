import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Runtime from "effect/Runtime"
import type { Vm } from "../../domain/Vm.js"
import { yieldToEventLoop } from "../../runtime/EventLoop.js"
import { columns, toVm, type VmRow } from "../VmRow.js"
import type { Statement } from "./PostgresConnection.js"
import type { PostgresDatabase } from "./PostgresDatabase.js"

/** The records with those ids or, where no id matches, those names: two look-ups each, the second only without the first. */
const find = (namesOrIds: ReadonlyArray<string>): Statement => ({
  name: "find",
  text: `
    SELECT place::int AS place, found.*
    -- How many there are is kept from the planner, which would plan anew for each number of them.
    FROM unnest((SELECT $1::text[])) WITH ORDINALITY AS wanted (name_or_id, place)
    CROSS JOIN LATERAL (
      SELECT ${columns.join(", ")} FROM vms
      WHERE id = coalesce((SELECT id FROM vms WHERE id = name_or_id), (SELECT id FROM vms WHERE name = name_or_id))
      -- Each is looked up by itself, however few records the planner takes the table to have.
      LIMIT 1
    ) AS found
  `,
  values: [namesOrIds]
})

/** A record with the position of what was looked up. A type, since pg wants an index signature. */
type Row = VmRow & { readonly place: number }

interface Waiting {
  readonly nameOrId: string
  readonly resume: (outcome: Effect.Effect<Vm | undefined, SqlError>) => void
}

/**
 * Looks up records. Look-ups that come in one turn of the event loop share a statement, since asking costs more
 * than looking; none waits for one that is under way.
 */
export const make = ({ run }: Pick<PostgresDatabase["Type"], "run">) =>
  Effect.map(Effect.runtime(), (runtime) => {
    let waiting: Array<Waiting> = []
    const answer = Effect.suspend(() => {
      const batch = waiting
      waiting = []
      return Effect.matchCause(run<Row>(find(batch.map(({ nameOrId }) => nameOrId))), {
        onFailure: (cause) => {
          for (const { resume } of batch) resume(Effect.failCause(cause))
        },
        onSuccess: (rows) => {
          const found = new Map(rows.map(({ place, ...row }) => [place, toVm(row)]))
          for (const [at, { resume }] of batch.entries()) resume(Effect.succeed(found.get(at + 1)))
        }
      })
    })
    return (nameOrId: string) =>
      Effect.async<Vm | undefined, SqlError>((resume) => {
        if (waiting.push({ nameOrId, resume }) === 1)
          Runtime.runFork(runtime)(Effect.zipRight(yieldToEventLoop, answer))
      })
  })
