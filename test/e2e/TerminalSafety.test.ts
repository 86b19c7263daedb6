import { spawnSync } from "node:child_process"
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import * as Http from "node:http"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { displayWidth } from "../../src/cli/nexusctl/output/DisplayWidth.js"
import { runCli } from "../support/Cli.js"
import { type Daemon, runDaemon, startDaemon } from "../support/Daemon.js"
import { type AtEnd, type Home, makeHome } from "../support/Home.js"
import { listen } from "../support/LocalServer.js"
import { type Result, start } from "../support/Process.js"
import { programs, projectFolder } from "../support/Programs.js"
import { record } from "../support/Records.js"
import { startShell } from "../support/Shell.js"
import { hasTerminal, startOnTerminal } from "../support/Terminal.js"
import { dangerous, escaped, hostile } from "../support/TerminalTexts.js"
import { createVm } from "../support/VmCalls.js"

/** A daemon that gives every call the same answer. */
const answering = (atEnd: AtEnd, status: number, body: unknown) =>
  listen(
    Http.createServer((_, response) =>
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body))
    ),
    atEnd
  )

/** Both streams of a run, which must be safe. */
const safe = ({ code, stderr, stdout }: Result): string => {
  expect(stdout + stderr).not.toMatch(dangerous)
  return `${code}\n${stdout}${stderr}`
}

