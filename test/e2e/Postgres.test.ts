import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { CreateVm, type Vm } from "../../src/domain/Vm.js"
import { formatTarget, parseTarget } from "../../src/services/DatabaseTarget.js"
import { parsePostgresUrl } from "../../src/services/PostgresUrl.js"
import * as PostgresDatabase from "../../src/services/postgres/PostgresDatabase.js"
import { maxSnapshots } from "../../src/services/postgres/PostgresPool.js"
import * as VmStorePostgres from "../../src/services/postgres/VmStorePostgres.js"
import { StoreHealth } from "../../src/services/StoreHealth.js"
import { VmStore } from "../../src/services/VmStore.js"
import { afterSuite } from "../support/AfterSuite.js"
import { runDaemon, startDaemon } from "../support/Daemon.js"
import { makeHome } from "../support/Home.js"
import { call } from "../support/HttpJson.js"
import { dump, hasPostgres, needsPostgres, psql, Server } from "../support/PostgresCluster.js"
import { decodeJson, listByPages, listVms as records } from "../support/Records.js"
import { createVm, listVms } from "../support/VmCalls.js"

const parsed = (url: string) => Either.getOrThrowWith(parsePostgresUrl(url), (problem) => new Error(problem))

describe("a PostgreSQL URL", () => {
  it("is parsed as libpq does", () => {
    expect(parsed("postgres://user@host/name")).toMatchObject({
      hosts: [{ host: "host", port: 5432 }],
      user: "user",
      password: undefined,
      database: "name",
      sslMode: "prefer",
      sessionAttributes: "any"
    })
    expect(parsed("postgresql://h1:5433,[::1],h3:5435/n%20m?target_session_attrs=read-write")).toMatchObject({
      hosts: [
        { host: "h1", port: 5433 },
        { host: "::1", port: 5432 },
        { host: "h3", port: 5435 }
      ],
      database: "n m",
      sessionAttributes: "read-write"
    })
    // With several servers the writable one is the default; libpq's default is any.
    expect(parsed("postgres://h1,h2/n").sessionAttributes).toBe("read-write")
    expect(parsed("postgres://h1,h2/n?target_session_attrs=any").sessionAttributes).toBe("any")
    expect(parsed("postgres://%2Frun%2Fpg/n").hosts).toEqual([{ host: "/run/pg", port: 5432 }])
    expect(parsed("postgres:///n?host=/run/pg,h2&port=1,2&user=u&sslmode=verify-full&sslrootcert=/ca")).toMatchObject({
      hosts: [
        { host: "/run/pg", port: 1 },
        { host: "h2", port: 2 }
      ],
      user: "u",
      sslMode: "verify-full",
      sslRootCert: "/ca"
    })
  })

  it.each([
    ["postgres://u:geheim@h/n", "postgres://u@h/n"],
    ["postgres://u:ge%2Fheim:@h:5432,h2/n?sslmode=require", "postgres://u@h:5432,h2/n?sslmode=require"],
    ["postgres://u@h/n?password=geheim&sslmode=disable", "postgres://u@h/n?sslmode=disable"],
    ["postgres://h/n?password=geheim", "postgres://h/n"],
    ["postgres://u:geheim@@h/n", undefined],
    ["POSTGRES://u:geheim@h", "POSTGRES://u@h"]
  ])("%s is shown without its password", (url, shown) => {
    const choice = parseTarget(url)
    expect(Either.getOrElse(Either.map(choice, formatTarget), String)).not.toContain("geheim")
    if (shown !== undefined) expect(Either.getOrThrow(Either.map(choice, formatTarget))).toBe(shown)
    expect(JSON.stringify(choice)).not.toContain("geheim")
  })

  it("passes its password to the server", () => {
    const { password } = parsed("postgres://u:ge%2Fheim%40@h/n")
    expect(password && Redacted.value(password)).toBe("ge/heim@")
  })

  it.each([
    "postgres://u:geheim/x@h/n",
    "postgres://u:geheim",
    "postgres://u:geheim@h:99999/n",
    "postgres://u:geheim@h/n?sslmode=geheim",
    "postgres://u:geheim@h/n?geheim=1",
    "postgres://u:geheim%zz@h/n",
    "postgres://u:geheim@h/n?target_session_attrs=standby",
    "postgres://u:geheim@h1,h2,h3/n?port=1,2",
    "mysql://u:geheim@h/n"
  ])("%s is refused, and no word of it is said", async (url) => {
    const problem = Either.getOrThrow(Either.flip(parseTarget(url)))
    expect(problem).toMatch(/^(not a PostgreSQL URL: |expected a path or a postgres:\/\/ URL)/)
    expect(problem).not.toContain("geheim")
    expect(problem).not.toContain("\n")
  })

  it("that is invalid is reported with its setting, without its password", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const url = "postgres://u:geheim@h:port/n"
    const problem = "not a PostgreSQL URL: a port in it is no number from 1 to 65535"
    const byFlag = await runDaemon(home, { args: ["--db", url] })
    const byVariable = await runDaemon(home, { env: { NEXUS_DATABASE_URL: url } })
    const byFile = await runDaemon(home, { config: `database:\n  url: "${url}"\n` })
    expect(byFlag).toMatchObject({ code: 1, stderr: expect.stringContaining(`Error: --db: ${problem}`) })
    expect(byVariable).toMatchObject({ code: 1, stderr: expect.stringContaining(`NEXUS_DATABASE_URL: ${problem}`) })
    expect(byFile).toMatchObject({ code: 1, stderr: expect.stringContaining(`nexus.yaml: database.url: ${problem}`) })
    const byNoYaml = await runDaemon(home, { config: `database:\n  url: postgres://u:geheim: x@h/n\n` })
    expect(byNoYaml).toMatchObject({ code: 1, stderr: expect.stringContaining("nexus.yaml is not YAML: ") })
    for (const { stderr } of [byFlag, byVariable, byFile, byNoYaml]) {
      expect(stderr).not.toContain("geheim")
      expect(stderr.trim().split("\n")).toHaveLength(1)
    }
  })

  it.each(["check", "backup", "restore"])("is refused by nexusd %s", async (command) => {
    const url = "postgres://u:geheim@h/n"
    const home = makeHome((dispose) => afterAll(dispose))
    const { code, stderr } = await runDaemon(home, {
      args: ["--db", url, command, ...(command === "check" ? [] : ["/nowhere/file"])]
    })
    expect(code).toBe(1)
    expect(stderr).toMatch(/^Error: postgres:\/\/u@h\/n is kept by PostgreSQL: use pg_(amcheck|dump|restore)\n$/)
  })
})

