import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync
} from "node:fs"
import { join } from "node:path"
import { describe, expect, it, vi } from "vitest"
import { connect } from "../support/Connection.js"
import { runDaemon, startDaemon } from "../support/Daemon.js"
import { freePort } from "../support/FreePort.js"
import { makeHome } from "../support/Home.js"
import { call } from "../support/HttpJson.js"
import { type Result, start } from "../support/Process.js"
import { programs } from "../support/Programs.js"
import { withDatabase } from "../support/Sqlite.js"
import { hasTerminal, startOnTerminal } from "../support/Terminal.js"
import { createVm, listVms } from "../support/VmCalls.js"

const { version } = JSON.parse(readFileSync("package.json", "utf8"))

const names = async (daemon: { readonly url: string }) => (await listVms(daemon)).map(({ name }) => name)

/** One clear line on stderr, that says all this, and nothing else anywhere. */
const expectRefusal = ({ code, stderr, stdout }: Result, ...says: ReadonlyArray<string | RegExp>) => {
  expect(stderr).toMatch(/^Error: [^\n]+\n$/)
  for (const part of says) expect(stderr).toMatch(part)
  expect(stderr).not.toMatch(/ at .*:\d+:\d+|\.cjs/)
  expect(stdout).toBe("")
  expect(code).toBe(1)
}

/** A usage error says what was wrong and where the help is. */
const expectUsageError = ({ code, stderr, stdout }: Result, ...says: ReadonlyArray<string>) => {
  expect(stderr).toMatch(/^Error: [^\n]+\n {2}See: nexusd --help\n$/)
  for (const part of says) expect(stderr).toContain(part)
  expect(stdout).toBe("")
  expect(code).toBe(2)
}

/** A database as a daemon of that version left it. */
const schemaOf = (schemaVersion: number) => `
  CREATE TABLE schema_meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
  CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL, type TEXT NOT NULL);
  INSERT INTO schema_meta VALUES ('version', '${schemaVersion}');
  INSERT INTO settings VALUES ('motto', 'nothing is lost', 'string');
`

describe.concurrent("nexusd's command line", () => {
  it("shows its options with --help", async ({ onTestFinished }) => {
    const { code, stderr, stdout } = await runDaemon(makeHome(onTestFinished), { args: ["--help"] })
    expect(stdout).toContain("nexusd [--config PATH] [--db PATH]")
    expect(stdout).toMatch(/^ +--config PATH +\S/m)
    expect(stdout).toMatch(/^ +--db PATH +\S/m)
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
  })

  it("shows its version with --version", async ({ onTestFinished }) => {
    const result = await runDaemon(makeHome(onTestFinished), { args: ["--version"] })
    expect(result).toEqual({ code: 0, stdout: `nexusd ${version}\n`, stderr: "" })
  })

  for (const { args, says } of [
    { args: ["--bogus"], says: "--bogus" },
    { args: ["--dbb", "x.db"], says: "--dbb" },
    { args: ["serve"], says: "serve" },
    { args: ["--db"], says: "--db" },
    { args: ["--config"], says: "--config" },
    { args: ["--wizard"], says: "--wizard" }
  ]) {
    it(`refuses ${args.join(" ")}`, async ({ onTestFinished }) => {
      expectUsageError(await runDaemon(makeHome(onTestFinished), { args }), says)
    })
  }
})

describe.concurrent("nexusd migrate's command line", () => {
  for (const [args, missing] of [
    [["migrate"], "--from and --to"],
    [["migrate", "--from", "a.db"], "--to"]
  ] as const) {
    it(`names the missing option: ${args.join(" ")}`, async ({ onTestFinished }) => {
      expect(await runDaemon(makeHome(onTestFinished), { args })).toEqual({
        code: 2,
        stdout: "",
        stderr: `Error: missing ${missing}\n  See: nexusd migrate --help\n`
      })
    })
  }
})