describe("terminal output", () => {
  it("is in one module: nothing else writes to the terminal", () => {
    const sources = readdirSync(join(projectFolder, "src"), { recursive: true, encoding: "utf8" })
    const writers = sources.filter(
      (path) =>
        path.endsWith(".ts") &&
        /process\.std(out|err)\.(write|end)|\bconsole\.\w+\(|Console\.(log|error)|writeSync\((descriptors|1|2)\b/.test(
          readFileSync(join(projectFolder, "src", path), "utf8")
        )
    )
    expect(writers).toEqual(["runtime/StandardStreams.ts"])
  })
})

describe.concurrent("what a daemon sends", () => {
  const home = makeHome(afterAll)

  it("is escaped in a table, whose rows it can't forge", async ({ onTestFinished }) => {
    const { address } = await answering(onTestFinished, 200, [record(hostile), record("web")])
    const { stdout, ...rest } = await runCli(home, ["vm", "list", "--daemon", address])
    safe({ stdout, ...rest })
    const lines = stdout.split("\n")
    expect(lines).toHaveLength(4)
    expect(lines[1]).toMatch(/^a\\x1b\]0;title\\x07.*\\u200b work +created +1 +128M +3$/)
    expect(lines[1]).toContain(`${escaped} `)
    expect(lines[2]?.indexOf("work")).toBe(lines[1]?.indexOf("work"))
  })

  it("is escaped in a record, in what create says, and in status", async ({ onTestFinished }) => {
    const { address } = await answering(onTestFinished, 200, record(hostile))
    expect(safe(await runCli(home, ["vm", "inspect", "web", "--daemon", address]))).toContain(
      `Name:       ${escaped}\n`
    )
    const created = await answering(onTestFinished, 201, record(hostile))
    expect(safe(await runCli(home, ["vm", "create", "web", "--daemon", created.address]))).toContain(
      `Created VM "${escaped}" (state`
    )
    const database = { path: `/x/${hostile}`, table_count: 3, size_bytes: 1 }
    const health = await answering(onTestFinished, 200, { status: "ok", version: hostile, database })
    expect(safe(await runCli(home, ["status", "--daemon", health.address]))).toContain(`Database: /x/${escaped}\n`)
  })

  it("is escaped in what is shown of a VM that runs", async ({ onTestFinished }) => {
    const running = record("web", {
      state: "running",
      vmm: hostile,
      host: hostile,
      uds_path: `/u/${hostile}`,
      console_log_path: `/c/${hostile}`,
      config_json: JSON.stringify({ drives: [{ path_on_host: `/d/${hostile}` }] })
    })
    const { address } = await answering(onTestFinished, 200, running)
    const shown = safe(await runCli(home, ["vm", "inspect", "web", "--daemon", address]))
    for (const line of [
      `VMM:        ${escaped}`,
      `Host:       ${escaped}`,
      `Log:        /c/${escaped}`,
      `Vsock:      /u/${escaped}`,
      `Drives:     /d/${escaped}`
    ]) {
      expect(shown).toContain(`${line}\n`)
    }
    const waited = await answering(onTestFinished, 200, record("web", { state: hostile }))
    expect(safe(await runCli(home, ["vm", "wait", "web", "--state", "failed", "--daemon", waited.address]))).toBe(
      `0\nVM "web" is ${escaped}\n`
    )
    const failing = await answering(onTestFinished, 500, { error: hostile, _tag: "StartFailed" })
    expect(safe(await runCli(home, ["vm", "start", "web", "--daemon", failing.address]))).toBe(
      `1\nError: cannot start VM "web"\n  ${escaped}\n`
    )
  })

  it("is escaped in errors", async ({ onTestFinished }) => {
    for (const [status, _tag] of [
      [409, "Conflict"],
      [400, "BadRequest"],
      [500, "InternalError"],
      [503, "StoreUnavailable"]
    ] as const) {
      const { address } = await answering(onTestFinished, status, { _tag, error: hostile, issues: [] })
      const text = safe(await runCli(home, ["vm", "create", "web", "--daemon", address]))
      expect(text).toMatch(/^\d\nError: cannot create VM "web"\n {2}[^\n]+\n$/)
    }
  })

  it("is the same value in JSON, without a byte that a terminal acts on", async ({ onTestFinished }) => {
    const vm = record(hostile)
    const { address } = await answering(onTestFinished, 200, [vm])
    const result = await runCli(home, ["vm", "list", "-o", "json", "--daemon", address])
    safe(result)
    expect(JSON.parse(result.stdout)).toEqual([vm])
  })
})

describe.concurrent("what the user's own machine holds", () => {
  const home = makeHome(afterAll)
  const bad = "x\x1b[2J\u202ey\x9b"
  const shown = "x\\x1b[2J\\u202ey\\x9b"

  it("is escaped where nexusctl names it", async () => {
    expect(safe(await runCli(home, ["vm", "inspect", bad, "--daemon", "127.0.0.1:1"]))).toMatch(/^3\n/)
    expect(safe(await runCli(home, ["vm", "delete", bad]))).toContain(`nexusctl vm delete ${shown} --yes`)
    expect(safe(await runCli(home, [bad]))).toContain(`'${shown}'`)
    expect(safe(await runCli(home, [`--${bad}`]))).toMatch(/^2\n/)
    expect(safe(await runCli(home, ["vm", "list", "--role", bad]))).toMatch(/^2\n/)
    expect(safe(await runCli(home, ["status"], { env: { NEXUS_DAEMON: bad } }))).toMatch(/^2\n/)
    home.write("bad.yaml", `"${bad}": 1\n`)
    safe(await runCli(home, ["version", "--config", "bad.yaml"]))
    expect(safe(await runCli(home, ["--help"], { env: { XDG_CONFIG_HOME: `/${bad}\nforged` } }))).toContain(shown)
  })

  it("is escaped where nexusd names it", async () => {
    const folder = join(home.path, bad)
    mkdirSync(folder)
    writeFileSync(join(folder, "not-a-database"), "x".repeat(200))
    const run = (...args: ReadonlyArray<string>) => runDaemon(home, { args })
    expect(safe(await run("--db", join(folder, "not-a-database")))).toMatch(/^1\nError: [^\n]+\n$/)
    expect(safe(await run("--config", join(folder, "missing.yaml")))).toContain(shown)
    expect(safe(await run("check", "--db", join(folder, "not-a-database")))).toContain(shown)
    expect(safe(await run("backup", join(folder, "copy"), "--db", join(folder, "missing")))).toContain(shown)
    expect(safe(await run("token", "new", join(folder, "token")))).toContain(`Made ${home.path}/${shown}/token\n`)
    const migrate = ["migrate", "--from", join(folder, "missing"), "--to", join(folder, "new.db")]
    expect(safe(await run(...migrate))).toMatch(/^1\nError: [^\n]+\n/)
  })

  it("is escaped in nexusd's log", async ({ onTestFinished }) => {
    const own = makeHome(onTestFinished)
    const daemon = await startDaemon(own, { args: ["--db", join(own.path, bad, "nexus.db")] })
    await daemon.stop()
    expect(daemon.said.stderr).not.toMatch(dangerous)
    expect(JSON.parse(`${daemon.log()[0]}`).message).toContain(`/${bad}/nexus.db`)
  })

  it.skipIf(!hasTerminal)("is escaped in nexusd's log on a terminal", async ({ onTestFinished }) => {
    const own = makeHome(onTestFinished)
    const running = startOnTerminal(own, programs.nexusd, '--db "$DATABASE"', {
      env: { DATABASE: join(own.path, bad, "nexus.db"), NEXUS_API_LISTEN: "127.0.0.1:0", NO_COLOR: "1" },
      stdin: "open"
    })
    await new Promise<void>((resolve) =>
      running.child.stdout?.on("data", () => {
        if (running.said.stdout.includes("listening on")) resolve()
      })
    )
    running.child.stdin?.end("\x03")
    const { stdout } = await running.ended
    expect(stdout.replaceAll("\r\n", "\n").replace("^C", "")).not.toMatch(dangerous)
    expect(stdout).toContain(`/${shown}/nexus.db`)
  })
})

describe("wide characters", () => {
  it("leave the columns of a table in line", async ({ onTestFinished }) => {
    const names = ["web", "日本語", "e\u0301te\u0301", "🦊-fox", `${"語".repeat(20)}`, "\u200bhidden"]
    const { address } = await answering(
      onTestFinished,
      200,
      names.map((name) => record(name))
    )
    const { stdout } = await runCli(makeHome(onTestFinished), ["vm", "list", "--daemon", address])
    const lines = stdout.trimEnd().split("\n")
    const columns = lines.map((line) => displayWidth(line.slice(0, line.search(/ (ROLE|work) /))))
    expect(new Set(columns)).toEqual(new Set([40]))
  })
})

describe.concurrent("output that can't be written", () => {
  const home = makeHome(afterAll)
  let daemon: Daemon
  beforeAll(async () => {
    daemon = await startDaemon(home)
    await createVm(daemon, "web")
  })

  const shell = (command: string, of: Home = home) =>
    startShell(of, command, { env: { NEXUS_DAEMON: daemon.address } }).ended

  for (const line of [
    '"$NEXUSCTL" vm list -o json',
    '"$NEXUSCTL" vm list',
    '"$NEXUSCTL" vm create full-$$',
    '"$NEXUSCTL" status',
    '"$NEXUSCTL" version',
    '"$NEXUSCTL" --help',
    '"$NEXUSCTL" --version',
    '"$NEXUSCTL" --completions bash',
    '"$NEXUSD" --help',
    '"$NEXUSD" --version',
    '"$NEXUSD" check',
    '"$NEXUSD" backup copy-$$.db',
    '"$NEXUSD" token new token-$$'
  ]) {
    it.skipIf(!existsSync("/dev/full"))(`is exit 1 with a message: ${line} >/dev/full`, async () => {
      const { code, stderr } = await shell(`"$NODE" ${line} >/dev/full`)
      const problem = "cannot write to stdout: no space left on device (ENOSPC)"
      const asJson = `${JSON.stringify({ error: problem, exit_code: 1 })}\n`
      expect(stderr).toBe(line.endsWith("-o json") ? asJson : `Error: ${problem}\n`)
      expect(code).toBe(1)
    })
  }

  it.skipIf(!existsSync("/proc/self/fdinfo/1"))("is exit 1 when a shell has closed stdout", async () => {
    for (const line of ['"$NEXUSCTL" vm list', '"$NEXUSCTL" --version', '"$NEXUSD" check', '"$NEXUSD" --help']) {
      // A shell replaces itself by its last command; `exit` keeps it.
      const { code, stderr } = await shell(`"$NODE" ${line} >&-; exit $?`)
      expect(stderr, line).toBe("Error: cannot write to stdout: bad file descriptor (EBADF)\n")
      expect(code, line).toBe(1)
    }
  })

  it("is no error when the output is discarded, as shells, Python and Node.js do", async () => {
    expect(await shell('"$NODE" "$NEXUSCTL" vm list >/dev/null; exit $?')).toEqual({ code: 0, stdout: "", stderr: "" })
    const options = { env: { ...home.env, NEXUS_DAEMON: daemon.address }, stdio: "ignore" } as const
    expect(spawnSync(process.execPath, [programs.nexusctl, "vm", "list"], options).status).toBe(0)
    const nested = ["-c", `'${process.execPath}' '${programs.nexusctl}' vm list; exit $?`]
    expect(spawnSync("sh", nested, options).status).toBe(0)
  })

  it("is exit 1 when stdout can't be written to at all", async () => {
    const { code, stderr } = await shell('"$NODE" "$NEXUSCTL" vm list 1</dev/null')
    expect(stderr).toBe("Error: cannot write to stdout: bad file descriptor (EBADF)\n")
    expect(code).toBe(1)
  })

  it("is no error when the reader has closed the pipe", async () => {
    for (const line of ["vm list -o json", "--help", "--completions bash"]) {
      const { code, stderr, stdout } = await shell(`{ "$NODE" "$NEXUSCTL" ${line}; echo $? >&2; } | head -0`)
      expect({ code, stderr, stdout }).toEqual({ code: 0, stderr: "0\n", stdout: "" })
    }
  })

  it("keeps the exit code when stderr can't be written", async () => {
    for (const to of ["2>/dev/full", "2>&-", "2</dev/null"]) {
      expect((await shell(`"$NODE" "$NEXUSCTL" vm inspect ghost ${to}`)).code, to).toBe(4)
      expect((await shell(`"$NODE" "$NEXUSCTL" vm lst ${to}`)).code, to).toBe(2)
      expect(await shell(`"$NODE" "$NEXUSCTL" version ${to}`), to).toMatchObject({ code: 0 })
      expect((await shell(`"$NODE" "$NEXUSD" --bogus ${to}`)).code, to).toBe(2)
    }
  })

  it.skipIf(!existsSync("/dev/full"))("does not stop nexusd: it serves without its log", async ({ onTestFinished }) => {
    const own = makeHome(onTestFinished)
    const socket = join(own.path, "nexus.sock")
    const running = startShell(own, 'exec "$NODE" "$NEXUSD" 2>/dev/full', {
      env: { NEXUS_API_LISTEN: `unix:${socket}` }
    })
    await expect
      .poll(() => runCli(own, ["status", "--daemon", `unix:${socket}`]), { timeout: 20_000 })
      .toMatchObject({ code: 0 })
    running.child.kill("SIGTERM")
    expect((await running.ended).code).toBe(0)
  })

  it("reaches a slow reader whole", async ({ onTestFinished }) => {
    const records = Array.from({ length: 5000 }, (_, index) => record(`vm-${index}`))
    const { address } = await answering(onTestFinished, 200, records)
    const command = `"$NODE" "$NEXUSCTL" vm list -o json --daemon ${address} | { read -r first <stop; cat; }`
    const own = makeHome(onTestFinished)
    // The reader takes nothing until the test lets it.
    start(own, "mkfifo", ["stop"])
    await expect.poll(() => existsSync(join(own.path, "stop"))).toBe(true)
    const reading = shell(command, own)
    writeFileSync(join(own.path, "stop"), "go\n")
    const { code, stderr, stdout } = await reading
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
    expect(JSON.parse(stdout)).toHaveLength(5000)
  })
})
