import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import type * as Pg from "pg"
import { beforeAll, describe, expect, it, vi } from "vitest"
import { Conflict, NotFound, PreconditionFailed } from "../../src/domain/Errors.js"
import { CreateVm } from "../../src/domain/Vm.js"
import * as VmTransition from "../../src/domain/VmTransition.js"
import { parsePostgresUrl } from "../../src/services/PostgresUrl.js"
import * as PostgresDatabase from "../../src/services/postgres/PostgresDatabase.js"
import * as VmStorePostgres from "../../src/services/postgres/VmStorePostgres.js"
import { runKey } from "../../src/services/VmRunRow.js"
import { VmStore } from "../../src/services/VmStore.js"
import { afterSuite } from "../support/AfterSuite.js"
import { hasPostgres, needsPostgres, Server } from "../support/PostgresCluster.js"
import { claimOf, drive, startedAs } from "../support/Runs.js"

describe.skipIf(!hasPostgres)(`Runs in PostgreSQL${needsPostgres}`, () => {
  let server: Server
  const atEnd = afterSuite()
  beforeAll(async () => {
    server = await Server.create(atEnd)
  })

  /** The store of one daemon. */
  const layer = (database: string) => {
    const target = Either.getOrThrow(parsePostgresUrl(server.url(database)))
    return VmStorePostgres.layer().pipe(Layer.provide(PostgresDatabase.layer(target)))
  }

  /** Two daemons on one database, and a connection that can hold locks. */
  const withDaemons = async (
    use: (stores: {
      readonly one: VmStore["Type"]
      readonly two: VmStore["Type"]
      readonly client: Pg.Client
      readonly database: string
    }) => Effect.Effect<void, unknown>
  ) => {
    const database = await server.database()
    const client = await server.connect(database)
    await Effect.runPromise(
      Effect.gen(function* () {
        const one = Context.get(yield* Layer.build(Layer.fresh(layer(database))), VmStore)
        const two = Context.get(yield* Layer.build(Layer.fresh(layer(database))), VmStore)
        yield* use({ one, two, client, database })
      }).pipe(Effect.scoped, Effect.orDie)
    ).finally(() => client.end())
  }

  /** Waits until so many statements of a database wait for a lock. */
  const waiting = (database: string, count: number) =>
    Effect.promise(() =>
      vi.waitFor(
        async () => {
          const rows = await server.query(
            "SELECT 1 FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock'",
            {
              values: [database]
            }
          )
          expect(rows).toHaveLength(count)
        },
        { timeout: 2_000, interval: 10 }
      )
    )
  const query = (client: Pg.Client, text: string, values: ReadonlyArray<unknown> = []) =>
    Effect.promise(() => client.query(text, [...values]))

  const create = (daemon: VmStore["Type"], name: string) => daemon.create(CreateVm.make({ name }))
  const claim = (daemon: VmStore["Type"], name: string, drives = [drive("/disk")]) =>
    daemon.transition(name, VmTransition.claimStart(claimOf(`run of ${name}`, { drives })), { drives })

  it("a delete that waits for a claim sees it", () =>
    withDaemons(({ client, database, one, two }) =>
      Effect.gen(function* () {
        yield* create(one, "web")
        yield* query(client, "BEGIN")
        yield* query(client, "SELECT 1 FROM vms FOR UPDATE")
        const claimed = yield* Effect.fork(Effect.either(claim(one, "web")))
        yield* waiting(database, 1)
        const deleted = yield* Effect.fork(Effect.either(two.delete("web")))
        yield* waiting(database, 2)
        yield* query(client, "COMMIT")
        expect(yield* Fiber.join(claimed)).toMatchObject({ _tag: "Right" })
        expect(yield* Fiber.join(deleted)).toEqual(Either.left(Conflict.beingStarted("web")))
        expect((yield* one.getWithRun("web")).run?.run_id).toBe("run of web")
      })
    ))

  it("of replacements of one name by two daemons one creates it, 50 times", () =>
    withDaemons(({ one, two }) =>
      Effect.gen(function* () {
        for (let round = 0; round < 50; round++) {
          const params = CreateVm.make({ name: `vm-${round}` })
          const outcomes = yield* Effect.all(
            [one, two, one, two].map((daemon) => daemon.replace(params)),
            { concurrency: "unbounded" }
          )
          expect(outcomes.filter(({ before }) => before === undefined)).toHaveLength(1)
          expect(new Set(outcomes.map(({ after }) => after.id)).size).toBe(1)
        }
      })
    ))

  it("a conditional delete that waits for a change fails, and a replacement that waits for a delete creates", () =>
    withDaemons(({ client, database, one, two }) =>
      Effect.gen(function* () {
        const { id, role } = yield* create(one, "web")
        const isAsRead: VmTransition.Precondition = (vm) =>
          vm?.role === role ? Either.void : Either.left(PreconditionFailed.changed("web"))
        yield* query(client, "BEGIN")
        yield* query(client, "UPDATE vms SET role = 'portal'")
        const deleted = yield* Effect.fork(Effect.either(two.delete("web", isAsRead)))
        yield* waiting(database, 1)
        yield* query(client, "COMMIT")
        expect(yield* Fiber.join(deleted)).toEqual(Either.left(PreconditionFailed.changed("web")))

        yield* query(client, "BEGIN")
        yield* query(client, "DELETE FROM vms")
        const replaced = yield* Effect.fork(one.replace(CreateVm.make({ name: "web" })))
        yield* waiting(database, 1)
        yield* query(client, "COMMIT")
        const { after, before } = yield* Fiber.join(replaced)
        expect(before).toBeUndefined()
        expect(after.id).not.toBe(id)
        expect(yield* two.get("web")).toEqual(after)
      })
    ))

  it("a delete that waits for the end of a run succeeds", () =>
    withDaemons(({ client, database, one, two }) =>
      Effect.gen(function* () {
        yield* create(one, "web")
        yield* claim(one, "web")
        yield* query(client, "BEGIN")
        yield* query(client, "SELECT 1 FROM vms FOR UPDATE")
        const ended = yield* Effect.fork(Effect.either(one.transition("web", VmTransition.abandonStart("run of web"))))
        yield* waiting(database, 1)
        const deleted = yield* Effect.fork(Effect.either(two.delete("web")))
        yield* waiting(database, 2)
        yield* query(client, "COMMIT")
        expect(yield* Fiber.join(ended)).toMatchObject({ _tag: "Right" })
        expect(yield* Fiber.join(deleted)).toMatchObject({ _tag: "Right", right: { name: "web" } })
        expect(yield* query(client, "SELECT * FROM settings")).toMatchObject({ rows: [] })
      })
    ))

  it("a claim that waits for a delete finds no VM", () =>
    withDaemons(({ client, database, one, two }) =>
      Effect.gen(function* () {
        yield* create(one, "web")
        yield* query(client, "BEGIN")
        yield* query(client, "SELECT 1 FROM vms FOR UPDATE")
        const deleted = yield* Effect.fork(Effect.either(two.delete("web")))
        yield* waiting(database, 1)
        const claimed = yield* Effect.fork(Effect.either(claim(one, "web")))
        yield* waiting(database, 2)
        yield* query(client, "COMMIT")
        expect(yield* Fiber.join(deleted)).toMatchObject({ _tag: "Right", right: { name: "web" } })
        expect(yield* Fiber.join(claimed)).toEqual(Either.left(NotFound.vm("web")))
        expect(yield* query(client, "SELECT * FROM settings")).toMatchObject({ rows: [] })
      })
    ))

  it("of two claims of one drive by two daemons, the second waits and fails", () =>
    withDaemons(({ client, database, one, two }) =>
      Effect.gen(function* () {
        const { id } = yield* create(one, "a")
        yield* create(one, "b")
        // The first claim has read the runs, and waits for its own row.
        yield* query(client, "BEGIN")
        yield* query(client, "INSERT INTO settings VALUES ($1, '{}', 'json')", [runKey(id)])
        const first = yield* Effect.fork(Effect.either(claim(one, "a")))
        yield* waiting(database, 1)
        const second = yield* Effect.fork(Effect.either(claim(two, "b")))
        yield* waiting(database, 2)
        // Claims without drives, and other changes, do not wait.
        yield* create(two, "c")
        yield* claim(two, "c", [])
        yield* two.transition("c", VmTransition.confirmStart("run of c", startedAs()))
        yield* query(client, "ROLLBACK")
        expect(yield* Fiber.join(first)).toMatchObject({ _tag: "Right" })
        expect(yield* Fiber.join(second)).toEqual(Either.left(Conflict.cannotStart("b", "/disk is in use by VM 'a'")))
      })
    ))

  it(
    "a daemon that stops while it holds the drives' lock does not keep the others from starting VMs",
    { timeout: 20_000 },
    () =>
      withDaemons(({ client, one, two }) =>
        Effect.gen(function* () {
          yield* create(one, "a")
          // What a daemon runs at the beginning, and then no more.
          yield* query(client, "BEGIN; SET LOCAL idle_in_transaction_session_timeout = '5s'")
          yield* query(
            client,
            "SELECT pg_advisory_xact_lock(hashtext('nexus.drives'), 'vms'::regclass::oid::bigint::bit(32)::int)"
          )
          expect(yield* Effect.flip(claim(two, "a"))).toMatchObject({ _tag: "StoreUnavailable" })
          yield* Effect.retry(claim(two, "a"), { times: 5 })
        })
      )
  )

  it("all daemons of a database have its id", () =>
    withDaemons(({ client, one, two }) =>
      Effect.gen(function* () {
        const ids = yield* Effect.all([one.databaseId, two.databaseId, one.databaseId], { concurrency: "unbounded" })
        expect(new Set(ids).size).toBe(1)
        const { rows } = yield* query(client, "SELECT * FROM settings")
        expect(rows).toEqual([{ key: "database.id", value: ids[0], type: "string" }])
      })
    ))

  it("a transition fails with StoreUnavailable when the connection is lost, and nothing has changed then", () =>
    withDaemons(({ client, database, one }) =>
      Effect.gen(function* () {
        const vm = yield* create(one, "web")
        yield* query(client, "BEGIN")
        yield* query(client, "SELECT 1 FROM vms FOR UPDATE")
        const claimed = yield* Effect.fork(Effect.either(claim(one, "web")))
        yield* waiting(database, 1)
        yield* query(
          client,
          "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        yield* query(client, "COMMIT")
        expect(yield* Fiber.join(claimed)).toMatchObject({ _tag: "Left", left: { _tag: "StoreUnavailable" } })
        expect(yield* one.getWithRun("web")).toStrictEqual({ vm, run: undefined })
        yield* claim(one, "web")
      })
    ))

  it("the column host is added in place by one of ten daemons, and a daemon of an earlier version goes on", async () => {
    const database = await server.database()
    const opened = () => Effect.runPromise(Effect.scoped(Layer.build(Layer.fresh(layer(database)))))
    await opened()
    // As an earlier version made it, with a statement that its daemon has prepared.
    await server.query("ALTER TABLE vms DROP COLUMN host", { database })
    const earlier = await server.connect(database)
    const columns = "id, name, role, state, cid, vcpu_count, mem_size_mib, created_at, updated_at"
    const find = () =>
      earlier.query({ name: "find", text: `SELECT ${columns} FROM vms WHERE name = $1`, values: ["old"] })
    const insert = (name: string, cid: number) =>
      earlier.query({
        name: "insert",
        text: `INSERT INTO vms (${columns}) VALUES ($1, $2, 'work', 'created', $3, 1, 128, 1, 1)`,
        values: [crypto.randomUUID(), name, cid]
      })
    await insert("old", 3)
    const before = (await find()).rows
    const columnsNow = () =>
      server.query(
        "SELECT column_name AS name FROM information_schema.columns WHERE table_name = 'vms' ORDER BY ordinal_position",
        { database }
      )
    const withoutHost = await columnsNow()

    await Promise.all(Array.from({ length: 10 }, opened))
    expect(await columnsNow()).toEqual([...withoutHost, { name: "host" }])
    expect((await find()).rows).toEqual(before)
    await insert("new", 4)
    await earlier.end()
    expect(server.log()).not.toMatch(/already exists|deadlock/)

    await Effect.runPromise(
      Effect.gen(function* () {
        const daemon = yield* VmStore
        expect(yield* daemon.get("old")).not.toHaveProperty("host")
        for (const name of ["old", "new"]) {
          yield* claim(daemon, name, [])
          yield* daemon.transition(name, VmTransition.confirmStart(`run of ${name}`, startedAs()))
          expect(yield* daemon.get(name)).toMatchObject({ host: "here", vmm: "firecracker" })
        }
      }).pipe(Effect.provide(layer(database)))
    )
  })
})
