import { spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as SqlClient from "@effect/sql/SqlClient"
import { describe, expect, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as TestClock from "effect/TestClock"
import { StoreUnavailable } from "../../src/domain/Errors.js"
import { CreateVm } from "../../src/domain/Vm.js"
import { StoreHealth } from "../../src/services/StoreHealth.js"
import { loadSqlite } from "../../src/services/sqlite/BetterSqlite3.cjs"
import * as Database from "../../src/services/sqlite/Database.js"
import { openReadWrite } from "../../src/services/sqlite/SqliteConnection.js"
import * as VmStoreSqlite from "../../src/services/sqlite/VmStoreSqlite.js"
import { VmStore } from "../../src/services/VmStore.js"
import { decodeJson, getVm, listVms } from "../support/Records.js"

const Sqlite = loadSqlite()
type SqliteDatabase = InstanceType<typeof Sqlite>

/** Opens a file with better-sqlite3 while the body runs. */
const withSqlite = <A>(
  path: string,
  body: (sqlite: SqliteDatabase) => A,
  options?: { readonly readonly?: boolean }
): A => {
  const sqlite = new Sqlite(path, options)
  try {
    return body(sqlite)
  } finally {
    sqlite.close()
  }
}
const query = (path: string, sql: string) => withSqlite(path, (sqlite) => sqlite.prepare(sql).all(), { readonly: true })

/** A folder that is removed after the test. Its name needs quoting in SQL and in URLs. */
const temporaryFolder = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "nexus's 100% ü?-"))),
  (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true, force: true }))
)

/** The store over a file, as nexusd opens it. */
const storeAt = (path: string) =>
  VmStoreSqlite.layer().pipe(Layer.provideMerge(Database.layer(path)), Layer.provide(NodeContext.layer))

/** Opens the database while the body runs. */
const opened = <A, E>(
  path: string,
  body: Effect.Effect<A, E, VmStore | StoreHealth | SqlClient.SqlClient>
): Effect.Effect<A, E | Layer.Layer.Error<ReturnType<typeof Database.layer>>> => Effect.provide(body, storeAt(path))

const create = (name: string) => Effect.flatMap(VmStore, (store) => store.create(CreateVm.make({ name })))
const remove = (name: string) => Effect.flatMap(VmStore, (store) => store.delete(name))
const names = Effect.map(listVms(), (vms) => vms.map(({ name }) => name))
const status = Effect.flatMap(StoreHealth, ({ check }) => check)

const mode = (path: string) => (Fs.statSync(path).mode & 0o777).toString(8)
const filesIn = (folder: string) => Fs.readdirSync(folder).sort()
const fingerprints = (folder: string) =>
  Object.fromEntries(
    filesIn(folder).map((name) => [
      name,
      createHash("sha256")
        .update(Fs.readFileSync(Path.join(folder, name)))
        .digest("hex")
    ])
  )

/** Modes, kinds and contents of a folder's entries. Only regular files are opened. */
const states = (folder: string) =>
  Object.fromEntries(
    filesIn(folder).map((name) => {
      const path = Path.join(folder, name)
      const { ino, mode, mtimeMs, size } = Fs.lstatSync(path)
      return [name, { ino, mode, mtimeMs, size }]
    })
  )

/** The schema of the step 4 plan, to the character. */
const planSchema = `
  CREATE TABLE schema_meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
  );
  CREATE TABLE settings (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    type TEXT NOT NULL CHECK(type IN ('string', 'int', 'bool', 'json'))
  );
  CREATE TABLE vms (
    id TEXT PRIMARY KEY,
    name TEXT UNIQUE NOT NULL,
    role TEXT NOT NULL CHECK(role IN ('portal', 'work', 'service')),
    state TEXT NOT NULL CHECK(state IN ('created', 'running', 'stopped', 'crashed', 'failed')),
    cid INTEGER NOT NULL UNIQUE,
    vcpu_count INTEGER NOT NULL DEFAULT 1,
    mem_size_mib INTEGER NOT NULL DEFAULT 128,
    config_json TEXT,
    pid INTEGER,
    socket_path TEXT,
    uds_path TEXT,
    console_log_path TEXT,
    created_at INTEGER NOT NULL DEFAULT (strftime('%s', 'now')),
    updated_at INTEGER NOT NULL DEFAULT (strftime('%s', 'now')),
    started_at INTEGER,
    stopped_at INTEGER
  );
  CREATE INDEX idx_vms_role ON vms(role);
  CREATE INDEX idx_vms_state ON vms(state);
`
/** Nexus's own index, in the order of lists. */
const listOrderIndex = "CREATE INDEX idx_vms_created_at ON vms(created_at);"
const planVersion = (version: string) => `INSERT INTO schema_meta (key, value) VALUES ('version', '${version}');`

/** 300 records fill several pages. */
const manyRecords = `
  WITH RECURSIVE n(i) AS (SELECT 3 UNION ALL SELECT i + 1 FROM n WHERE i < 302)
  INSERT INTO vms (id, name, role, state, cid, console_log_path)
  SELECT 'id-' || i, 'vm-' || i, 'work', 'created', i, '/var/log/' || hex(zeroblob(50)) FROM n;
`

