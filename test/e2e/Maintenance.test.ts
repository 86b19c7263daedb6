import { spawnSync } from "node:child_process"
import {
  closeSync,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync
} from "node:fs"
import { dirname, join } from "node:path"
import { describe, expect, it, onTestFinished } from "vitest"
import { type Daemon, startDaemon } from "../support/Daemon.js"
import { type Home, makeHome } from "../support/Home.js"
import { type Result, start } from "../support/Process.js"
import { programs } from "../support/Programs.js"
import { withDatabase } from "../support/Sqlite.js"
import { createVm, listVms } from "../support/VmCalls.js"

const newHome = () => makeHome(onTestFinished)
const databaseOf = (home: Home) => join(home.path, "state/nexus/nexus.db")
const nexusd = (home: Home, ...args: ReadonlyArray<string>) =>
  start(home, process.execPath, [programs.nexusd, ...args]).ended

const expectRefusal = ({ code, stderr, stdout }: Result, ...says: ReadonlyArray<string | RegExp>) => {
  expect(stderr).toMatch(/^Error: [^\n]+\n$/)
  for (const part of says) expect(stderr).toMatch(part)
  expect(stderr).not.toMatch(/ at .*:\d+:\d+|\.cjs/)
  expect(stdout).toBe("")
  expect(code).toBe(1)
}
const expectDone = (result: Result, says: RegExp) => {
  expect(result).toMatchObject({ code: 0, stderr: "" })
  expect(result.stdout).toMatch(says)
}

/** The names in a sound database. Reads a copy, since SQLite changes the files that it opens. */
const namesIn = (home: Home, path: string): ReadonlyArray<unknown> => {
  const copy = join(home.path, "looked-at", "nexus.db")
  mkdirSync(dirname(copy), { recursive: true })
  for (const part of ["", "-wal"]) {
    writeFileSync(copy + part, existsSync(path + part) ? readFileSync(path + part) : "")
  }
  return withDatabase(copy, (database) => {
    expect(database.prepare("PRAGMA integrity_check").all()).toEqual([{ integrity_check: "ok" }])
    return database
      .prepare("SELECT name FROM vms ORDER BY cid")
      .all()
      .map(({ name }) => name)
  })
}

/** The bytes of every file in a folder but -shm, which SQLite may rewrite. */
const contents = (folder: string) =>
  Object.fromEntries(
    readdirSync(folder)
      .filter((name) => !name.endsWith("-shm"))
      .map((name) => [name, readFileSync(join(folder, name), "base64")])
  )

const made = new Map<string, Buffer>()

/** A home whose database has these records, without a daemon. One daemon creates it for all tests. */
const homeWith = async (...names: ReadonlyArray<string>): Promise<Home> => {
  const home = newHome()
  const before = made.get(names.join())
  if (before !== undefined) {
    mkdirSync(dirname(databaseOf(home)), { recursive: true })
    writeFileSync(databaseOf(home), before, { mode: 0o600 })
    return home
  }
  const daemon = await startDaemon(home)
  for (const name of names) await createVm(daemon, name)
  await daemon.stop()
  made.set(names.join(), readFileSync(databaseOf(home)))
  return home
}

const replaced = (home: Home) => readdirSync(dirname(databaseOf(home))).filter((name) => name.includes(".replaced-"))

/** Creates records over four connections until stopped. `acknowledged` grows meanwhile. */
const load = (daemon: Daemon) => {
  const acknowledged: Array<string> = []
  let isOver = false
  const lines = [0, 1, 2, 3].map(async (line) => {
    for (let n = 0; !isOver; n++) {
      await createVm(daemon, `load-${line}-${n}`)
      acknowledged.push(`load-${line}-${n}`)
    }
  })
  const stop = async () => {
    isOver = true
    await Promise.all(lines)
  }
  return { acknowledged, stop }
}

