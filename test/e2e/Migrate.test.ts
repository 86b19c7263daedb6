import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync
} from "node:fs"
import { dirname, join } from "node:path"
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest"
import type { Vm } from "../../src/domain/Vm.js"
import { afterSuite } from "../support/AfterSuite.js"
import { runCli } from "../support/Cli.js"
import { startDaemon } from "../support/Daemon.js"
import { type Home, makeHome } from "../support/Home.js"
import { call } from "../support/HttpJson.js"
import { dump, hasPostgres, needsPostgres, Server } from "../support/PostgresCluster.js"
import { type Result, type Running, start } from "../support/Process.js"
import { programs } from "../support/Programs.js"
import { withDatabase } from "../support/Sqlite.js"
import { hasTerminal, startOnTerminal } from "../support/Terminal.js"
import { createVm, listVms } from "../support/VmCalls.js"

const newHome = () => makeHome(onTestFinished)

const startMigration = (home: Home, from: string, to: string): Running =>
  start(home, process.execPath, [programs.nexusd, "migrate", "--from", from, "--to", to])
const migrate = (home: Home, from: string, to: string): Promise<Result> => startMigration(home, from, to).ended

/** Expects success in one line, with progress on stderr in separate lines. */
const expectMigrated = (result: Result, vms: number, from: string, to: string) => {
  expect(result.stderr).toMatch(/^(?:(?:Copying|Verifying): \d+ of \d+\n)+$/)
  expect(result).toMatchObject({ code: 0, stdout: `Migrated ${vms} VMs from ${from} to ${to}\n` })
}
const expectRefusal = ({ code, stderr, stdout }: Result, ...says: ReadonlyArray<string | RegExp>) => {
  expect(stderr.replace(/^(?:Copying|Verifying): .*\n/gm, "")).toMatch(/^Error: [^\n]+\n$/)
  for (const part of says) expect(stderr).toMatch(part)
  expect(stderr).not.toMatch(/ at .*:\d+:\d+|\.cjs/)
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" })
}

const atEnd = afterSuite()

/** A database made by a daemon, once for all tests. */
let made: Buffer
beforeAll(async () => {
  const home = makeHome(atEnd)
  const daemon = await startDaemon(home)
  await daemon.stop()
  const path = join(home.path, "state/nexus/nexus.db")
  withDatabase(path, (database) => database.exec("DELETE FROM settings"))
  made = readFileSync(path)
})

type Setting = { readonly key: string; readonly value: string; readonly type: string }

const record = (name: string, cid: number, more: Partial<typeof Vm.Encoded> = {}): typeof Vm.Encoded => ({
  id: crypto.randomUUID(),
  name,
  role: "work",
  state: "created",
  cid,
  vcpu_count: 1,
  mem_size_mib: 128,
  created_at: 1000,
  updated_at: 1000,
  ...more
})

/** Creates a database file with these rows. */
const file = (
  home: Home,
  name: string,
  vms: ReadonlyArray<typeof Vm.Encoded> = [],
  settings: ReadonlyArray<Setting> = []
): string => {
  const path = join(home.path, name)
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, made)
  withDatabase(path, (database) => {
    database.exec("BEGIN")
    for (const vm of vms) {
      const columns = Object.keys(vm)
      database
        .prepare(`INSERT INTO vms (${columns.join(", ")}) VALUES (${columns.map(() => "?").join(", ")})`)
        .run(...Object.values(vm))
    }
    for (const { key, type, value } of settings) {
      database.prepare("INSERT INTO settings VALUES (?, ?, ?)").run(key, value, type)
    }
    database.exec("COMMIT")
  })
  return path
}