/** A database of a daemon older than the step 4 plan. */
const oldSchema = (version: string) => `
  CREATE TABLE schema_meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
  CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL, type TEXT NOT NULL);
  ${planVersion(version)}
  INSERT INTO settings VALUES ('motd', 'kept', 'string');
`

/** Leaves the files of a process that dies while the body runs at `path`. */
const abandoned = (path: string, body: (sqlite: SqliteDatabase) => void, suffix: "-wal" | "-journal") => {
  const alive = `${path}.alive`
  withSqlite(alive, (sqlite) => {
    body(sqlite)
    for (const part of ["", suffix]) Fs.copyFileSync(alive + part, path + part)
  })
  for (const suffix of ["", "-wal", "-shm"]) Fs.rmSync(alive + suffix, { force: true })
  expect(Fs.statSync(path + suffix).size).toBeGreaterThan(0)
}

/** A change that is only in the write-ahead log. */
const killed = (path: string, sql: string, change = "") =>
  abandoned(
    path,
    (sqlite) => {
      sqlite.exec(`PRAGMA journal_mode = WAL; ${sql}`)
      if (change !== "") sqlite.exec(`PRAGMA wal_checkpoint(TRUNCATE); ${change}`)
    },
    "-wal"
  )

/** A change that is half in the file, with the journal that rolls it back. */
const killedInTransaction = (path: string, sql: string) =>
  abandoned(
    path,
    (sqlite) => {
      // A cache this small writes changed pages to the file before the commit.
      sqlite.exec(`${sql}; PRAGMA cache_size = 1; BEGIN; UPDATE settings SET value = 'lost'`)
      sqlite.exec(`
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
        INSERT INTO settings SELECT 'half ' || i, hex(zeroblob(50)), 'string' FROM n
      `)
    },
    "-journal"
  )

describe("a new database", () => {
  it.scoped("and its folders are accessible to their owner only", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const path = Path.join(folder, "a", "b", "nexus.db")
      yield* opened(
        path,
        Effect.gen(function* () {
          yield* create("web")
          for (const name of filesIn(Path.dirname(path))) {
            expect(mode(Path.join(Path.dirname(path), name)), name).toBe("600")
          }
        })
      )
      expect(mode(path)).toBe("600")
      expect(mode(Path.join(folder, "a"))).toBe("700")
      expect(mode(Path.join(folder, "a", "b"))).toBe("700")
      expect(filesIn(Path.join(folder, "a", "b"))).toEqual(["nexus.db"])
    })
  )

  it.scoped("has the tables, columns and indexes of the contract, and no others", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const [ours, plans] = [Path.join(folder, "nexus.db"), Path.join(folder, "plan.db")]
      yield* opened(ours, Effect.void)
      withSqlite(plans, (sqlite) => sqlite.exec(planSchema + listOrderIndex + planVersion("2")))

      expect(query(ours, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")).toEqual([
        { name: "schema_meta" },
        { name: "settings" },
        { name: "vms" }
      ])
      for (const sql of [
        "SELECT type, name, tbl_name FROM sqlite_master ORDER BY type, name",
        ...["schema_meta", "settings", "vms"].map(
          (table) => `SELECT * FROM pragma_table_info('${table}') ORDER BY name`
        ),
        ...["schema_meta", "settings", "vms"].map(
          (table) => `SELECT "unique", origin, partial FROM pragma_index_list('${table}') ORDER BY name`
        ),
        "SELECT name FROM pragma_index_info('idx_vms_role')",
        "SELECT name FROM pragma_index_info('idx_vms_state')",
        "SELECT * FROM schema_meta",
        "SELECT * FROM settings",
        "SELECT * FROM vms"
      ]) {
        expect(query(ours, sql), sql).toEqual(query(plans, sql))
      }
      expect(query(ours, "SELECT * FROM schema_meta")).toEqual([{ key: "version", value: "2" }])
    })
  )

  it.scoped("of the step 4 plan gets the index of the list's order, and no other change", () =>
    Effect.gen(function* () {
      const path = Path.join(yield* temporaryFolder, "nexus.db")
      withSqlite(path, (sqlite) => sqlite.exec(planSchema + planVersion("2") + manyRecords))
      const index = { type: "index", name: "idx_vms_created_at", sql: listOrderIndex.slice(0, -1) }
      const objects = `SELECT type, name, sql FROM sqlite_master ORDER BY name = '${index.name}', type, name`
      const before = query(path, objects)
      const records = query(path, "SELECT * FROM vms")
      yield* opened(path, Effect.void)
      expect(query(path, objects)).toEqual([...before, index])
      expect(query(path, "SELECT * FROM vms")).toEqual(records)
    })
  )

  it.scoped("has the defaults and CHECK constraints of the step 4 plan", () =>
    Effect.gen(function* () {
      const path = Path.join(yield* temporaryFolder, "nexus.db")
      yield* opened(path, Effect.void)
      withSqlite(path, (sqlite) => {
        const insert = (columns: string, values: string) => () =>
          sqlite.exec(`INSERT INTO vms (${columns}) VALUES (${values})`)
        const all = "id, name, role, state, cid"
        insert(all, "'1', 'a', 'work', 'created', 3")()
        expect(
          sqlite.prepare("SELECT vcpu_count, mem_size_mib, typeof(created_at) AS type, config_json FROM vms").all()
        ).toEqual([{ vcpu_count: 1, mem_size_mib: 128, type: "integer", config_json: null }])
        const since = "SELECT unixepoch() - created_at AS c, unixepoch() - updated_at AS u FROM vms"
        const [{ c, u }] = sqlite.prepare(since).all() as [{ readonly c: number; readonly u: number }]
        expect(Math.abs(c)).toBeLessThan(10)
        expect(Math.abs(u)).toBeLessThan(10)

        expect(insert(all, "'2', 'b', 'admin', 'created', 4")).toThrow(/CHECK/)
        expect(insert(all, "'2', 'b', 'work', 'paused', 4")).toThrow(/CHECK/)
        expect(insert(all, "'2', 'a', 'work', 'created', 4")).toThrow(/UNIQUE.*vms\.name/)
        expect(insert(all, "'2', 'b', 'work', 'created', 3")).toThrow(/UNIQUE.*vms\.cid/)
        expect(insert(all, "'1', 'b', 'work', 'created', 4")).toThrow(/UNIQUE.*vms\.id/)
        for (const column of ["name", "role", "state", "cid"]) {
          const others = all.split(", ").filter((other) => other !== column)
          const values = { id: "'2'", name: "'b'", role: "'work'", state: "'created'", cid: "4" }
          const given = others.map((other) => values[other as keyof typeof values])
          expect(insert(others.join(), given.join())).toThrow(`NOT NULL constraint failed: vms.${column}`)
        }
        expect(() => sqlite.exec("INSERT INTO settings VALUES ('k', 'v', 'float')")).toThrow(/CHECK/)
      })
    })
  )

  it.scoped("is created in an empty file", () =>
    Effect.gen(function* () {
      const path = Path.join(yield* temporaryFolder, "nexus.db")
      Fs.writeFileSync(path, "")
      yield* opened(path, create("web"))
      expect(query(path, "SELECT name FROM vms")).toEqual([{ name: "web" }])
    })
  )

  it.scoped("reports its path, its three tables and its size", () =>
    Effect.gen(function* () {
      const path = Path.join(yield* temporaryFolder, "nexus.db")
      const before = yield* opened(path, status)
      expect(before).toStrictEqual({ path, table_count: 3, size_bytes: Fs.statSync(path).size })
      withSqlite(path, (sqlite) => sqlite.exec(manyRecords))
      expect(yield* opened(path, status)).toStrictEqual({ path, table_count: 3, size_bytes: Fs.statSync(path).size })
      expect(Fs.statSync(path).size).toBeGreaterThan(before.size_bytes)
    })
  )
})

