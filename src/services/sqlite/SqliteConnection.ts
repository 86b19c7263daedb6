import * as Reactivity from "@effect/experimental/Reactivity"
import type * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import * as SqliteClient from "@effect/sql-sqlite-node/SqliteClient"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"

/** How long SQLite waits for a lock. It blocks the event loop meanwhile; `retryBusy` waits longer without that. */
const busyTimeoutMillis = 50

/** What every connection that writes is set to, at every open: a reopened file has SQLite's defaults again. */
const pragmas = ["journal_mode = WAL", "synchronous = FULL", "foreign_keys = OFF"]

const [begin, commit, rollback] = ["BEGIN IMMEDIATE", "COMMIT", "ROLLBACK"]

/** How long the library keeps a prepared statement. It keeps a failed prepare for as long. */
const prepareCacheTTL = "1 second"

/** Opens a SQLite file that exists, until the scope closes. Fails with `SqlError`; the library itself throws. */
const open = (filename: string, options?: { readonly readonly: true }) =>
  SqliteClient.make({ filename, ...options, disableWAL: true, prepareCacheTTL }).pipe(
    Effect.catchAllDefect((cause) => new SqlError({ cause, message: "Failed to open database" })),
    Effect.tap((sql) => sql.unsafe(`PRAGMA busy_timeout = ${busyTimeoutMillis}`)),
    Effect.provide(Reactivity.layer)
  )

/** Opens a file that exists, for looking only: not a byte of it is changed. */
export const openReadOnly = (filename: string) => open(filename, { readonly: true })

/**
 * Opens a file that exists as one that may be written, and leaves its settings alone. Unlike a read-only connection, this
 * one parses CHECK constraints, and `PRAGMA integrity_check` tests them (SQLite's sqlite3AddCheckConstraint).
 */
export const openWritable = (filename: string) => open(filename)

/** References hold from here on; not yet while the schema is changed, since tables are dropped one by one. */
export const enforceForeignKeys = (sql: SqlClient.SqlClient) => sql`PRAGMA foreign_keys = ON`

/** Opens a file that exists, for reading and writing, and sets the pragmas. */
export const openReadWrite = (filename: string) =>
  Effect.tap(open(filename), (sql) => Effect.forEach(pragmas, (pragma) => sql.unsafe(`PRAGMA ${pragma}`)))

/** A statement's text, and what stands for its parameters: as `Statement.compile` gives them. */
export type Query = readonly [text: string, parameters: ReadonlyArray<unknown>]

/** Runs one statement. */
export type Run = <A>(query: Query) => Effect.Effect<ReadonlyArray<A>, SqlError>

/**
 * Runs statements straight on a client's one connection. The client's own way, with a span for each, costs five times the
 * statement.
 */
export const reserveExecutor = (sql: SqlClient.SqlClient): Effect.Effect<Run, SqlError> =>
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
    run([begin, []]),
    () => Effect.zipLeft(body, run([commit, []])),
    // After some failures SQLite has rolled back by itself, and says so here.
    (_, exit) => (Exit.isSuccess(exit) ? Effect.void : Effect.ignore(run([rollback, []])))
  )

/**
 * Does something while no other process has the database open, nor can open it. Its log is merged into it first, so that
 * the file is the whole of it.
 */
export const withExclusiveLock = <A, E, R>(filename: string, use: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const sql = yield* openWritable(filename)
    // Leaving WAL mode takes the lock that every connection in WAL mode shares for as long as it is open.
    yield* sql`PRAGMA journal_mode = DELETE`
    yield* sql`PRAGMA locking_mode = EXCLUSIVE`
    yield* sql`BEGIN EXCLUSIVE`
    return yield* use
  }).pipe(Effect.scoped)