/** All rows of a database file in the order of inserts. Reads a copy, since SQLite changes the files that it opens. */
const contents = (path: string) => {
  const copy = `${path}.looked-at`
  for (const part of ["", "-wal"]) {
    writeFileSync(copy + part, existsSync(path + part) ? readFileSync(path + part) : "")
  }
  return withDatabase(copy, (database) => {
    expect(database.prepare("PRAGMA integrity_check").all()).toEqual([{ integrity_check: "ok" }])
    return {
      vms: database.prepare("SELECT * FROM vms ORDER BY rowid").all(),
      settings: database.prepare("SELECT * FROM settings ORDER BY key").all()
    }
  })
}
const nothing = { vms: [], settings: [] }

/** The output of `nexusctl vm list -o json` for a database. */
const listed = async (home: Home, database: string): Promise<string> => {
  const daemon = await startDaemon(home, { args: ["--db", database] })
  const { code, stdout } = await runCli(home, ["vm", "list", "-o", "json", "--daemon", daemon.address])
  expect(code).toBe(0)
  await daemon.stop()
  return stdout
}

const text = 'ü"\\/\u0001\u001f\u007f\t\n\u2028😀 {"a":null,"b":[1]}'

/** Records with every optional field, with names that create refuses, and in an order that no column has. */
const odd: ReadonlyArray<typeof Vm.Encoded> = [
  record("all", 4294967294, {
    role: "portal",
    state: "crashed",
    created_at: 1_771_425_006,
    updated_at: 1_771_425_007,
    started_at: 1_771_425_008,
    stopped_at: 0,
    pid: 4_194_304,
    socket_path: "/run/a b.sock",
    uds_path: "",
    console_log_path: "/var/log/ü.log",
    config_json: text
  }),
  record("Web Server", 9),
  record(text, 3, { role: "service", state: "failed" }),
  record("", 7, { created_at: -5 }),
  record("0b1f4b0e-4f4e-4c6e-9a57-0a4f6f8f7a11", 5, { state: "crashed", vcpu_count: 0, mem_size_mib: 9_000_000_000 }),
  record("null", 4, { config_json: "null", pid: 0 }),
  record("x".repeat(5000), 6, { state: "stopped", stopped_at: 1002 }),
  record("' OR 1=1 --", 8),
  record("$.name", 2_000_000)
]
const settings: ReadonlyArray<Setting> = [
  { key: "z", value: text, type: "json" },
  { key: "Ä", value: "", type: "string" },
  { key: "a", value: "1", type: "int" }
]

const databaseId = (value: string): Setting => ({ key: "database.id", value, type: "string" })
/** Settings that are like runs, and runs, one of which can't be read. */
const runLike: ReadonlyArray<Setting> = ["vm.run", "vm.run-", "vm.run/", "vm.runs"].map((key) => ({
  key,
  value: "1",
  type: "int"
}))
const runs: ReadonlyArray<Setting> = [`vm.run.${crypto.randomUUID()}`, "vm.run."].map((key) => ({
  key,
  value: '{"phase":',
  type: "json"
}))

/** Many records. Several share a second, every third is older than its neighbours, and the last has the lowest CID. */
const many = (count: number): ReadonlyArray<typeof Vm.Encoded> =>
  Array.from({ length: count }, (_, n) =>
    record(`vm-${n}`, 3 + (((n + 1) * 7919) % count), {
      role: n % 5 === 0 ? "portal" : "work",
      created_at: 1_771_425_006 + (n % 3 === 0 ? -1 : 1) * Math.floor(n / 10),
      ...(n % 10 === 0 && { pid: n, started_at: n, config_json: `{"n":"${text}${n}"}` })
    })
  )

/** Waits for the first progress of a migration. */
const hasBegun = (migration: Running) =>
  vi.waitFor(() => expect(migration.said.stderr).toContain("Copying"), { timeout: 60_000, interval: 5 })

/** Sends a signal to a migration. */
const stopped = (migration: Running, signal: NodeJS.Signals): Promise<Result> => {
  migration.child.kill(signal)
  return migration.ended
}

/**
 * Slows down inserts into a database file, so that a signal arrives before the end. SQLite counts to `steps` in each insert
 * that `when` selects, or without end.
 */