describe.concurrent("nexusd's configuration", () => {
  it("has a default for each key, and makes the database's folder", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const path = join(home.path, "state/nexus/nexus.db")
    const daemon = await startDaemon(home)
    expect(existsSync(path)).toBe(true)
    expect(await call(daemon, "GET", "/v1/health")).toEqual({
      status: 200,
      body: { status: "ok", version, database: { path, table_count: 3, size_bytes: expect.any(Number) } }
    })
    expect(daemon.log()).toHaveLength(1)
  })

  it("listens on 127.0.0.1:9600 by default", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    // Another daemon may have that port: then it is what the refusal names.
    const daemon = start(home, process.execPath, [programs.nexusd])
    await vi.waitFor(() => expect(daemon.said.stderr).toMatch(/127\.0\.0\.1:9600\b/), { timeout: 60_000 })
  })

  for (const { folder, title } of [
    { title: "not set", folder: undefined },
    { title: "empty", folder: "" },
    { title: "relative", folder: "state" }
  ]) {
    it(`uses ~/.local/state and ~/.config when the XDG variables are ${title}`, async ({ onTestFinished }) => {
      const home = makeHome(onTestFinished)
      home.write(".config/nexus/nexus.yaml", 'api:\n  listen: "127.0.0.2:0"\n')
      const daemon = await startDaemon(home, {
        env: { XDG_STATE_HOME: folder, XDG_CONFIG_HOME: folder, NEXUS_API_LISTEN: undefined }
      })
      expect(daemon.address).toMatch(/^127\.0\.0\.2:/)
      expect(existsSync(join(home.path, ".local/state/nexus/nexus.db"))).toBe(true)
    })
  }

  it("takes api.listen and database.url from nexus.yaml", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const daemon = await startDaemon(home, {
      config: `api:\n  listen: "127.0.0.2:0"\ndatabase:\n  url: ${home.path}/from-file/x.db\n`,
      env: { NEXUS_API_LISTEN: undefined }
    })
    expect(daemon.address).toMatch(/^127\.0\.0\.2:\d+$/)
    expect(existsSync(join(home.path, "from-file/x.db"))).toBe(true)
    expect(existsSync(join(home.path, "state/nexus"))).toBe(false)
    expect((await call(daemon, "GET", "/v1/health")).status).toBe(200)
  })

  it("prefers the environment to nexus.yaml", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const daemon = await startDaemon(home, {
      config: `api:\n  listen: "127.0.0.2:0"\ndatabase:\n  url: ${home.path}/from-file.db\n`,
      env: { NEXUS_API_LISTEN: "127.0.0.3:0", NEXUS_DATABASE_URL: join(home.path, "from-environment.db") }
    })
    expect(daemon.address).toMatch(/^127\.0\.0\.3:/)
    expect(existsSync(join(home.path, "from-environment.db"))).toBe(true)
    expect(existsSync(join(home.path, "from-file.db"))).toBe(false)
  })

  it("prefers --db to the environment and nexus.yaml", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    await startDaemon(home, {
      args: ["--db", join(home.path, "a/b/from-flag.db")],
      config: `database:\n  url: ${home.path}/from-file.db\n`,
      env: { NEXUS_DATABASE_URL: join(home.path, "from-environment.db") }
    })
    expect(existsSync(join(home.path, "a/b/from-flag.db"))).toBe(true)
    expect(readdirSync(home.path).filter((file) => file.endsWith(".db"))).toEqual([])
  })

  it("reads the file that --config names instead of the default one", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const other = home.write("other.yaml", 'api:\n  listen: "127.0.0.2:0"\n')
    const daemon = await startDaemon(home, {
      args: [`--config=${other}`],
      config: "this: is not looked at",
      env: { NEXUS_API_LISTEN: undefined }
    })
    expect(daemon.address).toMatch(/^127\.0\.0\.2:/)
  })

  it.for(["", "# nothing yet\n", "api:\n  # listen: x\n", "---\n"])(
    "takes a nexus.yaml without a setting: %j",
    async (config, { onTestFinished }) => {
      const daemon = await startDaemon(makeHome(onTestFinished), { config })
      expect((await call(daemon, "GET", "/v1/health")).status).toBe(200)
    }
  )

  it("logs from log.level on, and prefers NEXUS_LOG_LEVEL", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const config = "log:\n  level: error\n"
    const loud = await startDaemon(home, { config, env: { NEXUS_LOG_LEVEL: "info" } })
    await loud.stop()

    const port = await freePort()
    const quiet = start(home, process.execPath, [programs.nexusd], { env: { NEXUS_API_LISTEN: `127.0.0.1:${port}` } })
    const url = `http://127.0.0.1:${port}`
    await vi.waitFor(() => call({ url }, "GET", "/v1/health"), { timeout: 60_000 })
    quiet.child.kill("SIGTERM")
    expect(await quiet.ended).toEqual({ code: 0, stdout: "", stderr: "" })
  })

  it("refuses a FIFO as --config or as the token file at once", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    await start(home, "mkfifo", ["fifo"]).ended
    expectRefusal(await runDaemon(home, { args: ["--config", "fifo"] }), "fifo", "found a FIFO")
    const env = { NEXUS_API_TOKEN_FILE: join(home.path, "fifo") }
    expectRefusal(await runDaemon(home, { env }), "fifo", "found a FIFO")
  })

  it("expands ~/ in the file, the environment and options", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    home.write("other.yaml", "database:\n  url: ~/in-file.db\n")
    const paths = [
      [{ args: ["--config=~/other.yaml"] }, "in-file.db"],
      [{ env: { NEXUS_DATABASE_URL: "~/in-environment.db" } }, "in-environment.db"],
      [{ args: ["--db=~/in-option.db"] }, "in-option.db"]
    ] as const
    for (const [options, name] of paths) {
      const daemon = await startDaemon(home, options)
      expect((await call(daemon, "GET", "/v1/health")).body).toMatchObject({
        database: { path: join(home.path, name) }
      })
      await daemon.stop()
    }
  })

  it("refuses a missing file that --config names", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    expectRefusal(await runDaemon(home, { args: ["--config", "missing.yaml"] }), "missing.yaml")
  })

  for (const { config, says, title } of [
    { title: "bad YAML", config: "api: [\n", says: [] },
    { title: "a tab for indentation", config: "api:\n\tlisten: x\n", says: [] },
    { title: "a key given twice", config: "log:\n  level: info\n  level: error\n", says: ["level"] },
    { title: "a list", config: "- api\n", says: [] },
    { title: "a text", config: "hello\n", says: [] },
    { title: "an unknown section", config: "apis: {}\n", says: ["apis"] },
    { title: "an unknown key", config: "api:\n  lisn: x\n", says: ["api.lisn"] },
    { title: "a section that is a text", config: "api: 127.0.0.1:1\n", says: ["api"] },
    { title: "an address without a port", config: "api:\n  listen: localhost\n", says: ["api.listen", "localhost"] },
    { title: "a port too high", config: 'api:\n  listen: "127.0.0.1:65536"\n', says: ["api.listen", "65536"] },
    { title: "an address that is a number", config: "api:\n  listen: 9600\n", says: ["api.listen", "9600"] },
    { title: "an empty database path", config: 'database:\n  url: ""\n', says: ["database.url"] },
    { title: "two documents", config: "log:\n---\nlog:\n", says: ["found several"] },
    { title: "a key without a value", config: "api:\n  listen:\n", says: ["api.listen"] },
    { title: "an unknown tag", config: "api: !env x\n", says: ["!env"] },
    { title: "more than 1 MiB", config: `#${"x".repeat(1024 * 1024)}\n`, says: ["1048576 bytes"] },
    { title: "a relative kernel", config: "vm:\n  kernel_image: vmlinux\n", says: ["vm.kernel_image", "vmlinux"] },
    { title: "an unknown log level", config: "log:\n  level: loud\n", says: ["log.level", "loud", "debug"] }
  ]) {
    it(`refuses ${title} in nexus.yaml, naming file and key`, async ({ onTestFinished }) => {
      const home = makeHome(onTestFinished)
      const result = await runDaemon(home, { config, env: { NEXUS_API_LISTEN: undefined } })
      expectRefusal(result, join(home.path, "config/nexus/nexus.yaml"), ...says)
      // What was expected is said in words, not in types of the code.
      expect(result.stderr).not.toMatch(/readonly|<->|\{/)
      expect(existsSync(join(home.path, "state"))).toBe(false)
    })
  }

  for (const { value, variable } of [
    { variable: "NEXUS_API_LISTEN", value: "nowhere" },
    { variable: "NEXUS_API_LISTEN", value: "127.0.0.1:99999" },
    { variable: "NEXUS_LOG_LEVEL", value: "loud" },
    { variable: "NEXUS_VM_STOP_TIMEOUT", value: "601" }
  ]) {
    it(`refuses ${variable}=${value}, naming the variable`, async ({ onTestFinished }) => {
      const result = await runDaemon(makeHome(onTestFinished), { env: { [variable]: value } })
      expectRefusal(result, variable, value)
    })
  }
})