describe("an existing database", () => {
  const pragmas = Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    return [
      ...(yield* sql`PRAGMA journal_mode`),
      ...(yield* sql`PRAGMA synchronous`),
      ...(yield* sql`PRAGMA foreign_keys`)
    ]
  })

  it.scoped("is durable and consistent at every open: WAL, synchronous FULL, foreign keys on", () =>
    Effect.gen(function* () {
      const path = Path.join(yield* temporaryFolder, "nexus.db")
      const wanted = [{ journal_mode: "wal" }, { synchronous: 2 }, { foreign_keys: 1 }]
      expect(yield* opened(path, pragmas)).toEqual(wanted)
      expect(yield* opened(path, pragmas)).toEqual(wanted)
      withSqlite(path, (sqlite) => sqlite.exec("PRAGMA journal_mode = DELETE"))
      expect(yield* opened(path, pragmas)).toEqual(wanted)
    })
  )

  it.scoped("gets mode 0600, and so does its log", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const path = Path.join(folder, "nexus.db")
      yield* opened(path, create("web"))
      Fs.chmodSync(path, 0o664)
      yield* opened(
        path,
        Effect.map(create("db"), () => {
          for (const name of filesIn(folder)) expect(mode(Path.join(folder, name)), name).toBe("600")
        })
      )
    })
  )

  it.scoped("keeps its records when it is closed and reopened", () =>
    Effect.gen(function* () {
      const path = Path.join(yield* temporaryFolder, "nexus.db")
      const made = yield* opened(path, Effect.all([create("a"), create("b"), create("c")]))
      yield* opened(path, remove("b"))
      const kept = yield* opened(path, listVms())
      expect(kept).toStrictEqual([made[2], made[0]])
      expect((yield* opened(path, create("d"))).cid).toBe(6)
    })
  )

  it.scoped("has acknowledged changes on disk before it is closed", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const path = Path.join(folder, "nexus.db")
      const copy = Path.join(folder, "after-a-crash.db")
      yield* opened(
        path,
        Effect.gen(function* () {
          yield* create("a")
          yield* create("b")
          yield* remove("a")
          for (const suffix of ["", "-wal"]) Fs.copyFileSync(path + suffix, copy + suffix)
        })
      )
      expect(yield* opened(copy, names)).toEqual(["b"])
    })
  )

  it.scoped("whose daemon died in a transaction is rolled back", () =>
    Effect.gen(function* () {
      const path = Path.join(yield* temporaryFolder, "nexus.db")
      killedInTransaction(
        path,
        `${planSchema} ${planVersion("2")}
        INSERT INTO settings VALUES ('motd', 'kept', 'string');
        INSERT INTO vms (id, name, role, state, cid) VALUES ('abc', 'web', 'work', 'created', 3);`
      )
      expect(yield* opened(path, names)).toEqual(["web"])
      expect(query(path, "SELECT value FROM settings")).toEqual([{ value: "kept" }])
    })
  )

  it.scoped("of a daemon of the step 4 plan is used unchanged, whatever the names of its records", () =>
    Effect.gen(function* () {
      const path = Path.join(yield* temporaryFolder, "nexus.db")
      withSqlite(path, (sqlite) =>
        sqlite.exec(`
          ${planSchema} ${planVersion("2")}
          INSERT INTO settings VALUES ('motd', 'kept', 'string');
          INSERT INTO vms (id, name, role, state, cid, vcpu_count, mem_size_mib, created_at, updated_at)
          VALUES ('abc', 'My_VM', 'portal', 'created', 3, 0, 4294967295, 1000, 2000);
        `)
      )
      yield* opened(
        path,
        Effect.gen(function* () {
          expect(yield* getVm("My_VM")).toStrictEqual({
            id: "abc",
            name: "My_VM",
            role: "portal",
            state: "created",
            cid: 3,
            vcpu_count: 0,
            mem_size_mib: 4294967295,
            created_at: 1000,
            updated_at: 2000
          })
          expect((yield* create("web")).cid).toBe(4)
          yield* remove("abc")
          expect(yield* names).toEqual(["web"])
        })
      )
      expect(filesIn(Path.dirname(path))).toEqual(["nexus.db"])
      expect(query(path, "SELECT value FROM settings")).toEqual([{ value: "kept" }])
    })
  )
})

