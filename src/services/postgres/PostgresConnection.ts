import * as Reactivity from "@effect/experimental/Reactivity"
import { SqlError } from "@effect/sql/SqlError"
import * as PgClient from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Pool, PoolClient, QueryResultRow } from "pg"
import type { PostgresTarget } from "../PostgresUrl.js"
import { PooledSession, queryWithLimit } from "./Pooler.js"
import { connectErrorMessage, isConnectError, toOpenError } from "./PostgresErrors.js"
import { makePool, type PoolTimeouts } from "./PostgresPool.js"

/** A statement and the values of its parameters `$1`, `$2` and so on. */
export interface Statement {
  /** PostgreSQL parses and plans a named statement once per connection. One name always has the same text. */
  readonly name?: string
  readonly text: string
  readonly values?: ReadonlyArray<unknown>
}

/** Runs one statement and returns its rows. */
export type Run = <Row extends QueryResultRow>(statement: Statement) => Effect.Effect<ReadonlyArray<Row>, SqlError>

/** pg's pool. When the scope closes, the pool ends; a connection that takes longer than a second is destroyed. */
const openPool = (target: PostgresTarget, timeouts: PoolTimeouts) =>
  Effect.acquireRelease(
    Effect.try({ try: () => makePool(target, timeouts), catch: toOpenError(target.redactedUrl) }),
    ({ destroyAll: abandonAll, pool }) =>
      Effect.promise(() => pool.end()).pipe(
        Effect.interruptible,
        Effect.timeoutOption("1 second"),
        Effect.zipRight(Effect.sync(abandonAll))
      )
  )

const connectTo = (pool: Pool) =>
  Effect.async<PoolClient, SqlError>((resume) =>
    pool.connect((cause, client) =>
      resume(client === undefined ? new SqlError({ cause, message: connectErrorMessage }) : Effect.succeed(client))
    )
  )

/**
 * Makes a function that runs a statement again when no connection could be made: over the next route as long as there are
 * routes, and over the same one after a pooler has been noticed, which refuses the first connection.
 */
const failoverOf = ({
  currentRoute,
  isPooled,
  routeCount
}: Pick<ReturnType<typeof makePool>, "currentRoute" | "isPooled" | "routeCount">) => {
  const withFailover = <A, E, R>(
    statement: Effect.Effect<A, E | SqlError, R>,
    routesLeft = routeCount - 1
  ): Effect.Effect<A, E | SqlError, R> =>
    Effect.suspend(() => {
      const [route, wasPooled] = [currentRoute(), isPooled()]
      const isPoolerFound = () => isPooled() !== wasPooled
      return Effect.catchIf(
        statement,
        (error) => isConnectError(error) && (isPoolerFound() || (routesLeft > 0 && currentRoute() !== route)),
        () => withFailover(statement, isPoolerFound() ? routesLeft : routesLeft - 1)
      )
    })
  return withFailover
}

/**
 * Makes connections that nothing else uses, each until its scope closes. A pooler's fails, since its sessions are lent for one
 * transaction.
 */
export const openSessions = (target: PostgresTarget, timeouts: PoolTimeouts) =>
  Effect.map(openPool(target, timeouts), ({ isClient, isPooled, pool, ...routes }) =>
    Effect.acquireRelease(failoverOf({ isPooled, ...routes })(connectTo(pool)), (client) =>
      Effect.sync(() => client.release(true))
    ).pipe(
      Effect.filterOrFail(
        () => !isPooled(),
        () => new SqlError({ cause: new PooledSession() })
      ),
      Effect.tap((client) => Effect.sync(() => isClient(client) && client.stopAnswerTimer()))
    )
  )

/** A direct connection has these limits for all its time. */
const transactionLimits = ({ idleTransactionMillis, statementMillis }: PoolTimeouts) => [
  `SET LOCAL statement_timeout = ${statementMillis}`,
  `SET LOCAL idle_in_transaction_session_timeout = ${idleTransactionMillis}`
]

/** Connections to a target's servers, until the scope closes. */
export const openConnections = (target: PostgresTarget, timeouts: PoolTimeouts) =>
  Effect.gen(function* () {
    const { currentRoute, isClient, isPooled, pool, routeCount } = yield* openPool(target, timeouts)
    const sql = yield* PgClient.fromPool({ acquire: Effect.succeed(pool) }).pipe(
      Effect.provide(Reactivity.layer),
      Effect.orDie
    )

    const withFailover = failoverOf({ currentRoute, isPooled, routeCount })
    const connect = connectTo(pool)

    /** Runs a statement on pg itself. @effect/sql has no named statements, and its overhead is as long as the statement. */
    const query = <Row extends QueryResultRow>(client: PoolClient, { name, text, values = [] }: Statement) =>
      client.query<Row, Array<unknown>>({
        ...(name !== undefined && !isPooled() && { name }),
        text,
        values: [...values]
      })

    /** Runs a statement as its own transaction. */
    const queryAlone = <Row extends QueryResultRow>(client: PoolClient, statement: Statement) =>
      isPooled()
        ? queryWithLimit<Row>(
            client,
            { text: statement.text, values: [...(statement.values ?? [])] },
            timeouts.statementMillis
          )
        : query<Row>(client, statement)

    /**
     * Begins a transaction on its own connection, and runs `setUp` in it. When the scope closes it rolls back, unless it was
     * committed. A statement that exceeds `answerMillis` ends the connection.
     */
    const transaction = (begin: string, ...setUp: ReadonlyArray<string>): Effect.Effect<Run, SqlError, Scope.Scope> =>
      Effect.gen(function* () {
        const held = yield* Effect.acquireRelease(
          Effect.map(withFailover(connect), (client) => {
            if (isClient(client)) client.stopAnswerTimer()
            return { client, isSound: true, isCommitted: false }
          }),
          ({ client, isSound }) => Effect.sync(() => client.release(!isSound))
        )
        const { client } = held
        const run: Run = <Row extends QueryResultRow>(statement: Statement) =>
          Effect.tryPromise({
            try: () => {
              if (isClient(client)) client.startAnswerTimer()
              return query<Row>(client, statement)
            },
            catch: (cause) => {
              held.isSound = false
              return new SqlError({ cause })
            }
          }).pipe(
            Effect.ensuring(Effect.sync(() => isClient(client) && client.stopAnswerTimer())),
            Effect.uninterruptible,
            Effect.map(({ rows }) => {
              held.isCommitted = statement.text === "COMMIT"
              return rows
            })
          )
        const limits = isPooled() ? transactionLimits(timeouts) : []
        yield* Effect.acquireRelease(run({ text: [begin, ...limits, ...setUp].join("; ") }), () =>
          held.isSound && !held.isCommitted ? Effect.ignore(run({ text: "ROLLBACK" })) : Effect.void
        )
        return run
      })

    return { isPooled, pool, queryAlone, sql, transaction, withFailover }
  })
