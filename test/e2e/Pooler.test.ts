import * as Pg from "pg"
import { beforeAll, describe, expect, it } from "vitest"
import type { Vm } from "../../src/domain/Vm.js"
import { afterSuite } from "../support/AfterSuite.js"
import { runDaemon, startDaemon } from "../support/Daemon.js"
import { makeHome } from "../support/Home.js"
import { call } from "../support/HttpJson.js"
import { hasPgBouncer, needsPgBouncer, PgBouncer } from "../support/PgBouncer.js"
import { Server } from "../support/PostgresCluster.js"
import { start } from "../support/Process.js"
import { programs } from "../support/Programs.js"
import { createVm, listVms } from "../support/VmCalls.js"

const limits = "statement_timeout, idle_in_transaction_session_timeout"

describe.skipIf(!hasPgBouncer)(`PostgreSQL behind PgBouncer${needsPgBouncer}`, () => {
  const atEnd = afterSuite()
  let server: Server
  let pooler: PgBouncer
  beforeAll(async () => {
    server = await Server.create(atEnd)
    pooler = await PgBouncer.create(atEnd, server)
  })

  /** What 20 sessions of the pooler hold, which are all that it has by default. */
  const sessions = (database: string) =>
    Promise.all(
      Array.from({ length: 20 }, async () => {
        const client = new Pg.Client({ host: "127.0.0.1", port: pooler.port, user: "postgres", database })
        await client.connect()
        const { rows } = await client.query<{ timeout: string; statements: number }>(`
          SELECT current_setting('statement_timeout') AS timeout, (SELECT count(*)::int FROM pg_prepared_statements) AS statements
          FROM pg_sleep(0.2)
        `)
        await client.end()
        return rows[0]
      })
    )

  it("every call works, and no session keeps anything of nexusd", async ({ onTestFinished }) => {
    const database = await server.database()
    const daemon = await startDaemon(makeHome(onTestFinished), { args: ["--db", pooler.url(database)] })
    expect(daemon.log().join("\n")).toContain("through a connection pooler")
    const names = Array.from({ length: 60 }, (_, at) => `vm-${at}`)
    const created = await Promise.all(names.map((name) => createVm(daemon, name)))
    const patched = await Promise.all(
      names.map((name) => call(daemon, "PATCH", `/v1/vms/${name}`, { role: "portal", mem_size_mib: 256 }))
    )
    expect(new Set(patched.map(({ status }) => status))).toEqual(new Set([200]))
    const found = await Promise.all(names.map((name) => call(daemon, "GET", `/v1/vms/${name}`)))
    expect(found.map(({ body }) => (body as Vm).id)).toEqual(created.map(({ id }) => id))
    expect((await call(daemon, "GET", "/v1/vms?role=portal&limit=7")).body).toHaveLength(7)
    await server.query(
      "INSERT INTO vms (id, name, role, state, cid) SELECT 'x' || n, 'x' || n, 'work', 'created', 1000 + n FROM generate_series(1, 3000) AS n",
      { database }
    )
    // Long lists are read with a cursor, in a transaction each.
    const lists = await Promise.all(Array.from({ length: 4 }, () => listVms(daemon)))
    expect(lists.map((list) => list.length)).toEqual([3060, 3060, 3060, 3060])
    const deleted = await Promise.all(names.map((name) => call(daemon, "DELETE", `/v1/vms/${name}`)))
    expect(new Set(deleted.map(({ status }) => status))).toEqual(new Set([204]))
    expect((await call(daemon, "GET", "/v1/health")).status).toBe(200)
    expect(new Set((await sessions(database)).map((one) => JSON.stringify(one)))).toEqual(
      new Set([JSON.stringify({ timeout: "0", statements: 0 })])
    )
    expect((await daemon.stop()).code).toBe(0)
  })

  it.each([
    ["that refuses startup parameters", ["pool_mode = transaction"]],
    ["that ignores startup parameters", ["pool_mode = transaction", `ignore_startup_parameters = ${limits}`]],
    ["that pools sessions", ["pool_mode = session"]]
  ])("behind a pooler %s the server ends a statement that takes too long", async (_, settings) => {
    const bouncer = await PgBouncer.create(atEnd, server, settings)
    const database = await server.database()
    const daemon = await startDaemon(makeHome(atEnd), { args: ["--db", bouncer.url(database)] })
    await createVm(daemon, "web")
    const client = await server.connect(database)
    await client.query("BEGIN; LOCK TABLE vms IN ACCESS EXCLUSIVE MODE")
    const answers = await Promise.all([
      call(daemon, "GET", "/v1/vms"),
      call(daemon, "POST", "/v1/vms", { name: "db" }),
      call(daemon, "PATCH", "/v1/vms/web", { role: "portal" }),
      call(daemon, "DELETE", "/v1/vms/web")
    ])
    await client.end()
    // Only the server's own limit is answered with these words.
    const busy = { status: 503, body: { _tag: "StoreUnavailable", error: "the database is busy; try again" } }
    expect(answers).toEqual([busy, busy, busy, busy])
    expect((await listVms(daemon)).map(({ name }) => name)).toEqual(["web"])
    expect((await daemon.stop()).code).toBe(0)
  })

  it("a killed pooler is an outage, and its return ends it", async ({ onTestFinished }) => {
    const bouncer = await PgBouncer.create(onTestFinished, server)
    const database = await server.database()
    const daemon = await startDaemon(makeHome(onTestFinished), { args: ["--db", bouncer.url(database)] })
    const web = await createVm(daemon, "web")
    await Promise.all(Array.from({ length: 20 }, () => listVms(daemon)))
    await bouncer.kill()
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, at) => call(daemon, "POST", "/v1/vms", { name: `lost-${at}` }))
    )
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 503))
    await bouncer.start()
    const status = async () => (await call(daemon, "GET", "/v1/vms/web")).status
    await expect.poll(status, { timeout: 5_000 }).toBe(200)
    expect(await listVms(daemon)).toEqual([web])
    expect((await Promise.all(Array.from({ length: 20 }, (_, at) => createVm(daemon, `vm-${at}`)))).length).toBe(20)
  })

  it.each([
    ["statements", ["pool_mode = statement"], "", "transaction blocks not allowed in statement pooling mode"],
    ["transactions, with options", ["pool_mode = transaction"], "?options=-csearch_path%3Dx", "ALTER ROLE"],
    [
      "transactions, with options that it ignores",
      ["pool_mode = transaction", `ignore_startup_parameters = ${limits}, options`],
      "?options=-c%20search_path%3Dx",
      "ALTER ROLE"
    ]
  ])("a pooler of %s is refused in one line", async (_, settings, query, reason) => {
    const bouncer = await PgBouncer.create(atEnd, server, settings)
    const database = await server.database()
    const began = performance.now()
    const { code, stderr } = await runDaemon(makeHome(atEnd), { args: ["--db", `${bouncer.url(database)}${query}`] })
    expect({ code, lines: stderr.trim().split("\n") }).toEqual({ code: 1, lines: [expect.stringContaining(reason)] })
    // nexusd tries for 30 s where that may help.
    expect(performance.now() - began).toBeLessThan(25_000)
    expect(await server.query("SELECT 1 FROM pg_class WHERE relname = 'vms'", { database })).toEqual([])
  })

  it("migrate fills a database through the pooler, and reads it back", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const source = await startDaemon(home)
    for (const name of ["one", "two", "three"]) await createVm(source, name)
    const records = await listVms(source)
    expect((await source.stop()).code).toBe(0)
    const file = `${home.path}/state/nexus/nexus.db`
    const url = pooler.url(await server.database())
    const back = `${home.path}/back.db`
    for (const [from, to] of [
      [file, url],
      [url, back]
    ]) {
      const { code, stderr } = await start(home, process.execPath, [
        ...[programs.nexusd, "migrate", "--from", from ?? "", "--to", to ?? ""]
      ]).ended
      expect({ code, stderr }).toMatchObject({ code: 0 })
    }
    for (const database of [url, back]) {
      const daemon = await startDaemon(makeHome(onTestFinished), { args: ["--db", database] })
      expect(await listVms(daemon)).toEqual(records)
      expect((await daemon.stop()).code).toBe(0)
    }
  })
})