const slowDown = (path: string, when: string, steps = Number.MAX_SAFE_INTEGER) =>
  withDatabase(path, (database) =>
    database.exec(`
      DROP TRIGGER IF EXISTS slow;
      CREATE TRIGGER slow AFTER INSERT ON vms WHEN ${when} BEGIN
        SELECT count(*) FROM (
          WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${steps}) SELECT i FROM n
        );
      END
    `)
  )
const speedUp = (path: string) => withDatabase(path, (database) => database.exec("DROP TRIGGER slow"))

/** Once per batch of 500 records, after which signal handlers run. */
const perPiece = ["NEW.name LIKE 'vm-%' AND substr(NEW.name, 4) % 500 = 250", 1_000_000] as const

/** Migrates into the database of a daemon that gets writes meanwhile. */
const expectUndisturbed = async (home: Home, to: string) => {
  const from = file(home, "from.db", many(20_000))
  const daemon = await startDaemon(home, { args: ["--db", to] })
  const migration = startMigration(home, from, to)
  await hasBegun(migration)
  const { body, status } = await call(daemon, "POST", "/v1/vms", { name: "meanwhile" })
  expectMigrated(await migration.ended, 20_000, from, to)
  // On a slow machine the write times out before the end.
  if (status === 201) expect(body).toMatchObject({ cid: 20_003 })
  else expect({ body, status }).toMatchObject({ status: 503, body: { error: expect.stringContaining("try again") } })
  expect(await listVms(daemon)).toHaveLength(status === 201 ? 20_001 : 20_000)
}

