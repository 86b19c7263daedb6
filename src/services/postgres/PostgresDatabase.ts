import * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { PoolClient, QueryResultRow } from "pg"
import { StoreUnavailable } from "../../domain/Errors.js"
import { DatabaseStatus } from "../../domain/Health.js"
import { withSqlSpan } from "../../runtime/ChildSpan.js"
import { DatabaseOpenError } from "../DatabaseOpenError.js"
import type { PostgresTarget } from "../PostgresUrl.js"
import { scopedPermits } from "../ScopedPermits.js"
import { StoreHealth } from "../StoreHealth.js"
import { PooledSession } from "./Pooler.js"
import { openConnections, openSessions, type Run, type Statement } from "./PostgresConnection.js"
import { connectErrorMessage, isPermanent, isSqlError, readOnly, toOpenError, toUnavailable } from "./PostgresErrors.js"
import { maxSnapshots, maxTransactions, requestTimeouts } from "./PostgresPool.js"
import { ensureSchema, unusableMessage } from "./PostgresSchema.js"

/** The PostgreSQL database, shared with other daemons. It is connected, and its schema is current. */
export class PostgresDatabase extends Context.Tag("nexus/PostgresDatabase")<
  PostgresDatabase,
  {
    /**
     * Runs one statement as its own transaction. Interrupting the caller does not cancel it. After a failure without an
     * answer of the server, the statement may have taken effect or not.
     */
    readonly execute: <Row extends QueryResultRow>(statement: Statement) => Effect.Effect<ReadonlyArray<Row>, SqlError>
    /** As `execute`. An outage becomes `StoreUnavailable`, any other SQL error a defect. */
    readonly executeOrUnavailable: <Row extends QueryResultRow>(
      statement: Statement
    ) => Effect.Effect<ReadonlyArray<Row>, StoreUnavailable>
    /**
     * Runs `change` in one transaction (READ COMMITTED) and commits it if `change` succeeds. Three run at once; further ones
     * wait. With `lock`, an advisory lock's SQL expression, one runs at a time, in all daemons. After `StoreUnavailable` the
     * transaction may have been committed or not.
     */
    readonly transaction: <A, E>(
      change: (run: Run) => Effect.Effect<A, E | SqlError>,
      lock?: string
    ) => Effect.Effect<A, Exclude<E, SqlError> | StoreUnavailable>
    /** A connection of its own to the server, for LISTEN, until the scope closes. Fails if it would be a pooler's. */
    readonly session: Effect.Effect<PoolClient, SqlError, Scope.Scope>
    /** A read-only snapshot (REPEATABLE READ) that lasts until the scope closes. Holds a connection. */
    readonly snapshot: Effect.Effect<
      <Row extends QueryResultRow>(statement: Statement) => Effect.Effect<ReadonlyArray<Row>, StoreUnavailable>,
      StoreUnavailable,
      Scope.Scope
    >
  }
>() {}

/** Less than the 5 s after which clients time out. */
const requestTimeoutMillis = 4_500

/** How long nexusd retries to reach the server at start. */
const startTimeout = Duration.seconds(30)

/**
 * A daemon that stops in the midst of a transaction holds its locks, which the others wait for: the server ends it soon. A
 * daemon takes milliseconds between two statements.
 */
const changeLimit = "SET LOCAL idle_in_transaction_session_timeout = '5s'"
const beginChange = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"

/** A database's cluster and name. A standby has the identifier of its primary, and refuses LISTEN. */
const identity = "SELECT concat_ws(' ', system_identifier, current_database()) AS identity FROM pg_control_system()"
const identify = (client: PoolClient) =>
  Effect.tryPromise({
    try: () => client.query<{ identity: string }>(`LISTEN nexus; UNLISTEN nexus; ${identity}`),
    catch: (cause) => new SqlError({ cause })
  }).pipe(Effect.map((results) => [results].flat().at(-1)?.rows[0]?.identity))

const decodeStatus = Schema.decodeUnknown(DatabaseStatus)

/** Retries until the server is reached or `time` is over. Logs one warning. */
const retryAtStart = (target: PostgresTarget, time: Duration.Duration) => {
  let hasWarned = false
  return <A, E, R>(open: Effect.Effect<A, E | SqlError, R>) =>
    open.pipe(
      Effect.tapError((error) => {
        if (!isSqlError(error) || isPermanent(error) || hasWarned) return Effect.void
        hasWarned = true
        return Effect.logWarning(
          `${toOpenError(target.redactedUrl)(error).message}; trying again for ${Duration.format(time)}`
        )
      }),
      Effect.retry({
        while: (error) => isSqlError(error) && !isPermanent(error),
        schedule: Schedule.exponential("100 millis").pipe(
          Schedule.union(Schedule.spaced("1 second")),
          Schedule.jittered,
          Schedule.upTo(time)
        )
      }),
      Effect.catchIf(isSqlError, toOpenError(target.redactedUrl))
    )
}

/**
 * Connects to a PostgreSQL database and creates the tables if it has none. Fails with `DatabaseOpenError` if the server
 * can't be reached before `startTimeout` (default 30 s), or the database can't be used.
 */