describe("nexusd backup", () => {
  it("writes a consistent copy during writes", async () => {
    const home = newHome()
    const daemon = await startDaemon(home)
    const { acknowledged, stop } = load(daemon)
    for (let n = 0; n < 3; n++) {
      while (acknowledged.length < 20 * (n + 1)) await new Promise((resolve) => setTimeout(resolve, 5))
      const before = Array.from(acknowledged)
      const file = join(home.path, `backup-${n}.db`)
      const result = await nexusd(home, "backup", file)
      expectDone(result, /^Backed up [^\n]+ to [^\n]+ \(\d+ VMs\)\n$/)
      const kept = namesIn(home, file)
      expect(kept).toEqual(expect.arrayContaining(before))
      expect(result.stdout).toContain(`(${kept.length} VMs)`)
      expect((statSync(file).mode & 0o777).toString(8)).toBe("600")
    }
    await stop()
    expect(await listVms(daemon)).toHaveLength(acknowledged.length)
    expect(readdirSync(home.path).filter((name) => name.startsWith("backup"))).toHaveLength(3)
  })

  it("fails with one line and leaves no file", async () => {
    const home = await homeWith("web")
    const taken = home.write("taken.db", "mine")
    const before = readdirSync(home.path)
    expectRefusal(await nexusd(home, "backup", taken), taken, "exists")
    expect(readFileSync(taken, "utf8")).toBe("mine")
    expectRefusal(await nexusd(home, "backup", join(home.path, "no/folder.db")), "no/folder.db")
    const missing = join(home.path, "missing.db")
    expectRefusal(await nexusd(home, "--db", missing, "backup", join(home.path, "new.db")), missing, "exist")
    expect(readdirSync(home.path)).toEqual(before)

    writeFileSync(databaseOf(home), "noise")
    expectRefusal(await nexusd(home, "backup", join(home.path, "new.db")), databaseOf(home))
    expect(readdirSync(home.path)).toEqual(before)
  })
})

