import { chmodSync, existsSync, statSync, writeFileSync } from "node:fs"
import { dirname } from "node:path"
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { StoreUnavailable } from "../../domain/Errors.js"
import { DatabaseStatus } from "../../domain/Health.js"
import { makeFolder } from "../../system/UserFolders.js"
import { DatabaseRefused } from "../DatabaseRefused.js"
import { places } from "../Places.js"
import { StoreStatus } from "../StoreStatus.js"
import { copyOnce } from "./DatabaseCopy.js"
import { fileAt, look } from "./DatabaseFiles.js"
import { create, drop, inspect, isUnusable } from "./DatabaseSchema.js"
import * as GroupCommit from "./GroupCommit.js"
import { cannotUse, refuse, withFiles } from "./Refusal.js"
import {
  directly,
  enforceForeignKeys,
  openReadOnly,
  openReadWrite,
  type Query,
  type Run,
  transaction
} from "./SqliteConnection.js"
import { isBusy, isFull, isSqlError, toUnavailable } from "./SqliteFailure.js"

/** Runs a query that changes nothing. */
type Read = <A>(query: Query) => Effect.Effect<ReadonlyArray<A>, StoreUnavailable>

/** The one SQLite database of this daemon, opened, checked and set up. */
export class Database extends Context.Tag("nexus/Database")<
  Database,
  {
    /** Sees every change that has succeeded. */
    readonly read: Read
    /**
     * Runs a change in a transaction that holds the write lock from its beginning, shared with other changes of the
     * moment. Once it succeeds, it is durable. A change that fails must do so before it writes.
     */
    readonly write: <A, E>(
      change: (run: Run) => Effect.Effect<A, E | SqlError>
    ) => Effect.Effect<A, Exclude<E, SqlError> | StoreUnavailable>
    /** Reads the database as it was at the first query, whatever is changed meanwhile, until the scope closes. */
    readonly snapshot: Effect.Effect<Read, StoreUnavailable, Scope.Scope>
  }
>() {}

/** How many snapshots there may be at once: each is a connection, and keeps the write-ahead log from being emptied. */
const maxSnapshots = 4

/** How long a call waits for what others hold: less than the 5 s after which a client gives a daemon up. */
const patience = "4 seconds"
const whileBusy = Schedule.jittered(Schedule.spaced("20 millis")).pipe(Schedule.upTo(patience))
const isHeld = (error: unknown) => isSqlError(error) && isBusy(error)

/** Waits for another process's lock without holding up the event loop, which SQLite's own busy handler would. */
export const retryBusy = <A, E, R>(effect: Effect.Effect<A, E | SqlError, R>) =>
  // To set up a retry costs more than most queries.
  Effect.catchIf(effect, isHeld, () => Effect.retry(effect, { while: isHeld, schedule: whileBusy }))

const reading =
  (run: Run, isWhole: Effect.Effect<void, StoreUnavailable>): Read =>
  <A>(query: Query) =>
    Effect.zipLeft(Effect.catchAll(retryBusy(run<A>(query)), toUnavailable), isWhole)

/** Keeps a copy of an older database beside it, then makes the current schema in its place, all under one write lock. */
const upgrade = (sql: SqlClient.SqlClient, path: string, from: number) =>
  Effect.gen(function* () {
    // Copied over a connection of its own, which reads what the lock holds still.
    const kept = yield* copyOnce(path, `${path}.v${from}-`)
    yield* drop(sql)
    yield* create(sql)
    yield* Effect.logWarning(
      `${path} had schema version ${from}; it is kept as ${kept}, and a fresh database takes its place`
    )
  })

/**
 * On a full disk, merges the write-ahead log into the database and empties it, which may make room, and tries once more;
 * so it does before the next change, should there be room for that by then.
 */
const makeRoomWith = (sql: SqlClient.SqlClient) => {
  let full = false
  const emptyLog = sql`PRAGMA wal_checkpoint(TRUNCATE)`
  return <A>(change: Effect.Effect<A, SqlError>) =>
    Effect.suspend(() => (full ? Effect.zipRight(Effect.ignore(emptyLog), change) : change)).pipe(
      Effect.catchIf(isFull, () => Effect.zipRight(emptyLog, change)),
      Effect.tapBoth({
        onFailure: (error) => Effect.sync(() => (full = isFull(error))),
        onSuccess: () => Effect.sync(() => (full = false))
      })
    )
}

/** Reads back what durability stands on: some file systems can't do WAL, and SQLite says so by not doing it. */
const checkDurability = (sql: SqlClient.SqlClient, path: string) =>
  Effect.gen(function* () {
    const [found] = yield* sql<{ journal_mode: string; synchronous: number }>`
      SELECT journal_mode, synchronous FROM pragma_journal_mode, pragma_synchronous
    `
    if (found?.journal_mode !== "wal" || found.synchronous !== 2) {
      return yield* new DatabaseRefused({
        message: `${path} is on a file system that can't keep a write-ahead log (journal_mode ${found?.journal_mode}, synchronous ${found?.synchronous}): give a file on a local disk with --db PATH`
      })
    }
  })

