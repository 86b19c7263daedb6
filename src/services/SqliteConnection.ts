import * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import * as SqliteClient from "@effect/sql-sqlite-node/SqliteClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"

/** What every connection that writes is set to, at every open: a reopened file has SQLite's defaults again. */
const pragmas = ["busy_timeout = 50", "journal_mode = WAL", "synchronous = FULL", "foreign_keys = OFF"]

/** Opens a SQLite file. `SqliteClient` throws what goes wrong while it is built; here that is a `SqlError` too. */
const open = (config: SqliteClient.SqliteClientConfig) =>
  Layer.build(SqliteClient.layer(config)).pipe(
    Effect.map((context) => Context.get(context, SqlClient.SqlClient)),
    Effect.catchAllDefect((cause) => new SqlError({ cause })),
    Effect.catchTag("ConfigError", Effect.die)
  )

/** Opens a file that exists, for looking only: not a byte of it is changed. */
export const openReadOnly = (filename: string) =>
  Effect.tap(open({ filename, readonly: true, disableWAL: true }), (sql) => sql`PRAGMA busy_timeout = 50`)

/** References hold from here on; not yet while the schema is changed, since tables are dropped one by one. */
export const enforceForeignKeys = (sql: SqlClient.SqlClient) => sql`PRAGMA foreign_keys = ON`

/** Opens a file, made if need be, for reading and writing, and sets the pragmas. */
export const openReadWrite = (filename: string) =>
  Effect.tap(open({ filename, disableWAL: true }), (sql) =>
    Effect.forEach(pragmas, (pragma) => sql.unsafe(`PRAGMA ${pragma}`))
  )

/** A statement's text, and what stands for its parameters: as `Statement.compile` gives them. */
export type Query = readonly [text: string, parameters: ReadonlyArray<unknown>]

/** Runs one statement. */
export type Run = <A>(query: Query) => Effect.Effect<ReadonlyArray<A>, SqlError>

/**
 * Runs statements straight on a client's one connection. The client's own way, through a queue and a span for each, costs
 * five times the statement; so whoever uses this sees to it that a transaction has its connection for itself.
 */
export const directly = (sql: SqlClient.SqlClient): Effect.Effect<Run, SqlError> =>
  Effect.map(
    Effect.scoped(sql.reserve),
    (connection): Run =>
      ([text, parameters]) =>
        connection.execute(text, parameters, undefined)
  )

/**
 * One transaction, with the write lock taken first, so that what it reads is still true when it writes.
 * `SqlClient.withTransaction` won't do: it begins without the lock, and a COMMIT that fails leaves it half open.
 */
export const transaction = <A, E, R>(run: Run, body: Effect.Effect<A, E, R>) =>
  Effect.acquireUseRelease(
    run(["BEGIN IMMEDIATE", []]),
    () => Effect.zipLeft(body, run(["COMMIT", []])),
    // After some failures SQLite has rolled back by itself, and says so here.
    (_, exit) => (Exit.isSuccess(exit) ? Effect.void : Effect.ignore(run(["ROLLBACK", []])))
  )

/**
 * Does something while no other process has the database open, nor can open it. Its log is merged into it first, so that
 * the file is the whole of it.
 */
export const exclusively = <A, E, R>(filename: string, use: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const sql = yield* open({ filename, disableWAL: true })
    yield* sql`PRAGMA busy_timeout = 50`
    // Leaving WAL mode takes the lock that every connection in WAL mode shares for as long as it is open.
    yield* sql`PRAGMA journal_mode = DELETE`
    yield* sql`PRAGMA locking_mode = EXCLUSIVE`
    yield* sql`BEGIN EXCLUSIVE`
    return yield* use
  }).pipe(Effect.scoped)