describe("nexusd restore", () => {
  it("refuses while a daemon has the database open", async () => {
    const home = await homeWith("old")
    const backup = join(home.path, "backup.db")
    await nexusd(home, "backup", backup)
    const daemon = await startDaemon(home)
    await createVm(daemon, "new")
    const before = contents(dirname(databaseOf(home)))
    expectRefusal(await nexusd(home, "restore", backup), databaseOf(home), "stop nexusd")
    expect(contents(dirname(databaseOf(home)))).toEqual(before)
    await createVm(daemon, "newer")
    await daemon.stop()
    expect(namesIn(home, databaseOf(home))).toEqual(["old", "new", "newer"])
  })

  it("refuses while a daemon has a damaged database open", async () => {
    const home = await homeWith("old")
    const backup = join(home.path, "backup.db")
    await nexusd(home, "backup", backup)
    await startDaemon(home)
    writeFileSync(databaseOf(home), Buffer.alloc(statSync(databaseOf(home)).size, 0xa5))
    const before = contents(dirname(databaseOf(home)))
    expectRefusal(await nexusd(home, "restore", backup), databaseOf(home))
    expect(contents(dirname(databaseOf(home)))).toEqual(before)
  })

  it("replaces the database with a backup, and keeps the old one", async () => {
    const home = await homeWith("a", "b")
    const backup = join(home.path, "backup.db")
    await nexusd(home, "backup", backup)
    const killed = await startDaemon(home)
    await createVm(killed, "c")
    // Changes that are only in the log are kept too.
    await killed.stop("SIGKILL")
    expectDone(await nexusd(home, "restore", backup), /^Restored [^\n]+ from [^\n]+\n[^\n]+\.replaced-[^\n]+\.bak\n$/)

    const [kept = "", ...others] = replaced(home)
    expect(others).toEqual([])
    expect(kept).toMatch(/^nexus\.db\.replaced-\d{8}T\d{6}Z\.bak$/)
    const path = join(dirname(databaseOf(home)), kept)
    expect((statSync(path).mode & 0o777).toString(8)).toBe("600")
    expect((statSync(databaseOf(home)).mode & 0o777).toString(8)).toBe("600")
    expect(namesIn(home, path)).toEqual(["a", "b", "c"])
    const daemon = await startDaemon(home)
    expect((await listVms(daemon)).map(({ name }) => name)).toEqual(["b", "a"])
    await createVm(daemon, "d")
    await daemon.stop()
    expect(readdirSync(dirname(databaseOf(home))).sort()).toEqual(["nexus.db", kept])
    expect(namesIn(home, path)).toEqual(["a", "b", "c"])
  })

  const damages: ReadonlyArray<readonly [what: string, spoil: (path: string) => void]> = [
    ["is no database", (path) => writeFileSync(path, "noise")],
    ["is cut short", (path) => truncateSync(path, 5000)],
    [
      "is random bytes with a log of its own",
      (path) => {
        writeFileSync(path, Buffer.alloc(20_480, 0xa5))
        copyFileSync(`${path}.log`, `${path}-wal`)
      }
    ],
    [
      "is truncated with a log of its own",
      (path) => {
        truncateSync(path, 4096)
        copyFileSync(`${path}.log`, `${path}-wal`)
      }
    ]
  ]
  for (const [what, spoil] of damages) {
    it(`replaces a database that ${what}`, async () => {
      const home = await homeWith("a", "b")
      const path = databaseOf(home)
      const backup = join(home.path, "backup.db")
      await nexusd(home, "backup", backup)
      const killed = await startDaemon(home)
      await createVm(killed, "lost")
      copyFileSync(`${path}-wal`, `${path}.log`)
      await killed.stop()
      spoil(path)
      const spoilt = readFileSync(path)
      const hadLog = existsSync(`${path}-wal`)

      expectDone(await nexusd(home, "restore", backup), /^Restored /)
      const kept = replaced(home).filter((name) => name.endsWith(".bak"))
      expect(kept).toHaveLength(1)
      // SQLite may have merged the log into it.
      if (!hadLog) expect(readFileSync(join(dirname(path), kept[0] ?? ""))).toEqual(spoilt)
      expect(existsSync(`${path}-wal`) && statSync(`${path}-wal`).size > 0).toBe(false)
      expect(namesIn(home, path)).toEqual(["a", "b"])
      const daemon = await startDaemon(home)
      expect((await createVm(daemon, "c")).cid).toBe(5)
    })
  }

  it("keeps a symbolic link to the database", async () => {
    const home = await homeWith("a")
    const path = databaseOf(home)
    const backup = join(home.path, "backup.db")
    await nexusd(home, "backup", backup)
    const daemon = await startDaemon(home)
    await createVm(daemon, "b")
    await daemon.stop()
    const target = join(home.path, "elsewhere", "records.db")
    mkdirSync(dirname(target))
    renameSync(path, target)
    symlinkSync(target, path)
    expectDone(await nexusd(home, "restore", backup), /^Restored /)
    expect(readlinkSync(path)).toBe(target)
    expect(namesIn(home, target)).toEqual(["a"])
    const [kept = "", ...others] = readdirSync(dirname(target)).filter((name) => name !== "records.db")
    expect(others).toEqual([])
    expect(namesIn(home, join(dirname(target), kept))).toEqual(["a", "b"])
  })

  it("leaves the runs of VMs out, over a database and where there is none, and the backup as it is", async () => {
    const home = await homeWith("a", "b")
    const rows = [
      ["a", "1", "int"],
      ["database.id", "0b1f4b0e-4f4e-4c6e-9a57-0a4f6f8f7a11", "string"],
      ["vm.run", "text", "string"],
      ["vm.run.0b1f4b0e-4f4e-4c6e-9a57-0a4f6f8f7a11", "{}", "json"],
      ["vm.run.x", "not even JSON", "json"],
      ["vm.runs", "text", "string"]
    ]
    withDatabase(databaseOf(home), (database) => {
      for (const row of rows) database.prepare("INSERT OR REPLACE INTO settings VALUES (?, ?, ?)").run(...row)
      database.exec("UPDATE vms SET state = 'running' WHERE name = 'a'")
    })
    const backup = join(home.path, "backup.db")
    await nexusd(home, "backup", backup)
    const before = readFileSync(backup)
    const elsewhere = join(home.path, "elsewhere.db")
    for (const args of [[], ["--db", elsewhere]]) {
      const { code } = await nexusd(home, "restore", backup, ...args)
      expect(code).toBe(0)
    }
    const settingsOf = (path: string) =>
      withDatabase(path, (database) =>
        database
          .prepare("SELECT key, value, type FROM settings ORDER BY key")
          .all()
          .map((row) => Object.values(row))
      )
    for (const path of [databaseOf(home), elsewhere]) {
      expect(settingsOf(path)).toEqual(rows.filter(([key]) => !key?.startsWith("vm.run.")))
      // The state stays: nexusd's start settles it.
      const states = withDatabase(path, (database) => database.prepare("SELECT state FROM vms ORDER BY name").all())
      expect(states).toEqual([{ state: "running" }, { state: "created" }])
    }
    expect(readFileSync(backup)).toEqual(before)
    expect(settingsOf(backup)).toEqual(rows)
    expect(readdirSync(home.path).filter((name) => name.startsWith("elsewhere"))).toEqual(["elsewhere.db"])
  })

  it("creates the database if there is none", async () => {
    const home = await homeWith("a")
    const backup = join(home.path, "backup.db")
    await nexusd(home, "backup", backup)
    const elsewhere = join(home.path, "elsewhere.db")
    expectDone(await nexusd(home, "restore", backup, "--db", elsewhere), /^Restored [^\n]+\n$/)
    expect(namesIn(home, elsewhere)).toEqual(["a"])
    expect(readdirSync(home.path).filter((name) => name.startsWith("elsewhere"))).toEqual(["elsewhere.db"])
  })

  const files: ReadonlyArray<readonly [what: string, make: (path: string, whole: string) => void]> = [
    ["missing", () => {}],
    ["noise", (path) => writeFileSync(path, "noise")],
    ["empty", (path) => writeFileSync(path, "")],
    ["of another program", (path) => withDatabase(path, (database) => database.exec("CREATE TABLE bookmarks (url)"))],
    [
      "newer",
      (path, whole) => {
        copyFileSync(whole, path)
        withDatabase(path, (database) => database.exec("UPDATE schema_meta SET value = '3'"))
      }
    ],
    [
      "cut short",
      (path, whole) => {
        copyFileSync(whole, path)
        truncateSync(path, statSync(path).size - 4096)
      }
    ]
  ]
  it("refuses an incomplete backup, and changes nothing", async () => {
    const home = await homeWith("a")
    const before = contents(dirname(databaseOf(home)))
    for (const [what, make] of files) {
      const file = join(home.path, `${what.replaceAll(" ", "-")}.db`)
      make(file, databaseOf(home))
      expectRefusal(await nexusd(home, "restore", file), file)
      expect(contents(dirname(databaseOf(home))), what).toEqual(before)
    }
  })
})