describe.concurrent("nexusd's start", () => {
  it("fails with one line when the port is in use", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const { address } = await startDaemon(home)
    const second = makeHome(onTestFinished)
    expectRefusal(await runDaemon(second, { env: { NEXUS_API_LISTEN: address } }), address, "in use")
  })

  it("fails with one line when the address is not of this machine", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    // 192.0.2.0/24 is for documentation (RFC 5737). It is not local, so a token comes first.
    home.write("token", "0123456789abcdef0123456789abcdef\n")
    chmodSync(join(home.path, "token"), 0o600)
    const env = { NEXUS_API_LISTEN: "192.0.2.1:9600", NEXUS_API_TOKEN_FILE: join(home.path, "token") }
    expectRefusal(await runDaemon(home, { env }), "192.0.2.1:9600")
  })

  it("fails with one line when the database's folder can't be made", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const path = join(home.write("file", ""), "nexus.db")
    expectRefusal(await runDaemon(home, { args: ["--db", path] }), path)
  })

  for (const { make, says, title } of [
    {
      title: "of version 3",
      says: ["version 3", "newer", "--db"],
      make: (path: string) => withDatabase(path, (database) => database.exec(schemaOf(3)))
    },
    {
      title: "of version 3 in WAL mode",
      says: ["version 3"],
      make: (path: string) =>
        withDatabase(path, (database) => database.exec(`PRAGMA journal_mode = WAL; ${schemaOf(3)}`))
    },
    {
      title: "of another program",
      says: ["not a Nexus database", "--db"],
      make: (path: string) => withDatabase(path, (database) => database.exec("CREATE TABLE songs (title TEXT)"))
    },
    {
      title: "with a version that is no number",
      says: ["not a Nexus database"],
      make: (path: string) =>
        withDatabase(path, (database) =>
          database.exec(`${schemaOf(2)} UPDATE schema_meta SET value = 'two' WHERE key = 'version'`)
        )
    },
    {
      title: "of version 2 that lacks the vms table",
      says: ["vms"],
      make: (path: string) => withDatabase(path, (database) => database.exec(schemaOf(2)))
    },
    {
      title: "that is a text",
      says: ["not a Nexus database", "--db"],
      make: (path: string) => writeFileSync(path, "Dear diary,\n".repeat(500))
    },
    {
      title: "that is cut short",
      says: [],
      make: (path: string) => {
        withDatabase(path, (database) => database.exec(schemaOf(2)))
        writeFileSync(path, readFileSync(path).subarray(0, 5000))
      }
    }
  ]) {
    it(`fails with one line over a database ${title}, and leaves it unchanged`, async ({ onTestFinished }) => {
      const home = makeHome(onTestFinished)
      const folder = join(home.path, "db")
      const path = join(folder, "nexus.db")
      mkdirSync(folder)
      make(path)
      const before = { bytes: readFileSync(path), modified: statSync(path).mtimeMs }
      expectRefusal(await runDaemon(home, { args: ["--db", path] }), path, ...says)
      expect(readFileSync(path).equals(before.bytes)).toBe(true)
      expect(statSync(path).mtimeMs).toBe(before.modified)
      expect(readdirSync(folder).filter((file) => !/-(wal|shm)$/.test(file))).toEqual(["nexus.db"])
    })
  }

  it.for([0, 1])(
    "keeps a database of version %i next to a new one, and names both",
    async (old, { onTestFinished }) => {
      const home = makeHome(onTestFinished)
      const folder = join(home.path, "state/nexus")
      const path = join(folder, "nexus.db")
      withDatabase(path, (database) => database.exec(schemaOf(old)))

      const daemon = await startDaemon(home)
      const backups = () => readdirSync(folder).filter((file) => file.endsWith(".bak"))
      expect(backups()).toEqual([expect.stringMatching(new RegExp(`^nexus\\.db\\.v${old}-\\d{8}T\\d{6}Z\\.bak$`))])
      const backup = join(folder, `${backups()[0]}`)
      const warnings = daemon.log().filter((line) => /^warn/.test(JSON.parse(line).level))
      expect(warnings).toHaveLength(1)
      expect(JSON.parse(`${warnings[0]}`).message.replaceAll(backup, "BACKUP")).toMatch(new RegExp(`${path}.*BACKUP`))
      expect((await createVm(daemon, "first")).cid).toBe(3)
      await daemon.stop()

      withDatabase(backup, (database) => {
        expect(database.prepare("SELECT value FROM settings WHERE key = 'motto'").all()).toEqual([
          { value: "nothing is lost" }
        ])
        expect(database.prepare("SELECT value FROM schema_meta").all()).toEqual([{ value: `${old}` }])
      })
      const again = await startDaemon(home)
      expect(await names(again)).toEqual(["first"])
      expect(backups()).toHaveLength(1)
      expect(again.log()).toHaveLength(1)
    }
  )

  it("keeps records that a killed daemon of version 1 had only in its write-ahead log", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const folder = join(home.path, "state/nexus")
    mkdirSync(folder, { recursive: true })
    withDatabase(join(home.path, "live.db"), (database) => {
      database.exec(`PRAGMA journal_mode = WAL; ${schemaOf(1)}`)
      for (const part of ["", "-wal"]) {
        copyFileSync(join(home.path, `live.db${part}`), join(folder, `nexus.db${part}`))
      }
    })
    const daemon = await startDaemon(home)
    expect(await listVms(daemon)).toEqual([])
    const backup = readdirSync(folder).find((file) => file.endsWith(".bak"))
    withDatabase(join(folder, `${backup}`), (database) =>
      expect(database.prepare("SELECT value FROM settings").all()).toEqual([{ value: "nothing is lost" }])
    )
  })
})