/** Opens the file at `path`, made if there is none, and leaves it with the current schema or untouched. */
export const prepare = (path: string) =>
  Effect.gen(function* () {
    yield* withFiles(path, () => makeFolder(dirname(path)))
    const found = existsSync(path) ? yield* look(path) : undefined
    if (found !== undefined && isUnusable(found)) return yield* refuse(path, found)
    yield* withFiles(path, () => {
      writeFileSync(path, "", { flag: "a", mode: 0o600 })
      chmodSync(path, 0o600)
    })
    const sql = yield* openReadWrite(path)
    const settle = Effect.gen(function* () {
      // Nobody takes a current schema back. Else it is looked at again under the lock: another daemon may have been here.
      if (found?._tag === "Current") return
      const contents = yield* inspect(sql)
      if (isUnusable(contents)) return yield* refuse(path, contents)
      if (contents._tag === "Empty") yield* create(sql)
      if (contents._tag === "Older") yield* upgrade(sql, path, contents.version)
    })
    yield* retryBusy(transaction(yield* directly(sql), settle))
    yield* enforceForeignKeys(sql)
    yield* checkDurability(sql, path)
    return sql
  }).pipe(retryBusy, Effect.mapError(cannotUse(path)))

const sizes = `SELECT
  (SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name NOT GLOB 'sqlite_*') AS table_count,
  (SELECT page_count * page_size FROM pragma_page_count, pragma_page_size) AS size_bytes`
const decodeStatus = Schema.decodeUnknown(DatabaseStatus)

/** The database at `path`, with its schema made or upgraded as need be. */
export const layer = (path: string): Layer.Layer<Database | StoreStatus | SqlClient.SqlClient, DatabaseRefused> =>
  Layer.scopedContext(
    Effect.gen(function* () {
      const before = fileAt(path)
      const sql = yield* prepare(path)
      const opened = fileAt(path)
      const openedLog = fileAt(`${path}-wal`)
      if (before !== undefined && before !== opened) {
        return yield* new DatabaseRefused({ message: `${path} was replaced while it was opened: start again` })
      }

      // SQLite goes on writing into a file that was removed or replaced: such a write would be lost with the process.
      const inPlace = Effect.suspend(() =>
        fileAt(path) === opened && fileAt(`${path}-wal`) === openedLog
          ? Effect.void
          : Effect.zipRight(
              Effect.logError(`store: ${path} was removed or replaced; put it back, or restart nexusd`),
              new StoreUnavailable({ error: "the database file was removed or replaced" })
            )
      )

      // SQLite takes what a page lacks that was cut short for zeros, and so finds nothing where there was something.
      const pages = yield* Effect.mapError(
        sql<{ size: number }>`SELECT page_size AS size FROM pragma_page_size`,
        cannotUse(path)
      )
      const pageSize = pages[0]?.size ?? 1
      const isWhole = Effect.suspend(() =>
        (statSync(path, { throwIfNoEntry: false })?.size ?? 0) % pageSize === 0
          ? Effect.void
          : Effect.zipRight(
              Effect.logError(
                `store: ${path} was cut short; stop nexusd, and put a backup in its place with nexusd restore`
              ),
              new StoreUnavailable({ error: "the database is damaged" })
            )
      )

      // Readers have a connection of their own, which never sees a change before its commit.
      const reader = yield* openReadOnly(path).pipe(Effect.flatMap(directly), Effect.mapError(cannotUse(path)))
      const writer = yield* Effect.mapError(directly(sql), cannotUse(path))
      const makingRoom = makeRoomWith(sql)
      const write = yield* GroupCommit.make(<A>(body: Effect.Effect<A, SqlError>) =>
        inPlace.pipe(
          Effect.zipRight(isWhole),
          Effect.zipRight(makingRoom(transaction(writer, body))),
          Effect.zipLeft(inPlace)
        )
      )
      const place = yield* places(
        maxSnapshots,
        patience,
        `${maxSnapshots} long lists are being read; ask again, or page by page with limit`
      )
      const snapshot = Effect.gen(function* () {
        yield* place
        yield* inPlace
        const run = yield* directly(yield* openReadOnly(path))
        yield* inPlace
        yield* run(["BEGIN", []])
        return reading(run, isWhole)
      }).pipe(retryBusy, Effect.catchIf(isSqlError, toUnavailable))

      const database = Database.of({
        read: reading(reader, isWhole),
        write: (change) => Effect.catchIf(write(change(writer)), isSqlError, toUnavailable),
        snapshot
      })

      const status = StoreStatus.of({
        check: Effect.zipRight(
          inPlace,
          Effect.flatMap(database.read<object>([sizes, []]), ([row]) => Effect.orDie(decodeStatus({ path, ...row })))
        )
      })

      return Context.make(Database, database).pipe(
        Context.add(StoreStatus, status),
        Context.add(SqlClient.SqlClient, sql)
      )
    })
  )