export const layer = (
  target: PostgresTarget,
  options?: {
    readonly startTimeout?: Duration.DurationInput
    /** The server to listen to (`database.listen_url`), past a pooler; by default that of `target`. */
    readonly listen?: PostgresTarget | undefined
  }
): Layer.Layer<PostgresDatabase | StoreHealth | SqlClient.SqlClient, DatabaseOpenError> =>
  Layer.scopedContext(
    Effect.gen(function* () {
      const { isPooled, pool, queryAlone, sql, transaction, withFailover } = yield* openConnections(
        target,
        requestTimeouts
      )

      /** PgBouncer's `pool_mode = statement` has none. */
      const assertTransactions = Effect.scoped(
        Effect.flatMap(transaction("BEGIN READ ONLY"), (run) => run({ text: "COMMIT" }))
      )

      const startLimit = Duration.decode(options?.startTimeout ?? startTimeout)
      const contents = yield* retryAtStart(
        target,
        startLimit
      )(withFailover(Effect.zipRight(assertTransactions, ensureSchema(sql))))
      const problem = unusableMessage(contents)
      if (problem !== undefined) return yield* new DatabaseOpenError({ message: `${target.redactedUrl} ${problem}` })

      if (isPooled()) yield* Effect.logInfo(`${target.redactedUrl} leads through a connection pooler`)

      const executeOnce = <Row extends QueryResultRow>(statement: Statement) =>
        Effect.async<ReadonlyArray<Row>, SqlError>((resume) => {
          const fail = (cause: unknown, message?: string) =>
            resume(new SqlError({ cause, ...(message !== undefined && { message }) }))
          const timer = setTimeout(() => fail(new Error("the server did not answer in time")), requestTimeoutMillis)
          pool.connect((cause, client) => {
            if (client === undefined) {
              clearTimeout(timer)
              return fail(cause, connectErrorMessage)
            }
            queryAlone<Row>(client, statement)
              .then(
                ({ rows }) => resume(Effect.succeed(rows)),
                (error) => fail(error)
              )
              .finally(() => {
                clearTimeout(timer)
                client.release()
              })
          })
        })
      const execute = <Row extends QueryResultRow>(statement: Statement) =>
        withSqlSpan(withFailover(executeOnce<Row>(statement)), "postgresql", statement.text)
      const executeOrUnavailable = <Row extends QueryResultRow>(statement: Statement) =>
        Effect.catchAll(execute<Row>(statement), toUnavailable)

      const listen = options?.listen
      const session = yield* openSessions(listen ?? target, requestTimeouts)
      if (listen !== undefined) {
        const found = yield* retryAtStart(listen, startLimit)(Effect.scoped(Effect.flatMap(session, identify)))
        const [own] = yield* Effect.mapError(
          execute<{ identity: string }>({ text: identity }),
          toOpenError(target.redactedUrl)
        )
        if (own?.identity !== found) {
          return yield* new DatabaseOpenError({
            message: `database.listen_url ${listen.redactedUrl} is another database than ${target.redactedUrl}`
          })
        }
      }

      const permit = yield* scopedPermits(
        maxSnapshots,
        requestTimeoutMillis,
        "too many long lists are read at once; try again"
      )
      const snapshot = Effect.gen(function* () {
        yield* permit
        const read = yield* Effect.catchAll(
          transaction("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"),
          toUnavailable
        )
        return <Row extends QueryResultRow>(statement: Statement) =>
          Effect.catchAll(read<Row>(statement), toUnavailable)
      })

      const changePermits = (count: number) =>
        scopedPermits(count, requestTimeoutMillis, "too many VMs are changed at once; try again")
      const permitUnlocked = yield* changePermits(maxTransactions - 1)
      const permitLocked = yield* changePermits(1)
      const withTransaction = <A, E>(change: (run: Run) => Effect.Effect<A, E | SqlError>, lock?: string) =>
        Effect.gen(function* () {
          yield* lock === undefined ? permitUnlocked : permitLocked
          const run = yield* transaction(beginChange, changeLimit, ...(lock === undefined ? [] : [`SELECT ${lock}`]))
          const result = yield* change((statement) => withSqlSpan(run(statement), "postgresql", statement.text))
          yield* run({ text: "COMMIT" })
          return result
        }).pipe(Effect.scoped, Effect.catchIf(isSqlError, toUnavailable))

      const status = StoreHealth.of({
        check: executeOrUnavailable<{ is_read_only: boolean }>({
          text: `
            SELECT count(*) AS table_count, pg_database_size(current_database()) AS size_bytes,
              current_setting('transaction_read_only')::boolean AS is_read_only
            FROM pg_class
            WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
              AND relkind IN ('r', 'p')
          `
        }).pipe(
          Effect.flatMap(([row]) =>
            row?.is_read_only === true
              ? new StoreUnavailable({ message: readOnly })
              : Effect.orDie(decodeStatus({ path: target.redactedUrl, ...row }))
          )
        )
      })

      return Context.make(PostgresDatabase, {
        execute,
        executeOrUnavailable,
        transaction: withTransaction,
        session: Effect.suspend(() =>
          listen === undefined && isPooled() ? new SqlError({ cause: new PooledSession() }) : session
        ),
        snapshot
      }).pipe(Context.add(StoreHealth, status), Context.add(SqlClient.SqlClient, sql))
    })
  )