describe.concurrent("nexusd's records", () => {
  it("survive a restart, and CIDs continue", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const first = await startDaemon(home)
    await createVm(first, "a", { role: "portal", vcpu_count: 4, mem_size_mib: 1024 })
    await createVm(first, "b")
    const before = await listVms(first)
    expect(await first.stop()).toMatchObject({ code: 0 })

    const second = await startDaemon(home)
    expect(await listVms(second)).toEqual(before)
    expect((await createVm(second, "c")).cid).toBe(5)
    expect(await names(second)).toEqual(["c", "b", "a"])
  })

  it("survive kill -9 once they are acknowledged", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const first = await startDaemon(home)
    const acknowledged: Array<string> = []
    const writer = async (prefix: string) => {
      for (let count = 0; ; count++) {
        await createVm(first, `${prefix}-${count}`)
        acknowledged.push(`${prefix}-${count}`)
      }
    }
    const writers = ["a", "b", "c", "d"].map((prefix) => expect(writer(prefix)).rejects.toThrow())
    await vi.waitFor(() => expect(acknowledged.length).toBeGreaterThan(40), { timeout: 60_000, interval: 1 })
    await first.stop("SIGKILL")
    await Promise.all(writers)

    const second = await startDaemon(home)
    const kept = await listVms(second)
    expect(kept.map(({ name }) => name)).toEqual(expect.arrayContaining(acknowledged))
    expect(new Set(kept.map(({ cid }) => cid)).size).toBe(kept.length)
    expect((await createVm(second, "after")).cid).toBe(Math.max(...kept.map(({ cid }) => cid)) + 1)
  })

  it("are separate in two daemons on two files", async ({ onTestFinished }) => {
    const homes = [makeHome(onTestFinished), makeHome(onTestFinished)]
    const [one, two] = await Promise.all(homes.map((home) => startDaemon(home)))
    if (one === undefined || two === undefined) throw new Error("two daemons")
    expect(one.address).not.toBe(two.address)
    expect((await createVm(one, "same-name")).cid).toBe(3)
    expect((await createVm(two, "same-name")).cid).toBe(3)
    expect((await call(one, "DELETE", "/v1/vms/same-name")).status).toBe(204)
    expect(await names(one)).toEqual([])
    expect(await names(two)).toEqual(["same-name"])
  })

  it("are shared by two daemons on one file, with unique CIDs and names", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const daemons = await Promise.all([startDaemon(home), startDaemon(home)])
    const created = await Promise.all(
      daemons.flatMap((daemon, index) =>
        Array.from({ length: 50 }, (_, count) => createVm(daemon, `vm-${index}-${count}`))
      )
    )
    expect(new Set(created.map(({ cid }) => cid)).size).toBe(100)
    for (const daemon of daemons) {
      const all = await listVms(daemon)
      expect(new Set(all.map(({ name }) => name)).size).toBe(100)
      expect(all.map(({ cid }) => cid).sort((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, i) => i + 3))
    }

    const rivals = await Promise.all(
      Array.from({ length: 10 }, (_, count) =>
        Promise.all(daemons.map((daemon) => call(daemon, "POST", "/v1/vms", { name: `rival-${count}` })))
      )
    )
    for (const answers of rivals) expect(answers.map(({ status }) => status).sort()).toEqual([201, 409])
  })
})