describe("an older database", () => {
  const makers: ReadonlyArray<readonly [what: string, version: string, make: (path: string) => void]> = [
    ["0", "0"],
    ["1", "1"],
    ["-1", "-1"]
  ].flatMap(([what = "", version = ""]) => [
    [
      `version ${what}`,
      version,
      (path: string) => withSqlite(path, (sqlite) => void sqlite.exec(oldSchema(version)))
    ] as const,
    [
      `version ${what} in WAL mode`,
      version,
      (path: string) =>
        withSqlite(path, (sqlite) => void sqlite.exec(`PRAGMA journal_mode = WAL; ${oldSchema(version)}`))
    ] as const
  ])

  const cases: typeof makers = [
    ...makers,
    [
      "version 1 whose last change is in the write-ahead log",
      "1",
      (path) => {
        const [schema = "", change = ""] = oldSchema("1").split("INSERT INTO settings")
        killed(path, schema, `INSERT INTO settings ${change}`)
      }
    ],
    ["version 1 whose daemon died in a transaction", "1", (path) => killedInTransaction(path, oldSchema("1"))],
    [
      "version 1 with tables that refer to each other, a view, a trigger and a sequence",
      "1",
      (path) =>
        withSqlite(path, (sqlite) =>
          sqlite.exec(`
            ${oldSchema("1")}
            CREATE TABLE hosts (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT);
            CREATE TABLE "odd ""guests""" (id INTEGER PRIMARY KEY, host INTEGER NOT NULL REFERENCES hosts(id));
            CREATE INDEX idx_guests ON "odd ""guests"""(host);
            CREATE VIEW names AS SELECT name FROM hosts;
            CREATE TRIGGER stay BEFORE DELETE ON settings BEGIN SELECT RAISE(ABORT, 'settings stay'); END;
            INSERT INTO hosts (name) VALUES ('here');
            INSERT INTO "odd ""guests""" (host) VALUES (1);
          `)
        )
    ]
  ]

  for (const [what, version, make] of cases) {
    it.scoped(`${what} is kept as a backup, and a new database replaces it`, () =>
      Effect.gen(function* () {
        yield* TestClock.setTime(Date.UTC(2026, 1, 18, 14, 30, 6, 999))
        const folder = yield* temporaryFolder
        const path = Path.join(folder, "nexus.db")
        make(path)
        const logs: Array<string> = []
        const collect = Logger.make(({ logLevel, message }) => logs.push(`${logLevel.label} ${message}`))
        yield* opened(
          path,
          Effect.gen(function* () {
            expect(yield* names).toEqual([])
            expect((yield* create("web")).cid).toBe(3)
            expect((yield* status).table_count).toBe(3)
          })
        ).pipe(Effect.provide(Logger.replace(Logger.defaultLogger, collect)))

        const [name = "", kept = "", ...others] = filesIn(folder)
        expect([name, others]).toEqual(["nexus.db", []])
        expect(kept).toMatch(new RegExp(`^nexus\\.db\\.v${version}-.*\\.bak$`))
        expect(kept.replace(`nexus.db.v${version}-`, "").replace(/\D/g, "")).toBe("20260218143006")
        const backup = Path.join(folder, kept)
        expect(mode(backup)).toBe("600")
        expect(query(backup, "PRAGMA integrity_check")).toEqual([{ integrity_check: "ok" }])
        expect(query(backup, "SELECT * FROM settings")).toEqual([{ key: "motd", value: "kept", type: "string" }])
        expect(query(backup, "SELECT value FROM schema_meta")).toEqual([{ value: version }])

        expect(query(path, "SELECT value FROM schema_meta WHERE key = 'version'")).toEqual([{ value: "2" }])
        expect(query(path, "SELECT * FROM settings")).toEqual([])
        expect(logs).toHaveLength(1)
        expect(logs[0]).toMatch(/^WARN/)
        expect(logs[0]).toContain(`${path} `)
        expect(logs[0]).toContain(backup)
        // A second open makes no further backup.
        expect(yield* opened(path, names)).toEqual(["web"])
        expect(filesIn(folder)).toEqual(["nexus.db", kept])
      })
    )
  }

  it.scoped("does not replace a backup of the same second", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(Date.UTC(2026, 1, 18, 14, 30, 6))
      const folder = yield* temporaryFolder
      const path = Path.join(folder, "nexus.db")
      for (const motd of ["first", "second"]) {
        Fs.rmSync(path, { force: true })
        withSqlite(path, (sqlite) => sqlite.exec(`${oldSchema("1")} UPDATE settings SET value = '${motd}'`))
        yield* opened(path, Effect.void).pipe(Effect.exit)
      }
      const kept = filesIn(folder).map((name) => query(Path.join(folder, name), "SELECT value FROM settings"))
      expect(kept).toContainEqual([{ value: "first" }])
      expect(kept).toContainEqual([{ value: "second" }])
    })
  )

  it.live("is kept once when two daemons open it concurrently", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const path = Path.join(folder, "nexus.db")
      withSqlite(path, (sqlite) => sqlite.exec(oldSchema("1")))
      yield* Effect.all([opened(path, create("a")), opened(path, create("b"))], { concurrency: "unbounded" })
      expect(filesIn(folder)).toEqual(["nexus.db", expect.stringMatching(/^nexus\.db\.v1-.*\.bak$/)])
      expect(query(path, "SELECT name FROM vms ORDER BY name")).toEqual([{ name: "a" }, { name: "b" }])
    }).pipe(Effect.scoped, Effect.provide(Logger.remove(Logger.defaultLogger)))
  )
})

