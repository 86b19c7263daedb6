import * as Reactivity from "@effect/experimental/Reactivity"
import type * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import * as SqliteClient from "@effect/sql-sqlite-node/SqliteClient"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { withSqlSpan } from "../../runtime/ChildSpan.js"

/** How long SQLite waits for a lock, which blocks the event loop. `retryBusy` waits longer without blocking. */
const busyTimeoutMillis = 50

/** Set at every open of a writer, since all but journal_mode are properties of a connection. */
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

/** Opens an existing file read-only. */
export const openReadOnly = (filename: string) => open(filename, { readonly: true })

/**
 * Opens an existing file read-write without changing its settings. Unlike a read-only connection, this one parses CHECK
 * constraints, and `PRAGMA integrity_check` tests them (SQLite's sqlite3AddCheckConstraint).
 */
export const openWritable = (filename: string) => open(filename)

/** Enforces foreign keys. They are off while the schema changes, since tables are dropped one by one. */
export const enforceForeignKeys = (sql: SqlClient.SqlClient) => sql`PRAGMA foreign_keys = ON`

/** Opens an existing file read-write and sets the pragmas. */
export const openReadWrite = (filename: string) =>
  Effect.tap(open(filename), (sql) => Effect.forEach(pragmas, (pragma) => sql.unsafe(`PRAGMA ${pragma}`)))

/** A statement's text and the values of its parameters, as `Statement.compile` returns them. */
export type Query = readonly [text: string, parameters: ReadonlyArray<unknown>]

/** Runs one statement and returns its rows. */
export type Run = <A>(query: Query) => Effect.Effect<ReadonlyArray<A>, SqlError>

/** Runs statements directly on a client's connection. The client's queue, span and compilation cost five times as much. */
export const reserveExecutor = (sql: SqlClient.SqlClient): Effect.Effect<Run, SqlError> =>
  Effect.map(
    Effect.scoped(sql.reserve),
    (connection): Run =>
      ([text, parameters]) =>
        withSqlSpan(connection.execute(text, parameters, undefined), "sqlite", text)
  )

/**
 * Runs `body` in one transaction that takes the write lock first, so that its reads stay true until its writes.
 * `SqlClient.withTransaction` begins without the lock, and leaves the transaction open when COMMIT fails.
 */
export const transaction = <A, E, R>(run: Run, body: Effect.Effect<A, E, R>) =>
  Effect.acquireUseRelease(
    run([begin, []]),
    () => Effect.zipLeft(body, run([commit, []])),
    // ROLLBACK fails where SQLite has already rolled back by itself.
    (_, exit) => (Exit.isSuccess(exit) ? Effect.void : Effect.ignore(run([rollback, []])))
  )

/**
 * Runs `use` while no other process has the database open or can open it. Merges the log into the file first. Fails with
 * SQLITE_BUSY if another process has it open.
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