describe("nexusd migrate", () => {
  it("copies every field, setting and the order of inserts, and CIDs continue", async () => {
    const home = newHome()
    const from = file(home, "from.db", odd, settings)
    // Deleted records leave gaps in the rowids.
    withDatabase(from, (database) => database.exec("UPDATE vms SET rowid = rowid * 1000 - 3500"))
    const before = readFileSync(from)
    const to = join(home.path, "new/folder/to.db")
    expectMigrated(await migrate(home, from, to), odd.length, from, to)
    expect(readFileSync(from)).toEqual(before)
    expect(contents(to)).toEqual(contents(from))
    expect(contents(to).vms).toHaveLength(odd.length)
    expect((statSync(to).mode & 0o777).toString(8)).toBe("600")
    expect(await listed(home, to)).toBe(await listed(home, from))

    const small = file(home, "small.db", odd.slice(1, 4))
    const next = file(home, "next.db")
    expectMigrated(await migrate(home, small, next), 3, small, next)
    const daemon = await startDaemon(home, { args: ["--db", next] })
    expect((await createVm(daemon, "next")).cid).toBe(10)
    expect((await listVms(daemon)).map(({ name }) => name)).toEqual(["next", text, "Web Server", ""])
  })

  it("leaves the runs of VMs out, and copies the database's id over the target's", async () => {
    const home = newHome()
    const kept = [...settings, ...runLike, databaseId("source")]
    // The state stays: nexusd's start settles it.
    const vms = [record("runs", 10, { state: "running" }), record("idle", 11)]
    const from = file(home, "from.db", vms, [...kept, ...runs])
    const to = file(home, "to.db", [], [databaseId("target")])
    expectMigrated(await migrate(home, from, to), 2, from, to)
    expect(contents(to)).toEqual(contents(file(home, "expected.db", vms, kept)))
    expect(contents(from).settings).toHaveLength(kept.length + runs.length)
  })

  it("copies an empty source into an empty file", async () => {
    const home = newHome()
    const from = file(home, "from.db")
    const to = home.write("to.db", "")
    expectMigrated(await migrate(home, from, to), 0, from, to)
    expect(contents(to)).toEqual(nothing)
  })

  it("copies 20,000 records in their order, to the byte", { timeout: 60_000 }, async () => {
    const home = newHome()
    const from = file(home, "from.db", many(20_000))
    const to = join(home.path, "to.db")
    expectMigrated(await migrate(home, from, to), 20_000, from, to)
    expect(contents(to)).toEqual(contents(from))
    const bytes = await listed(home, to)
    expect(JSON.parse(bytes)).toHaveLength(20_000)
    expect(bytes === (await listed(home, from))).toBe(true)
  })

  it("copies one snapshot of a database during writes", { timeout: 60_000 }, async () => {
    const home = newHome()
    const from = file(home, "from.db", many(5000))
    const daemon = await startDaemon(home, { args: ["--db", from] })
    let isOver = false
    const names: Array<string> = []
    const writing = (async () => {
      while (!isOver) names.push((await createVm(daemon, `new-${names.length}`)).name)
    })()
    await vi.waitFor(() => expect(names.length).toBeGreaterThan(10), { timeout: 60_000 })
    const acknowledged = names.length
    const to = join(home.path, "to.db")
    const { code } = await migrate(home, from, to)
    isOver = true
    await writing
    expect(code).toBe(0)
    const found = contents(to).vms.map(({ name }) => name)
    expect(found.length).toBeGreaterThanOrEqual(5000 + acknowledged)
    expect(found.slice(5000)).toEqual(names.slice(0, found.length - 5000))
  })

  it("succeeds while a daemon serves the target", { timeout: 60_000 }, async () => {
    const home = newHome()
    await expectUndisturbed(home, join(home.path, "to.db"))
  })

  it("refuses a target with rows, and the source itself under any name", async () => {
    const home = newHome()
    const from = file(home, "from.db", odd.slice(1))
    symlinkSync(from, join(home.path, "link.db"))
    linkSync(from, join(home.path, "hard.db"))
    for (const same of ["from.db", "link.db", "hard.db"]) {
      expectRefusal(await migrate(home, from, join(home.path, same)), same, "is the database that --from names")
    }
    const targets: ReadonlyArray<readonly [path: string, says: string]> = [
      [file(home, "one.db", [record("one", 3)]), "is not empty (VMs: 1, settings: 0)"],
      [file(home, "setting.db", [], settings.slice(2)), "is not empty (VMs: 0, settings: 1)"],
      [home.write("text.db", "noise"), "is not a Nexus database"],
      [file(home, "foreign.db"), "is not a Nexus database"],
      [file(home, "older.db"), "has schema version 1"],
      [file(home, "newer.db"), "has schema version 3"]
    ]
    withDatabase(join(home.path, "foreign.db"), (database) => database.exec("DROP TABLE schema_meta"))
    withDatabase(join(home.path, "older.db"), (database) => database.exec("UPDATE schema_meta SET value = '1'"))
    withDatabase(join(home.path, "newer.db"), (database) => database.exec("UPDATE schema_meta SET value = '3'"))
    for (const [path, says] of targets) {
      const before = readFileSync(path)
      const result = await migrate(home, from, path)
      expectRefusal(result, path, says)
      expect(result.stderr).not.toContain("--db")
      expect(readFileSync(path)).toEqual(before)
    }
    expect(readdirSync(home.path).filter((name) => name.endsWith(".bak"))).toEqual([])
    expect(contents(from).vms).toHaveLength(odd.length - 1)
  })

  const sources: ReadonlyArray<readonly [what: string, says: string, spoil: (path: string) => void]> = [
    ["missing", "does not exist", () => {}],
    ["a text", "is not a Nexus database", (path) => writeFileSync(path, "noise")],
    ["empty", "does not have schema version 2", (path) => writeFileSync(path, "")],
    ...[0, 1].map((version): (typeof sources)[number] => [
      `of version ${version}`,
      "does not have schema version 2",
      (path) => withDatabase(path, (database) => database.exec(`UPDATE schema_meta SET value = '${version}'`))
    ]),
    [
      "newer",
      "made by a newer nexusd",
      (path) => withDatabase(path, (database) => database.exec("UPDATE schema_meta SET value = '3'"))
    ],
    ["cut short", "is damaged", (path) => truncateSync(path, statSync(path).size - 5000)],
    [
      "of an index that disagrees with its table",
      "is damaged",
      (path) => {
        const [root] = withDatabase(path, (database) =>
          database.prepare("SELECT rootpage AS page FROM sqlite_master WHERE name = 'idx_vms_role'").all()
        )
        const bytes = readFileSync(path)
        bytes.write("worj", bytes.indexOf("work", (Number(root?.["page"]) - 1) * 4096))
        writeFileSync(path, bytes)
      }
    ]
  ]
  for (const [what, says, spoil] of sources) {
    it(`refuses a source that is ${what}, and creates no target`, async () => {
      const home = newHome()
      const path = join(home.path, "from.db")
      if (what !== "missing") file(home, "from.db", odd)
      spoil(path)
      const before = existsSync(path) ? readFileSync(path) : undefined
      const result = await migrate(home, path, join(home.path, "to.db"))
      expectRefusal(result, path, says)
      expect(result.stderr).not.toContain("--db")
      expect(readdirSync(home.path).filter((name) => name.startsWith("to.db"))).toEqual([])
      expect(existsSync(path) ? readFileSync(path) : undefined).toEqual(before)
    })
  }

  it("rolls back a copy that differs from its source", async () => {
    const home = newHome()
    const from = file(home, "from.db", odd, settings)
    const changes = [
      "UPDATE vms SET updated_at = updated_at + 1 WHERE name = '$.name'",
      "UPDATE vms SET pid = NULL WHERE name = 'null'",
      "UPDATE vms SET rowid = 100 WHERE name = 'Web Server'",
      "UPDATE settings SET type = 'string'",
      "DELETE FROM vms WHERE name = ''",
      "DELETE FROM settings"
    ]
    for (const change of changes) {
      const to = file(home, "to.db")
      withDatabase(to, (database) =>
        database.exec(`CREATE TRIGGER t AFTER INSERT ON vms WHEN NEW.name = '$.name' BEGIN ${change}; END`)
      )
      const result = await migrate(home, from, to)
      expectRefusal(result, to, "is not what", "nothing of it was kept")
      expect(result.stderr).toContain("Verifying")
      expect(contents(to), change).toEqual(nothing)
    }
  })

  it("can be repeated after kill -9 and Ctrl-C, which leave no partial copy", { timeout: 120_000 }, async () => {
    const home = newHome()
    const from = file(
      home,
      "from.db",
      many(10_000).map((vm) => ({ ...vm, config_json: "x".repeat(3000) }))
    )
    const to = file(home, "to.db")
    const logged = () => statSync(`${to}-wal`, { throwIfNoEntry: false })?.size ?? 0
    // Beyond SQLite's cache of 16 MB, uncommitted pages go to the log.
    for (const [name, bytes] of [
      ["vm-0", 0],
      ["vm-7000", 1_000_000],
      ["vm-9999", 10_000_000]
    ] as const) {
      slowDown(to, `NEW.name = '${name}'`)
      const migration = startMigration(home, from, to)
      await hasBegun(migration)
      await vi.waitFor(() => expect(logged()).toBeGreaterThanOrEqual(bytes), { timeout: 60_000, interval: 5 })
      expect((await stopped(migration, "SIGKILL")).code).toBe(null)
      expect(contents(to)).toEqual(nothing)
    }
    const late = file(home, "late.db")
    const verifying = startMigration(home, from, late)
    await vi.waitFor(() => expect(verifying.said.stderr).toContain("Verifying"), { timeout: 60_000, interval: 5 })
    await stopped(verifying, "SIGKILL")
    expect([nothing, contents(from)]).toContainEqual(contents(late))

    slowDown(to, ...perPiece)
    const migration = startMigration(home, from, to)
    await hasBegun(migration)
    expect(await stopped(migration, "SIGINT")).toMatchObject({ code: 130, stdout: "" })
    expect(contents(to)).toEqual(nothing)
    speedUp(to)
    expectMigrated(await migrate(home, from, to), 10_000, from, to)
    expect(contents(to)).toEqual(contents(from))
  })

  it.skipIf(!hasTerminal)("shows progress in one line of the terminal, and clears it at the end", async () => {
    const home = newHome()
    const from = file(home, "from.db", many(3000))
    const line = `migrate --from '${from}' --to '${join(home.path, "to.db")}'`
    const { code, stdout } = await startOnTerminal(home, programs.nexusd, line).ended
    expect(code).toBe(0)
    const shown = stdout.split("\r\u001b[K")
    expect(shown.shift()).toBe("")
    expect(shown.pop()).toMatch(/^Migrated 3000 VMs from [^\n]+\r\n$/)
    expect(shown).toEqual(expect.arrayContaining(["Copying: 0 of 3000", "Verifying: 3000 of 3000"]))
    for (const line of shown) expect(line).toMatch(/^(?:Copying|Verifying): \d+ of 3000$/)
  })

  it("has --help, and requires both databases", async () => {
    const home = newHome()
    const nexusd = (...args: ReadonlyArray<string>) =>
      start(home, process.execPath, [programs.nexusd, "migrate", ...args]).ended
    const help = await nexusd("--help")
    expect(help).toMatchObject({ code: 0, stderr: "" })
    expect(help.stdout).toContain("Stop the nexusd of the source first")
    expect(await nexusd("--from", "a.db")).toMatchObject({ code: 2, stderr: expect.stringContaining("--to") })
    expectRefusal(await nexusd("--from", "mysql://u:geheim@h/n", "--to", "b.db"), "--from: expected a path or")
    const bad = await nexusd("--from", "a.db", "--to", "postgres://u:geheim@h:port/n")
    expectRefusal(bad, "--to: not a PostgreSQL URL")
    expect(bad.stderr).not.toContain("geheim")
    expect(readdirSync(home.path)).toEqual([])
  })
})

