import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Runtime from "effect/Runtime"
import type * as Tracer from "effect/Tracer"
import type { Vm } from "../../domain/Vm.js"
import { yieldToEventLoop } from "../../runtime/EventLoop.js"
import { toVm, type VmRow } from "../VmRow.js"
import type { Statement } from "./PostgresConnection.js"
import type { PostgresDatabase } from "./PostgresDatabase.js"
import { shownColumns } from "./VmJsonPostgres.js"

/** Finds each record by its id, else by its name: one index look-up, or two. */
const findStatement = (namesOrIds: ReadonlyArray<string>): Statement => ({
  name: "find",
  text: `
    SELECT position::int AS position, found.*
    -- The subquery hides the array's length from the planner, which would make another plan for each length.
    FROM unnest((SELECT $1::text[])) WITH ORDINALITY AS wanted (name_or_id, position)
    CROSS JOIN LATERAL (
      SELECT ${shownColumns.join(", ")} FROM vms
      WHERE id = coalesce((SELECT id FROM vms WHERE id = name_or_id), (SELECT id FROM vms WHERE name = name_or_id))
      -- LIMIT keeps the planner on index look-ups, even where it estimates a small table.
      LIMIT 1
    ) AS found
  `,
  values: [namesOrIds]
})

/** A record, and the position of its name or id in the batch, from 1. A type alias, since pg requires an index signature. */
type Row = VmRow & { readonly position: number }

interface PendingLookup {
  readonly nameOrId: string
  readonly span: Tracer.AnySpan | undefined
  readonly resume: (outcome: Effect.Effect<Vm | undefined, SqlError>) => void
}

/** The statement's span is a child of the first look-up's span, and linked to those of the others. */
const inSpans = <A, E>(statement: Effect.Effect<A, E>, batch: ReadonlyArray<PendingLookup>) => {
  const [first, ...others] = batch.flatMap(({ span }) => span ?? [])
  if (first === undefined) return statement
  return others.reduce((linked, span) => Effect.linkSpans(linked, span), Effect.withParentSpan(statement, first))
}

/**
 * Makes a function that finds a record by name or id, or returns `undefined`. Look-ups of one event-loop turn share a
 * statement, since the round trip costs more than the query. None waits for a statement in flight.
 */
export const make = ({ execute }: Pick<PostgresDatabase["Type"], "execute">) =>
  Effect.map(Effect.runtime(), (runtime) => {
    let pending: Array<PendingLookup> = []
    const flush = Effect.suspend(() => {
      const batch = pending
      pending = []
      const statement = execute<Row>(findStatement(batch.map(({ nameOrId }) => nameOrId)))
      return Effect.matchCause(inSpans(statement, batch), {
        onFailure: (cause) => {
          for (const { resume } of batch) resume(Effect.failCause(cause))
        },
        onSuccess: (rows) => {
          const found = new Map(rows.map(({ position, ...row }) => [position, row]))
          for (const [index, { resume }] of batch.entries()) {
            const row = found.get(index + 1)
            // A row that can't be decoded is a defect of its own caller alone.
            resume(Effect.sync(() => row && toVm(row)))
          }
        }
      })
    })
    return (nameOrId: string) =>
      Effect.withFiberRuntime<Vm | undefined, SqlError>(({ currentSpan: span }) =>
        Effect.async((resume) => {
          if (pending.push({ nameOrId, span, resume }) === 1) {
            Runtime.runFork(runtime)(Effect.zipRight(yieldToEventLoop, flush))
          }
        })
      )
  })