describe("nexusd check", () => {
  it("counts the records of a sound database, live or not", async () => {
    const home = await homeWith("a", "b")
    const path = databaseOf(home)
    const before = contents(dirname(path))
    expectDone(await nexusd(home, "check"), /^[^\n]+ is sound \(2 VMs\)\n$/)
    expectDone(await nexusd(newHome(), "--db", path, "check"), /\(2 VMs\)/)
    expectDone(await nexusd(newHome(), "check", "--db", path), /\(2 VMs\)/)
    expectDone(await nexusd(newHome(), "check", `--db=${path}`), /\(2 VMs\)/)
    expect(contents(dirname(path))).toMatchObject(before)
    const daemon = await startDaemon(home)
    await createVm(daemon, "c")
    expectDone(await nexusd(home, "check"), /\(3 VMs\)/)
    await createVm(daemon, "d")
  })

  /** Makes the text of a CHECK invalid SQL. */
  const spoilCheck = (path: string) => {
    const bytes = readFileSync(path)
    const at = bytes.indexOf("IN ('portal'")
    expect(at).toBeGreaterThan(0)
    const file = openSync(path, "r+")
    writeSync(file, "JN", at)
    closeSync(file)
  }

  it("finds damage that a read-only connection does not see", async () => {
    const home = await homeWith("a", "b")
    spoilCheck(databaseOf(home))
    const before = contents(dirname(databaseOf(home)))
    expectRefusal(await nexusd(home, "check"), databaseOf(home), "damaged", "malformed")
    expect(contents(dirname(databaseOf(home)))).toEqual(before)
    expect(readdirSync(dirname(databaseOf(home)))).toEqual(["nexus.db"])
  })

  it("finds it while a daemon runs, and changes nothing", async () => {
    const home = await homeWith("a", "b")
    const path = databaseOf(home)
    const daemon = await startDaemon(home)
    await createVm(daemon, "c")
    expectDone(await nexusd(home, "check"), /\(3 VMs\)/)
    spoilCheck(path)
    const before = contents(dirname(path))
    expectRefusal(await nexusd(home, "check"), path, "damaged", "malformed")
    expect(contents(dirname(path))).toEqual(before)
    await createVm(daemon, "d")
  })

  it("leaves the files of a killed daemon unchanged", async () => {
    const home = await homeWith("a")
    const path = databaseOf(home)
    const daemon = await startDaemon(home)
    await createVm(daemon, "b")
    await daemon.stop("SIGKILL")
    const before = contents(dirname(path))
    expectDone(await nexusd(home, "check"), /\(2 VMs\)/)
    expect(contents(dirname(path))).toEqual(before)
    // Without its -shm the log is read from a copy.
    rmSync(`${path}-shm`)
    const files = readdirSync(dirname(path))
    expectDone(await nexusd(home, "check"), /\(2 VMs\)/)
    expect(contents(dirname(path))).toEqual(before)
    expect(readdirSync(dirname(path))).toEqual(files)
    const missing = join(home.path, "missing")
    const { ended } = start(home, process.execPath, [programs.nexusd, "check"], { env: { TMPDIR: missing } })
    expectRefusal(await ended, path, missing, "ENOENT")
  })

  it("reports damage in one line", async () => {
    const home = await homeWith("a", "b")
    const path = databaseOf(home)
    expectRefusal(await nexusd(home, "check", "--db", join(home.path, "missing.db")), "missing.db", "exist")
    // Only the full check finds an index that differs from its table.
    const [root] = withDatabase(path, (database) =>
      database.prepare("SELECT rootpage AS page FROM sqlite_master WHERE name = 'idx_vms_role'").all()
    )
    const bytes = readFileSync(path)
    const at = bytes.indexOf("work", (Number(root?.["page"]) - 1) * 4096)
    bytes.write("worj", at)
    writeFileSync(path, bytes)
    expectRefusal(await nexusd(home, "check"), path, "damaged")
    truncateSync(path, 6000)
    expectRefusal(await nexusd(home, "check"), path, "damaged")
    writeFileSync(path, "noise")
    expectRefusal(await nexusd(home, "check"), path)
  })
})

