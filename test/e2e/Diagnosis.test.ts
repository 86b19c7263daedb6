import { chmodSync, readFileSync } from "node:fs"
import * as Http from "node:http"
import { join } from "node:path"
import { describe, it } from "vitest"
import { runCli } from "../support/Cli.js"
import { runDaemon, startDaemon } from "../support/Daemon.js"
import { type AtEnd, type Environment, type Home, makeHome } from "../support/Home.js"
import { listen } from "../support/LocalServer.js"
import { startShell } from "../support/Shell.js"

/** Serves one answer to every request. */
const serve = async (atEnd: AtEnd, status: number, body: object, headers: Http.OutgoingHttpHeaders = {}) => {
  const server = Http.createServer((_, response) => {
    response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body))
  })
  return listen(server, atEnd)
}

const callLine = /^curl .*$/gm
const resultLine = /^# (\S+ \S+): (\d+ [\w ]+), request id ([\w-]{36}), in \d+ ms$/gm

describe.concurrent("--verbose", { timeout: 60_000 }, () => {
  const hosts = ["127.0.0.1:0", "unix:/$HOME/it's a socket"]
  for (const host of hosts) {
    it(`shows calls that a shell can repeat, and no token: ${host}`, async ({ expect, onTestFinished }) => {
      const home = makeHome(onTestFinished)
      const tokenFile = join(home.path, "token")
      await runDaemon(home, { args: ["token", "new", tokenFile] })
      const token = readFileSync(tokenFile, "utf8").trim()
      const address = host.replace("/$HOME", home.path)
      const daemon = await startDaemon(home, { env: { NEXUS_API_LISTEN: address, NEXUS_API_TOKEN_FILE: tokenFile } })
      const env: Environment = { NEXUS_DAEMON: host.startsWith("unix") ? address : daemon.address, NEXUS_TOKEN: token }
      const text = `it's "$HOME" \`id\` \\n \u202e`
      const args = ["vm", "create", "web", "--boot-args", text, "--verbose", "-o", "name"]
      const created = await runCli(home, args, { env })
      expect(created).toMatchObject({ code: 0, stdout: "web\n" })
      expect(created.stderr).not.toContain(token)
      expect(created.stderr).not.toContain("\u202e")
      const [line = ""] = created.stderr.match(callLine) ?? []
      expect(Array.from(created.stderr.matchAll(resultLine), ([, call, status]) => [call, status])).toEqual([
        ["POST /v1/vms", "201 Created"]
      ])

      const repeat = async (line: string, variables: Environment) =>
        JSON.parse((await startShell(home, line.replace("curl ", "curl -sS "), { env: variables }).ended).stdout)
      expect(await repeat(line, env)).toMatchObject({ error: "VM name 'web' already exists" })
      expect(await repeat(line, {})).toMatchObject({ _tag: "Unauthorized" })
      const again = line.replace('"name":"web"', '"name":"db"')
      expect(JSON.parse((await repeat(again, env)).config_json)["boot-source"].boot_args).toBe(text)

      const listed = await runCli(home, ["--verbose", "vm", "list", "--prefix", "w&b", "--limit", "3"], { env })
      const [list = ""] = listed.stderr.match(callLine) ?? []
      expect(await repeat(list, env)).toEqual([])
    })
  }

  it("shows that there was no answer", async ({ expect, onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const { code, stderr } = await runCli(home, ["vm", "rm", "a b", "--yes", "--verbose", "--daemon", "127.0.0.1:1"])
    expect(stderr).toMatch(
      /^curl -X DELETE http:\/\/127\.0\.0\.1:1\/v1\/vms\/a%20b\n# DELETE \/v1\/vms\/a%20b: no answer in \d+ ms\nError: /
    )
    expect(code).toBe(3)
  })
})

describe.concurrent("the id of a request that the daemon fails", { timeout: 60_000 }, () => {
  it("is in the error, for people and for programs", async ({ expect, onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const error = { _tag: "StoreUnavailable", error: "the database is locked" }
    const { address } = await serve(onTestFinished, 503, error, { "x-request-id": "id-\u009b1" })
    const run = (...args: ReadonlyArray<string>) => runCli(home, [...args, "--daemon", address])
    expect(await run("vm", "create", "web")).toEqual({
      code: 1,
      stdout: "",
      stderr: 'Error: cannot create VM "web"\n  the database is locked\n  Request id, for nexusd\'s log: id-\\x9b1\n'
    })
    const json = await run("vm", "list", "-o", "json")
    expect(JSON.parse(json.stderr)).toMatchObject({ exit_code: 1, request_id: "id-\u009b1", daemon: error })
    expect((await run("vm", "logs", "web")).stderr).toContain("Request id, for nexusd's log: id-")
  })

  it("is not in an error that is the caller's", async ({ expect, onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const { address } = await startDaemon(home)
    const { code, stderr } = await runCli(home, ["vm", "inspect", "web", "--daemon", address])
    expect({ code, stderr }).toEqual({ code: 4, stderr: 'Error: VM "web" not found\n' })
  })
})

describe.concurrent("nexusctl config", { timeout: 60_000 }, () => {
  it("shows each setting, its value and where it comes from", async ({ expect, onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const config = async (args: ReadonlyArray<string> = [], env: Environment = {}) =>
      JSON.parse((await runCli(home, ["config", "-o", "json", ...args], { env })).stdout)
    const path = join(home.path, "config/nexusctl/config.yaml")
    expect(await config()).toEqual({
      config: { value: path, from: "default, no such file" },
      context: { from: "default" },
      daemon: { value: "127.0.0.1:9600", from: "default" },
      token: { from: "default" },
      timeout: { value: 5, from: "default" }
    })
    home.write(
      "config/nexusctl/config.yaml",
      "daemon: 127.0.0.1:1\ncontexts: { lab: { daemon: 127.0.0.1:2, token_file: ~/missing } }\n"
    )
    expect(await config()).toMatchObject({
      config: { value: path, from: "default" },
      daemon: { value: "127.0.0.1:1", from: "daemon" }
    })
    expect(await config(["--context", "lab"])).toMatchObject({
      context: { value: "lab", from: "--context" },
      daemon: { value: "127.0.0.1:2", from: "contexts.lab.daemon" },
      token: { value: "~/missing", from: "contexts.lab.token_file" }
    })
    const secret = "secret-secret-secret"
    const given = ["config", "--daemon", "127.0.0.1:4", "--timeout", "9"]
    const shown = await runCli(home, given, { env: { NEXUS_DAEMON: "127.0.0.1:3", NEXUS_TOKEN: secret } })
    const columns = shown.stdout.split("\n").map((line) => line.split(/ {2,}/))
    expect(columns).toEqual([
      ["SETTING", "VALUE", "FROM"],
      ["config", path, "default"],
      ["context", "-", "default"],
      ["daemon", "127.0.0.1:4", "--daemon"],
      ["token", "(not shown)", "NEXUS_TOKEN"],
      ["timeout", "9", "--timeout"],
      [""]
    ])
    expect(shown).toMatchObject({ code: 0, stderr: "" })
  })

  it("exit 2: the settings can't be used", async ({ expect, onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const file = home.write("config/nexusctl/config.yaml", "deamon: x\n")
    const { code, stderr } = await runCli(home, ["config"])
    expect({ code, stderr }).toMatchObject({ code: 2, stderr: expect.stringContaining(`Error: ${file}: deamon`) })
  })
})

interface Check {
  readonly name: string
  readonly status: string
  readonly message: string
  readonly fix?: string
}

/** Runs doctor and returns its checks by name. */
const doctor = async (home: Home, args: ReadonlyArray<string>, env: Environment = {}) => {
  const { code, stdout } = await runCli(home, ["doctor", "-o", "json", ...args], { env })
  const { checks }: { checks: ReadonlyArray<Check> } = JSON.parse(stdout)
  return { code, checks: new Map(checks.map((check) => [check.name, check])), names: checks.map(({ name }) => name) }
}

const names = [
  "configuration",
  "daemon",
  "version",
  "database",
  "permissions",
  "nexusd settings",
  "VMM",
  "/dev/kvm",
  "kernel image"
]

describe.concurrent("nexusctl doctor", { timeout: 120_000 }, () => {
  it("checks a daemon of this host and what its VMs need", async ({ expect, onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const kernel = home.write("vmlinux", "kernel")
    const qemu = home.write("qemu", "#!/bin/sh\n")
    chmodSync(qemu, 0o755)
    const config = `vm: { vmm: qemu, qemu: ${qemu}, accel: tcg, kernel_image: ${kernel} }\n`
    const daemon = await startDaemon(home, { config })
    const args = ["--daemon", daemon.address]
    const well = await doctor(home, args)
    expect(well.names).toEqual(names)
    expect(new Set(Array.from(well.checks.values(), ({ status }) => status))).toEqual(new Set(["ok"]))
    expect(well.code).toBe(0)
    expect(well.checks.get("database")?.message).toContain(join(home.path, "state/nexus/nexus.db"))
    expect(well.checks.get("kernel image")?.message).toBe(kernel)

    const database = join(home.path, "state/nexus/nexus.db")
    chmodSync(database, 0o644)
    home.write("config/nexus/nexus.yaml", `vm: { vmm: qemu, qemu: ${join(home.path, "no-qemu")} }\n`)
    const ill = await doctor(home, args)
    expect(ill.checks.get("permissions")).toMatchObject({ status: "warning", fix: `chmod go= ${database}` })
    expect(ill.checks.get("VMM")).toMatchObject({ status: "problem", message: expect.stringContaining("no-qemu") })
    expect(ill.checks.get("kernel image")).toMatchObject({ status: "warning" })
    expect(ill.code).toBe(1)

    home.write("config/nexus/nexus.yaml", `vm: { vmm: qemu, qemu: ${qemu}, kernel_image: ${kernel}2 }\n`)
    const text = await runCli(home, ["doctor", ...args])
    expect(text).toMatchObject({ code: 1, stderr: "Error: 1 of 9 checks found a problem\n" })
    expect(text.stdout).toMatch(/^problem +kernel image +\S+vmlinux2: no such file\n +Fix: correct vm\.kernel_image /m)

    const other = await doctor(home, args, { NEXUS_DATABASE_URL: join(home.path, "other.db") })
    expect(other.checks.get("nexusd settings")).toMatchObject({ status: "warning" })
    home.write("config/nexus/nexus.yaml", "vm: { vmn: qemu }\n")
    const broken = await doctor(home, args)
    expect(broken.checks.get("nexusd settings")).toMatchObject({
      status: "problem",
      message: expect.stringContaining("vmn")
    })
    expect(broken.checks.get("VMM")).toMatchObject({ status: "not checked" })
    // All of this is seen while the daemon is down, too.
    await daemon.stop()
    const down = await doctor(home, args)
    expect(down.checks.get("daemon")).toMatchObject({ status: "problem", fix: expect.stringContaining("systemctl") })
    expect(down.checks.get("version")).toMatchObject({ status: "not checked" })
    expect(down.checks.get("nexusd settings")).toMatchObject({ status: "problem" })
    expect(down.code).toBe(1)
  })

  it("says nothing about the host of a daemon elsewhere", async ({ expect, onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const database = { path: "/srv/elsewhere/nexus.db", table_count: 3, size_bytes: 4096 }
    const body = { status: "ok", version: "9.9.9", database }
    const { address } = await serve(onTestFinished, 200, body)
    const { checks, code } = await doctor(home, ["--daemon", address])
    expect(checks.get("version")).toMatchObject({ status: "warning", message: expect.stringContaining("9.9.9") })
    expect(checks.get("database")).toMatchObject({ status: "ok" })
    for (const name of names.slice(4)) {
      expect(checks.get(name), name).toEqual({
        name,
        status: "not checked",
        message: "the daemon's database /srv/elsewhere/nexus.db is not on this host"
      })
    }
    expect(code).toBe(0)
    const remote = await doctor(home, ["--daemon", "nowhere.invalid:9600"])
    expect(remote.checks.get("daemon")).toMatchObject({ status: "problem", message: expect.stringContaining("host") })
    expect(remote.checks.get("VMM")?.message).toBe("the daemon is on another host")
  })

  it("reports settings that can't be used, and a daemon that is not well", async ({ expect, onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const { address } = await serve(onTestFinished, 503, { status: "degraded", error: "the disk is full" })
    const degraded = await doctor(home, ["--daemon", address])
    expect(degraded.checks.get("database")).toMatchObject({ status: "problem", message: "the disk is full" })
    home.write("config/nexusctl/config.yaml", "deamon: x\n")
    const { checks, code, names: found } = await doctor(home, [])
    expect(checks.get("configuration")).toMatchObject({ status: "problem", message: expect.stringContaining("deamon") })
    expect(found).toEqual(names)
    expect(Array.from(checks.values(), ({ status }) => status).slice(1)).toEqual(Array(8).fill("not checked"))
    expect(code).toBe(1)
  })
})