describe.concurrent("nexusd's shutdown", () => {
  /** How many milliseconds longer a daemon's end takes than that of one which nothing holds up, at the same time. */
  const heldUp = async (end: () => Promise<Result>, atEnd: (dispose: () => Promise<void>) => void) => {
    const other = await startDaemon(makeHome(atEnd))
    const begin = performance.now()
    const took = async (ended: Promise<Result>) => {
      expect((await ended).code).toBe(0)
      return performance.now() - begin
    }
    const [one, free] = await Promise.all([took(end()), took(other.stop())])
    return one - free
  }

  it.for(["SIGTERM", "SIGINT"] as const)("exits with 0 on %s", async (signal, { onTestFinished }) => {
    const daemon = await startDaemon(makeHome(onTestFinished))
    await createVm(daemon, "web")
    expect(await daemon.stop(signal)).toMatchObject({ code: 0, stdout: "" })
    expect(daemon.log().map((line) => JSON.parse(line).level)).toEqual(["info", "info"])
  })

  it("does not wait for an idle connection", async ({ onTestFinished }) => {
    const daemon = await startDaemon(makeHome(onTestFinished))
    const connection = await connect(daemon.port, onTestFinished)
    connection.send(`GET /v1/vms HTTP/1.1\r\nHost: ${daemon.address}\r\n\r\n`)
    expect((await connection.answer()).status).toBe(200)
    expect(await heldUp(() => daemon.stop(), onTestFinished)).toBeLessThan(4000)
    await connection.closed
  })

  it("does not wait for a connection without a request", async ({ onTestFinished }) => {
    const daemon = await startDaemon(makeHome(onTestFinished))
    const connection = await connect(daemon.port, onTestFinished)
    // The daemon has taken it once it answers on a later one.
    await call(daemon, "GET", "/v1/health")
    expect(await heldUp(() => daemon.stop(), onTestFinished)).toBeLessThan(4000)
    await connection.closed
  })

  /** Sends a request's head, and waits until the daemon has read it: it says "100 Continue" then. */
  const beginCreate = async (
    daemon: { readonly port: number; readonly address: string },
    body: string,
    onTestFinished: (dispose: () => void) => void
  ) => {
    const connection = await connect(daemon.port, onTestFinished)
    connection.send(
      [
        "POST /v1/vms HTTP/1.1",
        `Host: ${daemon.address}`,
        "Content-Type: application/json",
        `Content-Length: ${body.length}`,
        "Expect: 100-continue",
        "\r\n"
      ].join("\r\n")
    )
    expect((await connection.answer()).status).toBe(100)
    return connection
  }

  it("finishes requests in flight, and accepts no new one", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const daemon = await startDaemon(home)
    const body = JSON.stringify({ name: "in-flight" })
    const connection = await beginCreate(daemon, body, onTestFinished)
    connection.send(body.slice(0, 10))
    daemon.child.kill("SIGTERM")
    await vi.waitFor(() => expect(call(daemon, "GET", "/v1/health")).rejects.toThrow("ECONNREFUSED"), {
      timeout: 60_000
    })
    expect(daemon.child.exitCode).toBeNull()

    connection.send(body.slice(10))
    const answer = await connection.answer()
    expect(answer.status).toBe(201)
    expect(JSON.parse(answer.body)).toMatchObject({ name: "in-flight", cid: 3 })
    expect(await heldUp(() => daemon.ended, onTestFinished)).toBeLessThan(4000)

    const again = await startDaemon(home)
    expect(await names(again)).toEqual(["in-flight"])
  })

  it("waits a bounded time for a request that never ends", async ({ onTestFinished }) => {
    const daemon = await startDaemon(makeHome(onTestFinished))
    const connection = await beginCreate(daemon, JSON.stringify({ name: "never" }), onTestFinished)
    connection.send("{")
    expect(await heldUp(() => daemon.stop(), onTestFinished)).toBeLessThan(13_000)
    await connection.closed
  })
})

