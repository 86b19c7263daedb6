import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as SqlClient from "@effect/sql/SqlClient"
import { describe, expect, it } from "@effect/vitest"
import * as Array from "effect/Array"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import { CreateVm } from "../../src/domain/Vm.js"
import { StoreHealth } from "../../src/services/StoreHealth.js"
import * as Database from "../../src/services/sqlite/Database.js"
import * as VmStoreSqlite from "../../src/services/sqlite/VmStoreSqlite.js"
import { VmEvents } from "../../src/services/VmEvents.js"
import { VmStore } from "../../src/services/VmStore.js"
import { withDatabase } from "../support/Sqlite.js"
import { vmEventsContract } from "./VmEventsContract.js"

/** The path of the database under test. */
class DatabasePath extends Context.Tag("test/DatabasePath")<DatabasePath, string>() {}

const path = Layer.scoped(
  DatabasePath,
  Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "nexus-events-"))),
    (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
  ).pipe(Effect.map((folder) => join(folder, "nexus.db")))
)

const layer = Layer.unwrapEffect(
  Effect.map(DatabasePath, (path) => VmStoreSqlite.layer().pipe(Layer.provideMerge(Database.layer(path))))
).pipe(Layer.provideMerge(path), Layer.orDie)

const executeElsewhere = (sql: string) =>
  Effect.map(DatabasePath, (path) => withDatabase(path, (database) => database.exec(sql)))

vmEventsContract("SQLite", layer, { changeElsewhere: executeElsewhere("UPDATE vms SET role = 'portal'") })

/** The kinds of the events until the record `marker` is created. */
const follow = Effect.gen(function* () {
  const { events } = yield* (yield* VmEvents).subscribe()
  const kinds = events.pipe(
    Stream.takeUntil(({ data }) => "name" in data && data.name === "marker"),
    Stream.map(({ event }) => event),
    Stream.runCollect,
    Effect.map(Array.fromIterable)
  )
  const reading = yield* Effect.fork(kinds)
  const untilMarker = Effect.zipRight(
    Effect.flatMap(VmStore, (store) => store.create(CreateVm.make({ name: "marker" }))),
    Fiber.join(reading)
  )
  // The looks for other processes begin with the stream.
  yield* TestClock.adjust("1 second")
  return untilMarker
})

describe("Events on SQLite", () => {
  it.effect("what this process writes, checks and checkpoints is no reset", () =>
    Effect.gen(function* () {
      const untilMarker = yield* follow
      const store = yield* VmStore
      const health = yield* StoreHealth
      // More than the 1,000 pages after which SQLite merges its log into the file and begins it anew.
      for (const round of Array.range(1, 10)) {
        yield* Effect.forEach(
          Array.range(1, 100),
          (at) => store.create(CreateVm.make({ name: `vm-${round}-${at}`, config_json: "{}".padEnd(10_000) })),
          { concurrency: 20 }
        )
        yield* health.check
        yield* store.databaseId
        yield* store.listJson({})
        yield* TestClock.adjust("1 second")
      }
      expect(new Set(yield* untilMarker)).toEqual(new Set(["ready", "created"]))
    }).pipe(Effect.provide(layer))
  )

  it.effect("another process that only reads is no reset", () =>
    Effect.gen(function* () {
      const untilMarker = yield* follow
      yield* executeElsewhere("PRAGMA query_only = ON; SELECT count(*) FROM vms")
      yield* TestClock.adjust("2 seconds")
      expect(yield* untilMarker).toEqual(["ready", "created"])
    }).pipe(Effect.provide(layer))
  )

  it.effect("changes that are rolled back with others of their commit are no events", () =>
    Effect.gen(function* () {
      const store = yield* VmStore
      const sql = yield* SqlClient.SqlClient
      const untilMarker = yield* follow
      yield* sql`PRAGMA max_page_count = 1`
      const outcomes = yield* Effect.all(
        [
          Effect.exit(store.create(CreateVm.make({ name: "small" }))),
          Effect.exit(store.create(CreateVm.make({ name: "large", config_json: "{}".padEnd(60_000) })))
        ],
        { concurrency: "unbounded" }
      )
      expect(outcomes.map(Exit.isSuccess)).toEqual([false, false])
      yield* sql`PRAGMA max_page_count = 1000000`
      expect(yield* untilMarker).toEqual(["ready", "created"])
    }).pipe(Effect.provide(layer))
  )
})
