import * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { QueryResultRow } from "pg"
import { StoreUnavailable } from "../../domain/Errors.js"
import { DatabaseStatus } from "../../domain/Health.js"
import { DatabaseOpenError } from "../DatabaseOpenError.js"
import { scopedPermits } from "../ScopedPermits.js"
import { StoreHealth } from "../StoreHealth.js"
import { connections, query, type Statement } from "./PostgresConnection.js"
import { isPermanent, isSqlError, readOnly, toOpenError, toUnavailable, unconnected } from "./PostgresErrors.js"
import { serving, snapshots } from "./PostgresPool.js"
import { ensureSchema, objection } from "./PostgresSchema.js"
import type { PostgresTarget } from "./PostgresUrl.js"

/** The PostgreSQL database that this daemon shares with others, reached, checked and set up. */
export class PostgresDatabase extends Context.Tag("nexus/PostgresDatabase")<
  PostgresDatabase,
  {
    /**
     * Runs one statement, which is its own transaction. Once it is asked it goes on to its end, whoever waits for it. A
     * failure without an answer leaves open whether it has changed anything.
     */
    readonly run: <Row extends QueryResultRow>(statement: Statement) => Effect.Effect<ReadonlyArray<Row>, SqlError>
    /** The same, with any failure told as an outage. */
    readonly ask: <Row extends QueryResultRow>(
      statement: Statement
    ) => Effect.Effect<ReadonlyArray<Row>, StoreUnavailable>
    /** Reads everything as it is when the scope begins, for as long as that lasts. */
    readonly snapshot: Effect.Effect<
      <Row extends QueryResultRow>(statement: Statement) => Effect.Effect<ReadonlyArray<Row>, StoreUnavailable>,
      StoreUnavailable,
      Scope.Scope
    >
  }
>() {}

/** In milliseconds: less than the 5 s after which a client gives the daemon up. */
const patience = 4_500

/** How long a server that can't be reached at start is waited for. */
const startPatience = Duration.seconds(30)

const decodeStatus = Schema.decodeUnknown(DatabaseStatus)

/** Waits for a server that is not there yet; says so once. */
const waitFor = (target: PostgresTarget, time: Duration.Duration) => {
  let isSaid = false
  return <A, E, R>(open: Effect.Effect<A, E | SqlError, R>) =>
    open.pipe(
      Effect.tapError((error) => {
        if (!isSqlError(error) || isPermanent(error) || isSaid) return Effect.void
        isSaid = true
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
 * The database that a URL names, with its tables made if there are none. Options are for tests: how long the server is
 * waited for at start.
 */
export const layer = (
  target: PostgresTarget,
  options?: { readonly startPatience?: Duration.DurationInput }
): Layer.Layer<PostgresDatabase | StoreHealth | SqlClient.SqlClient, DatabaseOpenError> =>
  Layer.scopedContext(
    Effect.gen(function* () {
      const { everyWay, pool, sql, transaction } = yield* connections(target, serving)

      const contents = yield* waitFor(
        target,
        Duration.decode(options?.startPatience ?? startPatience)
      )(everyWay(ensureSchema(sql)))
      const problem = objection(contents)
      if (problem !== undefined) return yield* new DatabaseOpenError({ message: `${target.redactedUrl} ${problem}` })

      const once = <Row extends QueryResultRow>(statement: Statement) =>
        Effect.async<ReadonlyArray<Row>, SqlError>((resume) => {
          const fail = (cause: unknown, message?: string) =>
            resume(new SqlError({ cause, ...(message !== undefined && { message }) }))
          const timer = setTimeout(() => fail(new Error("the server did not answer in time")), patience)
          pool.connect((cause, client) => {
            if (client === undefined) {
              clearTimeout(timer)
              return fail(cause, unconnected)
            }
            query<Row>(client, statement)
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
      const run = <Row extends QueryResultRow>(statement: Statement) => everyWay(once<Row>(statement))
      const ask = <Row extends QueryResultRow>(statement: Statement) =>
        Effect.catchAll(run<Row>(statement), toUnavailable)

      const place = yield* scopedPermits(snapshots, patience, "too many long lists are read at once; try again")
      const snapshot = Effect.gen(function* () {
        yield* place
        const read = yield* Effect.catchAll(
          transaction("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"),
          toUnavailable
        )
        return <Row extends QueryResultRow>(statement: Statement) =>
          Effect.catchAll(read<Row>(statement), toUnavailable)
      })

      const status = StoreHealth.of({
        check: ask<{ is_read_only: boolean }>({
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

      return Context.make(PostgresDatabase, { run, ask, snapshot }).pipe(
        Context.add(StoreHealth, status),
        Context.add(SqlClient.SqlClient, sql)
      )
    })
  )