describe.concurrent("nexusd's log", () => {
  const fields = (line: string): Record<string, unknown> => JSON.parse(line)

  it("has one JSON object a line when stderr is a pipe", async ({ onTestFinished }) => {
    const daemon = await startDaemon(makeHome(onTestFinished))
    const { stderr, stdout } = await daemon.stop()
    expect(daemon.log()).toHaveLength(2)
    for (const line of daemon.log()) {
      const { level, message, time } = fields(line)
      expect({ level, message }).toEqual({ level: "info", message: expect.stringMatching(/\S/) })
      expect(new Date(`${time}`).toISOString()).toBe(time)
    }
    expect(fields(`${daemon.log()[0]}`)["message"]).toContain(`http://${daemon.address}`)
    expect(stderr).not.toContain("\u001b")
    expect(stdout).toBe("")
  })

  it("has no timestamp under systemd's journal", async ({ onTestFinished }) => {
    const daemon = await startDaemon(makeHome(onTestFinished), { env: { JOURNAL_STREAM: "8:12345" } })
    await daemon.stop()
    expect(daemon.log()).toHaveLength(2)
    for (const line of daemon.log()) {
      expect(Object.keys(fields(line))).toEqual(["level", "message"])
      expect(line).not.toMatch(/\d{4}-\d\d-\d\d|\d\d:\d\d:\d\d/)
    }
  })

  it.skipIf(!hasTerminal)("is text on a terminal, where Ctrl-C ends the daemon with 0", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const terminal = startOnTerminal(home, programs.nexusd, "", {
      env: { NEXUS_API_LISTEN: "127.0.0.1:0", NO_COLOR: "1" },
      stdin: "open"
    })
    await vi.waitFor(() => expect(terminal.said.stdout).toContain("listening on"), { timeout: 60_000 })
    expect(terminal.said.stdout).toMatch(/^\d\d:\d\d:\d\d INFO +nexusd .*listening on http:\/\/127\.0\.0\.1:\d+/m)
    expect(terminal.said.stdout).not.toContain("\u001b")
    terminal.child.stdin?.write("\u0003")
    expect((await terminal.ended).code).toBe(0)
  })
})

