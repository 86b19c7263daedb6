import * as Reactivity from "@effect/experimental/Reactivity"
import { SqlError } from "@effect/sql/SqlError"
import * as PgClient from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { PoolClient, QueryResultRow } from "pg"
import { isUnconnected, toOpenError, unconnected } from "./PostgresErrors.js"
import { makePool, type PoolTimeouts } from "./PostgresPool.js"
import type { PostgresTarget } from "./PostgresUrl.js"

/** A statement, with its values as `$1`, `$2` and so on. */
export interface Statement {
  /** A connection plans a statement once that has a name. The text is the same wherever the name is. */
  readonly name?: string
  readonly text: string
  readonly values?: ReadonlyArray<unknown>
}

/** Runs one statement. */
export type Run = <Row extends QueryResultRow>(statement: Statement) => Effect.Effect<ReadonlyArray<Row>, SqlError>

/** pg's pool, ended with the scope; connections that hang at that time are cut. */
const openPool = (target: PostgresTarget, patience: PoolTimeouts) =>
  Effect.acquireRelease(
    Effect.try({ try: () => makePool(target, patience), catch: toOpenError(target.redactedUrl) }),
    ({ abandonAll, pool }) =>
      Effect.promise(() => pool.end()).pipe(
        Effect.interruptible,
        Effect.timeoutOption("1 second"),
        Effect.zipRight(Effect.sync(abandonAll))
      )
  )

/** On pg itself: @effect/sql has no named statements, and what it does beside takes as long as the statement. */
export const query = <Row extends QueryResultRow>(client: PoolClient, { name, text, values = [] }: Statement) =>
  client.query<Row, Array<unknown>>({ ...(name !== undefined && { name }), text, values: [...values] })

/** The ways to whichever of a target's servers can be reached, until the scope closes. */
export const connections = (target: PostgresTarget, patience: PoolTimeouts) =>
  Effect.gen(function* () {
    const { isClient, pool, way, ways } = yield* openPool(target, patience)
    const sql = yield* PgClient.fromPool({ acquire: Effect.succeed(pool) }).pipe(
      Effect.provide(Reactivity.layer),
      Effect.orDie
    )

    /** Goes the next way to a server, if there is one, as long as nothing was asked of any. */
    const withFailover = <A, E, R>(
      statement: Effect.Effect<A, E | SqlError, R>,
      left = ways - 1
    ): Effect.Effect<A, E | SqlError, R> =>
      left === 0
        ? statement
        : Effect.suspend(() => {
            const before = way()
            return Effect.catchIf(
              statement,
              (error) => isUnconnected(error) && way() !== before,
              () => withFailover(statement, left - 1)
            )
          })

    const connect = Effect.async<PoolClient, SqlError>((resume) =>
      pool.connect((cause, client) =>
        resume(client === undefined ? new SqlError({ cause, message: unconnected }) : Effect.succeed(client))
      )
    )

    /**
     * A transaction on a connection of its own, which must answer each statement in time. When the scope closes it is
     * undone, unless it was committed.
     */
    const transaction = (begin: string): Effect.Effect<Run, SqlError, Scope.Scope> =>
      Effect.gen(function* () {
        const held = yield* Effect.acquireRelease(
          Effect.map(withFailover(connect), (client) => {
            if (isClient(client)) client.answered()
            return { client, isSound: true }
          }),
          ({ client, isSound }) => Effect.sync(() => client.release(!isSound))
        )
        const { client } = held
        const run: Run = <Row extends QueryResultRow>(statement: Statement) =>
          Effect.tryPromise({
            try: () => {
              if (isClient(client)) client.expectAnswer()
              return query<Row>(client, statement)
            },
            catch: (cause) => {
              held.isSound = false
              return new SqlError({ cause })
            }
          }).pipe(
            Effect.ensuring(Effect.sync(() => isClient(client) && client.answered())),
            Effect.uninterruptible,
            Effect.map(({ rows }) => rows)
          )
        yield* Effect.acquireRelease(run({ text: begin }), () =>
          held.isSound ? Effect.ignore(run({ text: "ROLLBACK" })) : Effect.void
        )
        return run
      })

    return { everyWay: withFailover, pool, sql, transaction }
  })