describe("a file that is not regular", () => {
  const stateOf = (path: string) => {
    const { ino, mode, mtimeMs } = lstatSync(path)
    return { ino, mode, mtimeMs }
  }
  const kinds: ReadonlyArray<readonly [what: string, make: (path: string) => unknown]> = [
    ["a directory", (path) => mkdirSync(path, { mode: 0o755 })],
    ["a FIFO", (path) => spawnSync("mkfifo", ["-m", "644", path])],
    ["a device", (path) => spawnSync("mknod", ["-m", "666", path, "c", "1", "5"])],
    [
      "a link to a FIFO",
      (path) => {
        spawnSync("mkfifo", ["-m", "644", `${path}.fifo`])
        symlinkSync(`${path}.fifo`, path)
      }
    ]
  ]
  for (const [what, make] of kinds) {
    it(`such as ${what} is refused by every command, and unchanged`, async ({ skip }) => {
      const home = await homeWith("web")
      const folder = join(home.path, "there")
      mkdirSync(folder)
      const path = join(folder, "other")
      make(path)
      skip(!existsSync(path), "needs the right to make a device")
      const before = [readdirSync(folder), stateOf(path)]
      const database = contents(dirname(databaseOf(home)))
      const backup = join(home.path, "backup.db")
      await nexusd(home, "backup", backup)
      const kind = what.split(" ").at(-1) ?? ""
      const commands: ReadonlyArray<readonly [args: ReadonlyArray<string>, says: string]> = [
        [["--db", path], kind],
        [["check", "--db", path], kind],
        [["backup", "--db", path, join(home.path, "none.db")], kind],
        [["restore", "--db", path, backup], kind],
        [["migrate", "--from", databaseOf(home), "--to", path], kind],
        [["migrate", "--from", path, "--to", join(home.path, "none.db")], kind],
        [["restore", path], kind],
        [["backup", path], "exists"]
      ]
      for (const [args, says] of commands) {
        expectRefusal(await nexusd(home, ...args), path, says)
        expect([readdirSync(folder), stateOf(path)], args.join(" ")).toEqual(before)
      }
      expect(existsSync(join(home.path, "none.db"))).toBe(false)
      expect(contents(dirname(databaseOf(home)))).toEqual(database)
    })
  }
})

it("every command has --help", async () => {
  const home = newHome()
  for (const command of ["backup", "restore", "check"]) {
    const { code, stderr, stdout } = await nexusd(home, command, "--help")
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
    expect(stdout).toMatch(new RegExp(`^  nexusd .* ${command}\\b`, "m"))
    expect(stdout).toContain("--db")
  }
  expect(readdirSync(home.path)).toEqual([])
})