describe.concurrent("nexusd's health", () => {
  it("is degraded while the database file is missing, and ok once it is back", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const daemon = await startDaemon(home)
    await createVm(daemon, "before")
    const path = join(home.path, "state/nexus/nexus.db")
    renameSync(path, `${path}.away`)
    expect(await call(daemon, "GET", "/v1/health")).toEqual({
      status: 503,
      body: expect.objectContaining({ status: "degraded", error: expect.stringMatching(/\S/) })
    })
    const refused = await call(daemon, "POST", "/v1/vms", { name: "lost" })
    expect(refused).toEqual({ status: 503, body: expect.objectContaining({ error: expect.stringMatching(/\S/) }) })

    renameSync(`${path}.away`, path)
    expect(await call(daemon, "GET", "/v1/health")).toMatchObject({ status: 200, body: { status: "ok" } })
    await createVm(daemon, "after")
    expect(await names(daemon)).toEqual(["after", "before"])
  })
})

describe.concurrent("a defect", () => {
  it("returns 500 and an id, under which the log names the source line", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const path = join(home.path, "nexus.db")
    const daemon = await startDaemon(home, { args: ["--db", path] })
    await createVm(daemon, "web")
    // No daemon writes such a record: a path is text, and SQLite can't make JSON of a blob.
    withDatabase(path, (database) => database.exec("UPDATE vms SET socket_path = x'00ff'"))
    expect(await call(daemon, "GET", "/v1/vms/web")).toMatchObject({ status: 500, body: { _tag: "InternalError" } })
    const { body, status } = await call(daemon, "GET", "/v1/vms")
    expect(status).toBe(500)
    expect(JSON.stringify(body)).not.toMatch(/SQLITE|JSON cannot|\.ts|\.cjs/)
    const { request_id } = body as { readonly request_id: string }
    await vi.waitFor(() => expect(daemon.log().some((line) => line.includes(request_id))).toBe(true), {
      timeout: 60_000
    })
    const line = daemon.log().find((line) => line.includes(request_id)) ?? ""
    expect(line).toMatch(/at [^\n]*SqliteClient\.ts:\d+/)
    expect(line).not.toMatch(/bundle\.cjs/)
  })
})