/** Creates a file with a program. Returns its path, which is the last argument. */
const madeBy = (command: string, ...args: ReadonlyArray<string>): string => {
  expect(spawnSync(command, args).status).toBe(0)
  return args.at(-1) ?? ""
}
const linkTo = (path: string): string => {
  const link = Path.join(Path.dirname(path), "nexus.db")
  Fs.symlinkSync(path, link)
  return link
}
/** Another device node of /dev/null. */
const makeNull = (folder: string): string => {
  const path = Path.join(folder, "null")
  spawnSync("mknod", ["-m", "666", path, "c", "1", "3"])
  return path
}
const canMakeDevices = (() => {
  const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "nexus-device-"))
  try {
    return Fs.statSync(makeNull(folder)).isCharacterDevice()
  } catch {
    return false
  } finally {
    Fs.rmSync(folder, { recursive: true })
  }
})()

describe("a database that can't be used", () => {
  const refusalOf = (path: string) => Effect.flip(Effect.scoped(Layer.build(storeAt(path))))

  const made = (sql: string) => (path: string) => withSqlite(path, (sqlite) => void sqlite.exec(sql))
  const inWal = (sql: string) => made(`PRAGMA journal_mode = WAL; ${sql}`)
  const whole = made(planSchema + planVersion("2") + manyRecords)
  const cut = (size: (whole: number) => number) => (path: string) => {
    whole(path)
    Fs.truncateSync(path, size(Fs.statSync(path).size))
  }
  /** Overwrites the header of the first page of a table or an index. It is not the file's first page. */
  const flipped = (name: string, from: (path: string) => void) => (path: string) => {
    from(path)
    const sql = `SELECT (rootpage - 1) * page_size AS at FROM sqlite_master, pragma_page_size WHERE name = '${name}'`
    const [{ at }] = query(path, sql) as [{ readonly at: number }]
    scribble(path, at)
  }
  const scribble = (path: string, at: number) => {
    const file = Fs.openSync(path, "r+")
    Fs.writeSync(file, Buffer.alloc(64, 0xa5), 0, 64, at)
    Fs.closeSync(file)
  }
  const newer = oldSchema("3")
  const cases: ReadonlyArray<readonly [what: string, make: (path: string) => void, says: RegExp]> = [
    ["of version 3", made(newer), /version 3\b.*upgrade nexusd/],
    ["of version 3 in WAL mode", inWal(newer), /version 3\b.*upgrade nexusd/],
    ["of version 3 that is still in the write-ahead log", (path) => killed(path, newer), /version 3\b.*upgrade nexusd/],
    ["of version 2000000000", made(oldSchema("2000000000")), /version 2000000000\b.*upgrade nexusd/],
    ["of version abc", made(oldSchema("abc")), /--db/],
    ["of version 2.5", made(oldSchema("2.5")), /--db/],
    ["of an empty version", made(oldSchema("")), /--db/],
    ["of version 1 and something", made(oldSchema("1; --").replace("--", "x")), /--db/],
    ["without a version", made(oldSchema("2").replace(planVersion("2"), "")), /--db/],
    ["of another program", made("CREATE TABLE bookmarks (url TEXT); INSERT INTO bookmarks VALUES ('x');"), /--db/],
    ["of another program in WAL mode", inWal("CREATE TABLE bookmarks (url TEXT);"), /--db/],
    ["of another program with a schema_meta", made("CREATE TABLE schema_meta (a); CREATE TABLE b (c);"), /--db/],
    ["with a view alone", made("CREATE VIEW v AS SELECT 1;"), /--db/],
    ["that is text", (path) => Fs.writeFileSync(path, "name,role\nweb,work\n"), /--db/],
    ["that is two bytes", (path) => Fs.writeFileSync(path, "x\n"), /--db/],
    ["that is noise", (path) => Fs.writeFileSync(path, Buffer.alloc(64 * 1024, 0xa5)), /--db/],
    ["that is half there", cut((size) => Math.floor(size / 2)), /--db|backup/],
    ["that lacks its last page", cut((size) => size - 4096), /--db|backup/],
    ["that lacks half its last page", cut((size) => size - 2048), /--db|backup/],
    ["that has its first page alone", cut(() => 4096), /--db|backup/],
    ["that has its first 100 bytes alone", cut(() => 100), /--db|backup/],
    ["with a broken page in vms", flipped("vms", whole), /--db|backup/],
    ["with a broken page in schema_meta", flipped("schema_meta", whole), /--db|backup/],
    ["with a broken index", flipped("idx_vms_role", whole), /--db|backup/],
    [
      "with a broken list of tables",
      (path) => {
        whole(path)
        // The header of the first page follows the file header of 100 bytes.
        scribble(path, 100)
      },
      /--db|backup/
    ],
    [
      "with a broken head",
      (path) => {
        whole(path)
        scribble(path, 0)
      },
      /--db/
    ],
    [
      "of version 1 with a broken page",
      flipped("settings", made(planSchema + planVersion("1") + manyRecords)),
      /--db|backup/
    ],
    ["that lacks a table", made(`${planSchema} ${planVersion("2")} DROP TABLE settings;`), /settings.*(--db|backup)/],
    ["that lacks vms", made(oldSchema("2")), /vms.*(--db|backup)/],
    [
      "that lacks a column",
      made(`${planSchema} ${planVersion("2")} ALTER TABLE vms DROP COLUMN uds_path;`),
      /uds_path.*(--db|backup)/
    ]
  ]

  for (const [what, make, says] of cases) {
    it.live(`${what} is refused with one line, and no byte and no mode changes`, () =>
      Effect.gen(function* () {
        const folder = yield* temporaryFolder
        const path = Path.join(folder, "nexus.db")
        make(path)
        Fs.chmodSync(path, 0o644)
        const before = [fingerprints(folder), states(folder)]
        const { _tag, message } = yield* refusalOf(path)
        expect(_tag).toBe("DatabaseOpenError")
        expect(message).not.toContain("\n")
        expect(message).toContain(path)
        expect(message).toMatch(says)
        expect([fingerprints(folder), states(folder)]).toEqual(before)
        // A second attempt fails the same way.
        expect((yield* refusalOf(path)).message).toBe(message)
      }).pipe(Effect.scoped)
    )
  }

  const places: ReadonlyArray<readonly [what: string, make: (folder: string) => string]> = [
    [
      "is a folder",
      (folder) => {
        const path = Path.join(folder, "nexus.db")
        Fs.mkdirSync(path)
        return path
      }
    ],
    [
      "is below a file",
      (folder) => {
        Fs.writeFileSync(Path.join(folder, "file"), "kept")
        return Path.join(folder, "file", "nexus.db")
      }
    ],
    [
      "is deep below a file",
      (folder) => {
        Fs.writeFileSync(Path.join(folder, "file"), "kept")
        return Path.join(folder, "file", "a", "b", "nexus.db")
      }
    ],
    ["is where no folder can be made", () => "/sys/nexus/nexus.db"],
    ["is a FIFO", (folder) => madeBy("mkfifo", "-m", "644", Path.join(folder, "nexus.db"))],
    ["is a link to a FIFO", (folder) => linkTo(madeBy("mkfifo", "-m", "644", Path.join(folder, "fifo")))],
    ["ends in white space", (folder) => Path.join(folder, "nexus.db ")],
    ["has a name that is too long", (folder) => Path.join(folder, "n".repeat(300))],
    [
      "is a link to where no folder is",
      (folder) => {
        Fs.symlinkSync(Path.join(folder, "missing", "nexus.db"), Path.join(folder, "nexus.db"))
        return Path.join(folder, "nexus.db")
      }
    ]
  ]

  for (const [what, make] of places) {
    it.live(`a path that ${what} is refused with one line`, () =>
      Effect.gen(function* () {
        const folder = yield* temporaryFolder
        const path = make(folder)
        const before = states(folder)
        const { _tag, message } = yield* refusalOf(path)
        expect(_tag).toBe("DatabaseOpenError")
        expect(message).not.toContain("\n")
        expect(message).toContain(path)
        // The kind of file, in words.
        expect(message.replaceAll(path, "")).toMatch(/director|folder|file|exist|permi|too long|open|link/i)
        expect(states(folder)).toEqual(before)
      }).pipe(Effect.scoped)
    )
  }

  for (const isLink of [false, true]) {
    it.live.skipIf(!canMakeDevices)(
      `a path that is ${isLink ? "a link to " : ""}a device is refused with one line (needs the right to make one)`,
      () =>
        Effect.gen(function* () {
          const folder = yield* temporaryFolder
          const device = makeNull(folder)
          const path = isLink ? linkTo(device) : device
          const before = states(folder)
          expect((yield* refusalOf(path)).message).toBe(
            `${path} is not a Nexus database (it is a device, not a regular file): give another file with --db PATH`
          )
          expect(states(folder)).toEqual(before)
        }).pipe(Effect.scoped)
    )
  }

  it.live("a path that is a socket is refused with one line", () =>
    Effect.gen(function* () {
      // A short path: a socket's has at most 107 bytes.
      const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "n-"))
      const path = Path.join(folder, "s")
      const server = Net.createServer()
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          server.close()
          Fs.rmSync(folder, { recursive: true, force: true })
        })
      )
      yield* Effect.async<void>((resume) => void server.listen(path, () => resume(Effect.void)))
      const before = states(folder)
      expect((yield* refusalOf(path)).message).toContain("it is a socket")
      expect(states(folder)).toEqual(before)
    }).pipe(Effect.scoped)
  )
})