describe.skipIf(!hasPostgres)(`a PostgreSQL database${needsPostgres}`, () => {
  let server: Server
  const atEnd = afterSuite()
  beforeAll(async () => {
    server = await Server.create(atEnd)
  })

  const opened = <A, E>(url: string, body: Effect.Effect<A, E, VmStore | StoreHealth | SqlClient.SqlClient>) =>
    Effect.runPromise(
      Effect.provide(
        body,
        VmStorePostgres.layer().pipe(
          Layer.provideMerge(PostgresDatabase.layer(parsed(url), { startTimeout: "1 second" }))
        )
      )
    )
  const refusal = async (url: string) =>
    opened(url, Effect.void).then(
      () => "opened",
      (error: Error) => error.message
    )

  it("is used by URL, and its password is not shown", async ({ onTestFinished }) => {
    const database = await server.database()
    const url = server.tcpUrl(database).replace("@", ":geheim@")
    const daemon = await startDaemon(makeHome(onTestFinished), {
      config: `database:\n  url: "${url}"\nlog:\n  level: debug\n`
    })
    const vm = await createVm(daemon, "web")
    expect(await listVms(daemon)).toEqual([vm])
    const [row] = await server.query("SELECT pg_database_size(current_database())::int AS size", { database })
    const health = await call(daemon, "GET", "/v1/health")
    expect(health).toMatchObject({
      status: 200,
      body: { status: "ok", database: { path: server.tcpUrl(database), table_count: 3 } }
    })
    expect(health.body).toHaveProperty("database.size_bytes", row?.["size"])
    await server.stop("immediate")
    expect((await call(daemon, "POST", "/v1/vms", { name: "other" })).status).toBe(503)
    await server.start()
    const { code, stderr } = await daemon.stop()
    expect(code).toBe(0)
    expect(stderr).toContain(`database ${server.tcpUrl(database)}`)
    expect(stderr).toContain("store: ")
    expect(stderr).not.toContain("geheim")
  })

  it("gets its tables once from ten daemons that start concurrently", async ({ onTestFinished }) => {
    const database = await server.database()
    const daemons = await Promise.all(
      Array.from({ length: 10 }, () => startDaemon(makeHome(onTestFinished), { args: ["--db", server.url(database)] }))
    )
    const made = await Promise.all(daemons.map((daemon, at) => createVm(daemon, `vm-${at}`)))
    expect(new Set(made.map(({ cid }) => cid)).size).toBe(10)
    for (const daemon of daemons) expect(await listVms(daemon)).toHaveLength(10)
    expect(await server.query("SELECT key, value FROM schema_meta", { database })).toEqual([
      { key: "version", value: "2" }
    ])
    expect(server.log()).not.toMatch(/already exists|deadlock/)
  })

  it("has constraints with names, and SQLite's columns and checks", async () => {
    const database = await server.database()
    await opened(server.url(database), Effect.void)
    const rows = await server.query(
      `SELECT conname AS name, pg_get_constraintdef(oid) AS rule FROM pg_constraint
       WHERE connamespace = 'public'::regnamespace ORDER BY conname`,
      { database }
    )
    expect(rows.map(({ name, rule }) => `${name}: ${rule}`)).toEqual([
      "schema_meta_pkey: PRIMARY KEY (key)",
      "settings_pkey: PRIMARY KEY (key)",
      "settings_type_check: CHECK ((type = ANY (ARRAY['string'::text, 'int'::text, 'bool'::text, 'json'::text])))",
      "vms_cid_key: UNIQUE (cid)",
      "vms_name_key: UNIQUE (name)",
      "vms_pkey: PRIMARY KEY (id)",
      "vms_role_check: CHECK ((role = ANY (ARRAY['portal'::text, 'work'::text, 'service'::text])))",
      "vms_state_check: CHECK ((state = ANY (ARRAY['created'::text, 'running'::text, 'stopped'::text, 'crashed'::text, 'failed'::text])))"
    ])
  })

  it.each([
    ["tables of another program", "CREATE TABLE customers (id int)", /is not a Nexus database \(it holds customers\)/],
    ["a view alone", "CREATE VIEW now_seen AS SELECT 1", /is not a Nexus database \(it holds now_seen\)/],
    [
      "a version that is no number",
      "CREATE TABLE schema_meta (key text, value text); INSERT INTO schema_meta VALUES ('version', 'x')",
      /is not a Nexus database \(its schema_meta holds no version\)/
    ],
    [
      "a newer version",
      "CREATE TABLE schema_meta (key text, value text); INSERT INTO schema_meta VALUES ('version', '3')",
      /has schema version 3, made by a newer nexusd/
    ],
    [
      "an older version",
      "CREATE TABLE schema_meta (key text, value text); INSERT INTO schema_meta VALUES ('version', '1')",
      /has schema version 1, and a shared database is never made anew/
    ],
    [
      "tables that lack columns",
      `CREATE TABLE schema_meta (key text, value text); INSERT INTO schema_meta VALUES ('version', '2');
       CREATE TABLE settings (key text, value text, type text); CREATE TABLE vms (id text)`,
      /is not a Nexus database \(it lacks vms\.name, /
    ]
  ])("with %s is refused in one line and left as it is", async (_, sql, problem) => {
    const database = await server.database()
    await server.query(sql, { database })
    const before = await dump(server, database)
    expect(before).toContain("CREATE ")
    const message = await refusal(server.url(database))
    expect(message).toMatch(problem)
    expect(message).toContain(server.url(database))
    expect(message).not.toContain("\n")
    expect(await dump(server, database)).toBe(before)
  })

  it("may contain tables of extensions and other schemas", async () => {
    const database = await server.database()
    await server.query(
      "CREATE SCHEMA other; CREATE TABLE other.things (id int); CREATE EXTENSION IF NOT EXISTS pg_stat_statements",
      { database }
    )
    const { table_count } = await opened(
      server.url(database),
      Effect.flatMap(StoreHealth, ({ check }) => check)
    )
    expect(table_count).toBe(3)
  })

  it("makes health degraded while it is read-only, and is still read", async () => {
    const database = await server.database()
    await opened(server.url(database), Effect.void)
    await server.query(`ALTER DATABASE ${database} SET default_transaction_read_only = on`)
    await opened(
      server.url(database),
      Effect.gen(function* () {
        const store = yield* VmStore
        expect(yield* records()).toEqual([])
        const readOnly = { _tag: "StoreUnavailable", message: "the database is read-only" }
        expect(yield* Effect.flip(store.create(CreateVm.make({ name: "web" })))).toMatchObject(readOnly)
        expect(yield* Effect.flip(Effect.flatMap(StoreHealth, ({ check }) => check))).toMatchObject(readOnly)
      })
    )
  })

  it("that does not exist is refused immediately", async () => {
    expect(await refusal(server.url("missing"))).toMatch(/^cannot use .*\/missing: database "missing" does not exist$/)
  })

  it("is usable by the role of docs/postgresql.md, which has no other privileges", async () => {
    const [, sql = ""] = /```sql\n(CREATE ROLE nexus.*?)```/s.exec(readFileSync("docs/postgresql.md", "utf8")) ?? []
    const file = join(server.folder, "role.sql")
    writeFileSync(file, sql)
    await psql(server, "postgres", ["-f", file])
    const url = server.url("nexus", "nexus")
    const vm = await opened(
      url,
      Effect.gen(function* () {
        const store = yield* VmStore
        const made = yield* store.create(CreateVm.make({ name: "web" }))
        expect(yield* records()).toEqual([made])
        yield* store.delete("web")
        return made
      })
    )
    expect(vm.cid).toBe(3)
    const tables = await server.query("SELECT schemaname, tableowner FROM pg_tables WHERE tablename = 'vms'", {
      database: "nexus"
    })
    expect(tables).toEqual([{ schemaname: "nexus", tableowner: "nexus" }])
    const own = { database: "nexus", user: "nexus" }
    await expect(server.query("CREATE TABLE public.things (id int)", own)).rejects.toThrow("permission denied")
    await expect(server.query("CREATE ROLE another", own)).rejects.toThrow("permission denied")
  })

  it("lists more records than one chunk from one snapshot, as JSON.stringify writes them", async () => {
    const database = await server.database()
    const odd = 'ü"\\\u0001\u001f\u007f\t\n/\u2028😀'
    await opened(
      server.url(database),
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const store = yield* VmStore
        yield* sql`
          INSERT INTO vms (id, name, role, state, cid, created_at, updated_at, config_json, pid)
          SELECT 'id-' || n, 'vm-' || n, 'work', 'created', n + 2, n / 7, 0, CASE WHEN n % 3 = 0 THEN ${odd} END, n
          FROM generate_series(1, 3500) AS n
        `
        const before = yield* Effect.forEach([undefined, 1000, 7], (limit) =>
          limit === undefined ? Effect.map(records(), (vms) => vms.length) : Effect.succeed(limit)
        )
        expect(before[0]).toBe(3500)

        // Later changes are not in the snapshot.
        const json = yield* store.listJson({})
        if (json instanceof Uint8Array) throw new Error("a long list comes in pieces")
        let pieces = 0
        const text = Buffer.concat(
          Array.from(
            yield* Stream.runCollect(
              Stream.tap(json, () =>
                pieces++ === 0 ? Effect.asVoid(sql`DELETE FROM vms WHERE pid <= 2000`) : Effect.void
              )
            )
          )
        ).toString()
        const all: ReadonlyArray<Vm> = JSON.parse(text)
        expect(pieces).toBe(5)
        expect(text).toBe(JSON.stringify(all))
        expect(all.map(({ name }) => name)).toEqual(Array.from({ length: 3500 }, (_, at) => `vm-${3500 - at}`))
        expect(all.find(({ name }) => name === "vm-3")?.config_json).toBe(odd)
        expect(yield* records()).toHaveLength(1500)

        // Pages hold the same records.
        expect(yield* listByPages({ limit: 400 })).toEqual(yield* records())
      })
    )
  })

  it("runs single statements while long lists hold all their permits", async () => {
    const database = await server.database()
    await opened(
      server.url(database),
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const store = yield* VmStore
        yield* sql`
          INSERT INTO vms (id, name, role, state, cid) SELECT n, 'vm-' || n, 'work', 'created', n + 2
          FROM generate_series(1, 2500) AS n
        `
        let begun = 0
        const stall = Effect.zipRight(
          Effect.sync(() => begun++),
          Effect.never
        )
        const slow = Effect.flatMap(store.listJson({}), (json) =>
          json instanceof Uint8Array ? Effect.void : Stream.runForEach(json, () => stall)
        )
        yield* Effect.forEach(Array.from({ length: 6 }), () => Effect.fork(slow))
        yield* Effect.repeat(Effect.sleep("10 millis"), { until: () => begun === maxSnapshots })
        const created = yield* Effect.forEach(
          Array.from({ length: 40 }, (_, at) => at),
          (at) => store.create(CreateVm.make({ name: `new-${at}` })),
          { concurrency: "unbounded" }
        )
        expect(created).toHaveLength(40)
        const full = yield* Effect.flip(Effect.flatMap(store.listJson({}), decodeJson))
        expect(full.message).toBe("too many long lists are read at once; try again")
      })
    )
  })

  it("is reached by TLS as sslmode says", async ({ onTestFinished }) => {
    const secure = await Server.create(onTestFinished)
    const files = secure.certify()
    await secure.query("ALTER SYSTEM SET ssl = on")
    await secure.stop()
    await secure.start()
    const database = await secure.database()
    const host = secure.tcpUrl(database)
    const named = host.replace("127.0.0.1", "localhost")
    const encrypted = Effect.flatMap(
      SqlClient.SqlClient,
      (sql) => sql<{ ssl: boolean }>`SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()`
    ).pipe(Effect.map(([row]) => row?.ssl))
    const outcome = (url: string, query: string) =>
      opened(`${url}?${query}`, encrypted).then(String, (error: Error) => error.message)
    expect(await outcome(named, "sslmode=disable")).toBe("false")
    expect(await outcome(named, "sslmode=allow")).toBe("false")
    expect(await outcome(named, "sslmode=prefer")).toBe("true")
    expect(await outcome(named, "sslmode=require")).toBe("true")
    // The certificate is valid for localhost.
    expect(await outcome(named, `sslmode=verify-full&sslrootcert=${files.ca}`)).toBe("true")
    expect(await outcome(host, `sslmode=verify-full&sslrootcert=${files.ca}`)).toMatch(/cannot use .*does not match/)
    expect(await outcome(host, `sslmode=verify-ca&sslrootcert=${files.ca}`)).toBe("true")
    expect(await outcome(host, `sslmode=verify-ca&sslrootcert=${files.other}`)).toMatch(/cannot use .*certificate/)
    expect(await outcome(host, `sslmode=require&sslrootcert=${files.other}`)).toMatch(/cannot use .*certificate/)
    expect(await outcome(named, "sslmode=verify-full&sslrootcert=system")).toMatch(/cannot use .*certificate/)
    expect(await outcome(named, "sslmode=verify-full&sslrootcert=/nowhere")).toMatch(/cannot read \/nowhere/)
    // The other server has no TLS.
    const plain = server.tcpUrl(await server.database())
    expect(await outcome(plain, "sslmode=prefer")).toBe("false")
    expect(await outcome(plain, "sslmode=require")).toMatch(/does not support SSL/)
  })
})