describe.skipIf(!hasPostgres)(`nexusd migrate and PostgreSQL${needsPostgres}`, () => {
  let server: Server
  beforeAll(async () => {
    server = await Server.create(atEnd)
  })

  it("copies to PostgreSQL, within it and back, and lists stay the same to the byte", {
    timeout: 120_000
  }, async () => {
    const home = newHome()
    const vms = [...many(20_000).map((vm) => ({ ...vm, cid: vm.cid + 10_000_000 })), ...odd.slice(1)]
    const from = file(home, "from.db", vms, settings)
    const [one, two] = [server.url(await server.database()), server.url(await server.database())]
    const back = join(home.path, "back.db")
    expectMigrated(await migrate(home, from, one), vms.length, from, one)
    expectMigrated(await migrate(home, one, two), vms.length, one, two)
    expectMigrated(await migrate(home, two, back), vms.length, two, back)
    expect(contents(back)).toEqual(contents(from))
    const bytes = await listed(home, from)
    for (const database of [one, two, back]) expect((await listed(home, database)) === bytes).toBe(true)
  })

  it("copies the host between servers, not to a file, and leaves runs out", { timeout: 60_000 }, async () => {
    const home = newHome()
    const from = file(home, "from.db", odd, [...settings, ...runLike, databaseId("source")])
    const names = [await server.database(), await server.database(), await server.database()] as const
    const one = server.url(names[0])
    const two = server.url(names[1])
    const later = server.url(names[2])
    const back = join(home.path, "back.db")
    const hosts = (database: string) => server.query("SELECT name, host FROM vms ORDER BY inserted", { database })
    const addRuns = async (database: string) => {
      for (const { key, type, value } of runs) {
        await server.query("INSERT INTO settings VALUES ($1, $2, $3)", { database, values: [key, value, type] })
      }
    }
    expectMigrated(await migrate(home, from, one), odd.length, from, one)
    await server.query("UPDATE vms SET host = 'host of ' || cid WHERE cid < 8", { database: names[0] })
    await addRuns(names[0])
    expectMigrated(await migrate(home, one, two), odd.length, one, two)
    expect(await hosts(names[1])).toEqual(await hosts(names[0]))
    expect((await hosts(names[1])).filter(({ host }) => host !== null)).not.toEqual([])
    await addRuns(names[1])
    expectMigrated(await migrate(home, two, back), odd.length, two, back)
    expect(contents(back)).toEqual(contents(from))

    // A server's database of an earlier version is read, and not changed.
    await server.query("ALTER TABLE vms DROP COLUMN host", { database: names[1] })
    const before = await dump(server, names[1])
    expectMigrated(await migrate(home, two, later), odd.length, two, later)
    expect(await dump(server, names[1])).toBe(before)
    expect((await hosts(names[2])).map(({ host }) => host)).toEqual(odd.map(() => null))
  })

  it("copies every field, and daemons continue with the next CID", async () => {
    const home = newHome()
    const from = file(home, "from.db", odd.slice(1), settings)
    const url = server.url(await server.database())
    const daemons = await Promise.all([
      startDaemon(home, { args: ["--db", url] }),
      startDaemon(home, { args: ["--db", url] })
    ])
    expectMigrated(await migrate(home, from, url), odd.length - 1, from, url)
    const made = await Promise.all(
      Array.from({ length: 10 }, (_, n) => createVm(daemons[n % 2 === 0 ? 0 : 1], `new-${n}`))
    )
    expect(made.map(({ cid }) => cid).sort()).toEqual(Array.from({ length: 10 }, (_, n) => 2_000_001 + n))
    const all = await listVms(daemons[0])
    expect(new Set(all.map(({ cid }) => cid)).size).toBe(odd.length - 1 + 10)
    expect(all.find(({ name }) => name === text)).toEqual(odd[2])

    const full = file(home, "full.db", odd.slice(0, 1))
    const other = server.url(await server.database())
    expectMigrated(await migrate(home, full, other), 1, full, other)
    const daemon = await startDaemon(home, { args: ["--db", other] })
    expect(await listVms(daemon)).toEqual(odd.slice(0, 1))
    expect((await createVm(daemon, "lowest")).cid).toBe(3)
  })

  it("succeeds while a daemon serves the target", { timeout: 60_000 }, async () => {
    await expectUndisturbed(newHome(), server.url(await server.database()))
  })

  it("refuses databases that it can't use, in one line without a password", async () => {
    const home = newHome()
    const from = file(home, "from.db", odd.slice(1))
    const database = await server.database()
    const url = server.url(database)
    await migrate(home, from, url)
    const before = await dump(server, database)
    const again = file(home, "to.db")

    expectRefusal(await migrate(home, from, url), url, "is not empty (VMs: 8, settings: 0)")
    expectRefusal(await migrate(home, url, server.tcpUrl(database)), "is the database that --from names")
    const empty = await server.database()
    expectRefusal(await migrate(home, server.url(empty), again), "holds no Nexus database")
    expect(await server.query("SELECT relname FROM pg_class WHERE relname = 'vms'", { database: empty })).toEqual([])
    for (const [version, says] of [
      ["1", "has schema version 1"],
      ["3", "made by a newer nexusd"]
    ] as const) {
      await server.query(`UPDATE schema_meta SET value = '${version}'`, { database })
      expectRefusal(await migrate(home, url, again), url, says, "--from")
      expectRefusal(await migrate(home, from, url), url, says, "--to")
    }
    await server.query("UPDATE schema_meta SET value = '2'", { database })
    await server.query("CREATE TABLE things (id int)", { database: empty })
    expectRefusal(await migrate(home, from, server.url(empty)), "is not a Nexus database")
    const nowhere = "postgres://nexus:geheim@127.0.0.1:1/nexus"
    for (const result of [await migrate(home, nowhere, again), await migrate(home, from, nowhere)]) {
      expectRefusal(result, "cannot use postgres://nexus@127.0.0.1:1/nexus: ")
      expect(result.stderr).not.toContain("geheim")
    }
    expect(await dump(server, database)).toBe(before)
    expect(contents(again)).toEqual(nothing)
  })

  it("copies nothing if PostgreSQL can't hold a value, and names it", async () => {
    const home = newHome()
    const url = server.url(await server.database())
    const from = file(home, "nul.db", [...many(600), record("nul", 9_000_000, { config_json: "a\u0000b" })])
    expectRefusal(await migrate(home, from, url), "can't hold a NUL character", '"name":"nul"')
    // An escaped backslash before u0000 is no NUL.
    const sound = file(home, "sound.db", [record("\\u0000", 3, { config_json: "\\\\u0000" })])
    const half = file(home, "half.db", [...many(600), record("half", 9_000_000)])
    withDatabase(half, (database) => database.exec("UPDATE vms SET pid = 1.5 WHERE name = 'half'"))
    expectRefusal(await migrate(home, half, url), "1.5")
    expectMigrated(await migrate(home, sound, url), 1, sound, url)
    const back = join(home.path, "back.db")
    expectMigrated(await migrate(home, url, back), 1, url, back)
    expect(contents(back)).toEqual(contents(sound))
  })

  it("can be repeated after kill -9, and after the connection was lost", { timeout: 120_000 }, async () => {
    const home = newHome()
    const from = file(home, "from.db", many(20_000))
    const own = await Server.create(onTestFinished)
    const database = await own.database()
    const url = own.url(database)
    const count = async () => (await own.query("SELECT count(*)::int AS vms FROM vms", { database }))[0]?.["vms"]
    await startDaemon(home, { args: ["--db", url] }).then((daemon) => daemon.stop())
    // A lock of this connection stops the migration at one record.
    const holder = await own.connect(database)
    onTestFinished(() => holder.end())
    const rowsOf = async (text: string) => (await holder.query(text)).rows
    await rowsOf(`CREATE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NEW; END $$`)
    const pausedAt = async (name: string) => {
      await rowsOf(`SELECT pg_advisory_lock(1); DROP TRIGGER IF EXISTS pause ON vms;
        CREATE TRIGGER pause BEFORE INSERT ON vms FOR EACH ROW WHEN (NEW.name = '${name}') EXECUTE FUNCTION pause()`)
      const migration = startMigration(home, from, url)
      const waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
      await vi.waitFor(async () => expect(await rowsOf(waiting)).toHaveLength(1), { timeout: 60_000 })
      return migration
    }
    const resume = async () => {
      await rowsOf("SELECT pg_advisory_unlock(1)")
      // The server notices the disconnect when it sends the next result.
      const others = `SELECT pid FROM pg_stat_activity
        WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()`
      await vi.waitFor(async () => expect(await rowsOf(others)).toEqual([]), { timeout: 60_000 })
    }
    for (const name of ["vm-0", "vm-9999", "vm-19999"]) {
      expect((await stopped(await pausedAt(name), "SIGKILL")).code).toBe(null)
      await resume()
      expect(await count()).toBe(0)
    }
    const migration = await pausedAt("vm-9999")
    await own.stop("immediate")
    expectRefusal(await migration.ended, `cannot use ${url}: `)
    await own.start()
    expect(await count()).toBe(0)
    expectMigrated(await migrate(home, from, url), 20_000, from, url)

    // The connection to the source is lost.
    const to = file(home, "to.db")
    slowDown(to, ...perPiece)
    const reading = startMigration(home, url, to)
    await hasBegun(reading)
    await own.stop("immediate")
    expectRefusal(await reading.ended, `cannot use ${url}: `)
    expect(contents(to)).toEqual(nothing)
    speedUp(to)
    await own.start()
    expectMigrated(await migrate(home, url, to), 20_000, url, to)
    expect(contents(to)).toEqual(contents(from))
  })
})