/** Expects `StoreUnavailable`: a typed failure, not a defect. */
const expectOutage = (exit: Exit.Exit<unknown, unknown>) => {
  expect(Exit.isFailure(exit) && Cause.isFailType(exit.cause) && exit.cause.error).toBeInstanceOf(StoreUnavailable)
}

it.scoped("a statement that could not be prepared is prepared again a second later", () =>
  Effect.gen(function* () {
    const path = Path.join(yield* temporaryFolder, "nexus.db")
    Fs.writeFileSync(path, "")
    const sql = yield* openReadWrite(path)
    const select = sql`SELECT count(*) AS count FROM later`
    expect(yield* Effect.flip(select)).toMatchObject({ cause: { message: "no such table: later" } })
    withSqlite(path, (sqlite) => sqlite.exec("CREATE TABLE later (a)"))
    yield* TestClock.adjust("1001 millis")
    expect(yield* select).toEqual([{ count: 0 }])
  })
)

describe("a shared database", () => {
  const both = (path: string) => Effect.all([Layer.build(storeAt(path)), Layer.build(storeAt(path))])

  // Fibers that yield every few steps interleave the two daemons.
  for (const steps of [15, 2048]) {
    it.live(`serves two daemons concurrently, and each CID is unique (a switch every ${steps} steps)`, () =>
      Effect.gen(function* () {
        const path = Path.join(yield* temporaryFolder, "nexus.db")
        const daemons = (yield* both(path)).map(Context.get(VmStore))
        const creates = Array.from({ length: 30 }, (_, n) =>
          daemons.map((store, index) => store.create(CreateVm.make({ name: `vm-${n}-of-${index}` })))
        ).flat()
        const vms = yield* Effect.all(creates, { concurrency: "unbounded" })
        expect(vms.map(({ cid }) => cid).sort((a, b) => a - b)).toEqual(Array.from({ length: 60 }, (_, n) => n + 3))
        const lists = yield* Effect.forEach(daemons, (store) => Effect.flatMap(store.listJson({}), decodeJson))
        expect(lists[0]).toHaveLength(60)
        expect(lists[1]).toStrictEqual(lists[0])
      }).pipe(Effect.scoped, Effect.withMaxOpsBeforeYield(steps))
    )
  }

  it.live("shows each daemon the other's changes immediately", () =>
    Effect.gen(function* () {
      const path = Path.join(yield* temporaryFolder, "nexus.db")
      const [one, other] = yield* both(path)
      const made = yield* Effect.provide(create("web"), one)
      expect(yield* Effect.provide(names, other)).toEqual(["web"])
      expect(yield* Effect.flip(Effect.provide(create("web"), other))).toMatchObject({ _tag: "Conflict" })
      yield* Effect.provide(remove(made.id), other)
      expect(yield* Effect.flip(Effect.provide(remove("web"), one))).toMatchObject({ _tag: "NotFound" })
    }).pipe(Effect.scoped)
  )

  it.live("is created once by daemons that start concurrently", () =>
    Effect.gen(function* () {
      const path = Path.join(yield* temporaryFolder, "new", "nexus.db")
      const start = ["a", "b", "c", "d"].map((name) => opened(path, create(name)))
      yield* Effect.all(start, { concurrency: "unbounded" })
      expect(query(path, "SELECT name FROM vms ORDER BY name")).toHaveLength(4)
      expect(query(path, "SELECT count(*) AS n FROM schema_meta")).toEqual([{ n: 1 }])
    }).pipe(Effect.scoped)
  )

  /** Holds the write lock as another program until it is released. */
  const lock = (path: string) =>
    Effect.acquireRelease(
      Effect.sync(() => {
        const sqlite = new Sqlite(path)
        sqlite.exec("BEGIN IMMEDIATE")
        return sqlite
      }),
      (sqlite) => Effect.sync(() => sqlite.close())
    )

  it.live("makes a change wait while another program writes", () =>
    Effect.gen(function* () {
      const path = Path.join(yield* temporaryFolder, "nexus.db")
      yield* opened(
        path,
        Effect.gen(function* () {
          const other = yield* lock(path)
          const change = yield* Effect.fork(create("web"))
          // Long enough for the change, were there no lock.
          yield* Effect.sleep("300 millis")
          expect(yield* Fiber.poll(change)).toMatchObject({ _tag: "None" })
          expect(yield* names).toEqual([])
          other.exec("COMMIT")
          expect(yield* change).toMatchObject({ name: "web", cid: 3 })
          expect(yield* names).toEqual(["web"])
        }).pipe(Effect.scoped)
      )
    }).pipe(Effect.scoped)
  )

  it.live("does not get a change whose caller was interrupted", () =>
    Effect.gen(function* () {
      const path = Path.join(yield* temporaryFolder, "nexus.db")
      yield* opened(
        path,
        Effect.gen(function* () {
          const other = yield* lock(path)
          const change = yield* Effect.fork(create("given-up"))
          yield* Effect.sleep("200 millis")
          yield* Fiber.interrupt(change)
          other.exec("COMMIT")
          yield* create("after")
          expect(yield* names).toEqual(["after"])
        }).pipe(Effect.scoped)
      )
    }).pipe(Effect.scoped)
  )

  it.live("makes a start wait while another program writes", () =>
    Effect.gen(function* () {
      const path = Path.join(yield* temporaryFolder, "nexus.db")
      yield* opened(path, create("web"))
      const other = yield* lock(path)
      const start = yield* Effect.fork(opened(path, names))
      yield* Effect.sleep("300 millis")
      other.exec("COMMIT")
      expect(yield* start).toEqual(["web"])
    }).pipe(Effect.scoped)
  )

  it.live("fails a change after some 4 s with StoreUnavailable, and serves reads meanwhile", () =>
    Effect.gen(function* () {
      const path = Path.join(yield* temporaryFolder, "nexus.db")
      yield* opened(
        path,
        Effect.gen(function* () {
          yield* create("before")
          const other = yield* lock(path)
          const began = yield* Clock.currentTimeMillis
          const changes = yield* Effect.fork(
            Effect.all([Effect.exit(create("never")), Effect.exit(remove("before")), Effect.exit(status)], {
              concurrency: "unbounded"
            })
          )
          const reads: Array<number> = []
          while ((yield* Fiber.poll(changes))._tag === "None") {
            const asked = yield* Clock.currentTimeMillis
            expect(yield* names).toEqual(["before"])
            reads.push((yield* Clock.currentTimeMillis) - asked)
            yield* Effect.sleep("100 millis")
          }
          const took = (yield* Clock.currentTimeMillis) - began
          expect(took).toBeGreaterThan(3500)
          expect(took).toBeLessThan(20_000)
          // No read waited for the lock.
          expect(Math.max(...reads)).toBeLessThan(took / 2)
          for (const exit of yield* changes) expectOutage(exit)
          other.exec("COMMIT")
          expect(yield* status).toMatchObject({ table_count: 3 })
          expect(yield* create("after")).toMatchObject({ cid: 4 })
          expect(yield* names).toEqual(["after", "before"])
        }).pipe(Effect.scoped)
      )
    }).pipe(Effect.scoped, Effect.provide(Logger.remove(Logger.defaultLogger)))
  )
})

describe("a database whose file is removed", () => {
  const outage = (effect: Effect.Effect<unknown, unknown, VmStore | StoreHealth>) =>
    Effect.map(Effect.exit(effect), expectOutage)
  const quiet = Effect.provide(Logger.remove(Logger.defaultLogger))

  it.live("fails with StoreUnavailable until it is back", () =>
    Effect.gen(function* () {
      const path = Path.join(yield* temporaryFolder, "nexus.db")
      yield* opened(
        path,
        Effect.gen(function* () {
          yield* create("before")
          Fs.renameSync(path, `${path}.moved`)
          yield* outage(status)
          yield* outage(create("meanwhile"))
          yield* outage(remove("before"))
          expect(Fs.existsSync(path)).toBe(false)
          Fs.renameSync(`${path}.moved`, path)
          expect(yield* status).toMatchObject({ table_count: 3 })
          expect(yield* names).toEqual(["before"])
          expect(yield* create("after")).toMatchObject({ cid: 4 })
        })
      )
      expect(query(path, "SELECT name FROM vms ORDER BY cid")).toEqual([{ name: "before" }, { name: "after" }])
    }).pipe(Effect.scoped, quiet)
  )

  it.live("fails with StoreUnavailable when another file replaces it", () =>
    Effect.gen(function* () {
      const path = Path.join(yield* temporaryFolder, "nexus.db")
      yield* opened(
        path,
        Effect.gen(function* () {
          yield* create("before")
          Fs.renameSync(path, `${path}.moved`)
          Fs.copyFileSync(`${path}.moved`, path)
          yield* outage(status)
          yield* outage(create("meanwhile"))
          Fs.renameSync(`${path}.moved`, path)
          yield* create("after")
          expect(yield* names).toEqual(["after", "before"])
        })
      )
    }).pipe(Effect.scoped, quiet)
  )

  it.live("fails with StoreUnavailable when its folder is removed", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const path = Path.join(folder, "state", "nexus.db")
      yield* opened(
        path,
        Effect.gen(function* () {
          yield* create("before")
          Fs.renameSync(Path.join(folder, "state"), Path.join(folder, "gone"))
          yield* outage(status)
          yield* outage(create("meanwhile"))
          Fs.renameSync(Path.join(folder, "gone"), Path.join(folder, "state"))
          expect(yield* status).toMatchObject({ table_count: 3 })
          yield* create("after")
          expect(yield* names).toEqual(["after", "before"])
        })
      )
    }).pipe(Effect.scoped, quiet)
  )
})
