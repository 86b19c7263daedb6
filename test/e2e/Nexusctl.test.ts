import { chmodSync, mkdirSync, readFileSync, rmSync, symlinkSync } from "node:fs"
import * as Http from "node:http"
import * as Net from "node:net"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { failed, printed, runCli, startCli } from "../support/Cli.js"
import { type Daemon, startDaemon } from "../support/Daemon.js"
import { type Home, makeHome } from "../support/Home.js"
import { call } from "../support/HttpJson.js"
import { listen } from "../support/LocalServer.js"
import { type Options, type Result, start } from "../support/Process.js"
import { programs } from "../support/Programs.js"
import { runElsewhere } from "../support/Runs.js"
import { startShell } from "../support/Shell.js"
import { withDatabase } from "../support/Sqlite.js"
import { hasTerminal, startOnTerminal } from "../support/Terminal.js"
import { createVm, listVms } from "../support/VmCalls.js"

const { version } = JSON.parse(readFileSync("package.json", "utf8"))

/** A command line; a list if a word contains a blank. */
type Line = string | ReadonlyArray<string>
const words = (line: Line) => (typeof line === "string" ? line.split(" ").filter((word) => word !== "") : line)

/** Runs nexusctl off any terminal, where no output may hold a colour. */
const run = async (home: Home, line: Line, options?: Options): Promise<Result> => {
  const result = await runCli(home, words(line), options)
  expect(result.stdout + result.stderr).not.toContain("\u001b")
  return result
}

/** Runs nexusctl against this daemon. */
const against =
  (home: Home, { address }: { readonly address: string }) =>
  (line: Line) =>
    run(home, line, { env: { NEXUS_DAEMON: address } })

const notRunning = `The daemon does not appear to be running.

  Start it: systemctl --user start nexus.service`

const unreachable = (address: string, reason = notRunning) =>
  failed(3, `Error: cannot connect to Nexus daemon at ${address}\n  ${reason}\n`)

/** An address where nothing listens. */
const nobody = "127.0.0.1:1"

/** The plan's own layout: `{:<20} {:<10} {:<10} {:<6} {:<8} {:<6}`. Blanks at the end of a line count for nothing. */
const tableLine = (...cells: ReadonlyArray<string | number>) =>
  cells
    .map((cell, index) => String(cell).padEnd([20, 10, 10, 6, 8, 6][index] ?? 0))
    .join(" ")
    .trimEnd()
const linesOf = (text: string) => text.split("\n").map((line) => line.trimEnd())
const tableHead = tableLine("NAME", "ROLE", "STATE", "VCPU", "MEM", "CID")

describe.concurrent("what nexusctl prints", () => {
  it("status: the daemon's address and its database", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const daemon = await startDaemon(home)
    const { body } = await call(daemon, "GET", "/v1/health")
    const health = body as { readonly database: { readonly size_bytes: number } }
    expect(await against(home, daemon)("status")).toEqual(
      printed(
        `Daemon: ok (${daemon.address})
Database: ${home.path}/state/nexus/nexus.db
  Tables: 3
  Size:   ${health.database.size_bytes} bytes
`
      )
    )
  })

  it("status: exit 1 when the daemon is not well", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const body = '{"status":"degraded","error":"the database cannot be read"}'
    const server = Http.createServer((_, response) => response.writeHead(503).end(body))
    const { code, stderr } = await against(home, await listen(server, onTestFinished))("status")
    expect(stderr).toMatch(/^Error: [^\n]+\n {2}the database cannot be read\n$/)
    expect(code).toBe(1)
  })

  it("version: both ends, exit 0 whether the daemon is reachable or not", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const daemon = await startDaemon(home)
    expect(await against(home, daemon)("version")).toEqual(
      printed(`nexusctl ${version}\nnexusd   reachable at ${daemon.address}\n`)
    )
    expect(await against(home, { address: nobody })("version")).toEqual(
      printed(`nexusctl ${version}\nnexusd   not reachable at ${nobody}\n`)
    )
  })

  it("vm create: the name, state and CID, and what to do next", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const daemon = await startDaemon(home)
    const nexusctl = against(home, daemon)
    expect(await nexusctl("vm create my-vm")).toEqual(
      printed('Created VM "my-vm" (state: created, CID: 3)\n\n  Inspect it: nexusctl vm inspect my-vm\n')
    )
    expect(await nexusctl("vm create portal-1 --role portal --vcpu 2 --mem 512")).toEqual(
      printed('Created VM "portal-1" (state: created, CID: 4)\n\n  Inspect it: nexusctl vm inspect portal-1\n')
    )
    expect(await nexusctl("vm create --mem=1048576 --vcpu=32 --role=service big")).toMatchObject({ code: 0 })
    expect(await listVms(daemon)).toMatchObject([
      { name: "big", role: "service", vcpu_count: 32, mem_size_mib: 1048576 },
      { name: "portal-1", role: "portal", vcpu_count: 2, mem_size_mib: 512 },
      { name: "my-vm", role: "work", vcpu_count: 1, mem_size_mib: 128 }
    ])
  })

  it("vm list: a table, newest first, of all VMs or those of a role or state", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const daemon = await startDaemon(home)
    const nexusctl = against(home, daemon)
    expect(await nexusctl("vm list")).toEqual(printed("No VMs found.\n"))

    await createVm(daemon, "my-vm")
    await createVm(daemon, "portal-1", { role: "portal", vcpu_count: 2, mem_size_mib: 512 })
    const work = tableLine("my-vm", "work", "created", 1, "128M", 3)
    const portal = tableLine("portal-1", "portal", "created", 2, "512M", 4)
    const listed = async (line: Line) => {
      const { code, stderr, stdout } = await nexusctl(line)
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
      return linesOf(stdout)
    }
    expect(await listed("vm list")).toEqual([tableHead, portal, work, ""])
    expect(await listed("vm list --role work")).toEqual([tableHead, work, ""])
    expect(await listed("vm list --role portal --state created")).toEqual([tableHead, portal, ""])
    expect(await listed("vm list --state running")).toEqual(["No VMs found.", ""])
    expect(await listed("vm list --role=service")).toEqual(["No VMs found.", ""])
  })

  it("vm list: columns stay in line under long names", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const daemon = await startDaemon(home)
    const longest = "n".repeat(63)
    await createVm(daemon, "short")
    await createVm(daemon, longest, { mem_size_mib: 1048576, vcpu_count: 32, role: "service" })
    const { stdout } = await against(home, daemon)("vm list")
    const lines = linesOf(stdout).slice(0, -1)
    expect(lines.map((line) => line.split(/ +/))).toEqual([
      ["NAME", "ROLE", "STATE", "VCPU", "MEM", "CID"],
      [longest, "service", "created", "32", "1048576M", "4"],
      ["short", "work", "created", "1", "128M", "3"]
    ])
    const starts = (line: string) => Array.from(line.matchAll(/\S+/g), ({ index }) => index)
    for (const line of lines) expect(starts(line)).toEqual(starts(`${lines[0]}`))
  })

  it("vm inspect: every field, by name and by id", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const daemon = await startDaemon(home)
    const vm = await createVm(daemon, "my-vm", { role: "portal", vcpu_count: 4, mem_size_mib: 1024 })
    const created = new Date(vm.created_at * 1000).toISOString().slice(0, 19).replace("T", " ")
    const expected = printed(
      `Name:       my-vm
ID:         ${vm.id}
Role:       portal
State:      created
CID:        3
vCPUs:      4
Memory:     1024 MiB
Created:    ${created} UTC
`
    )
    expect(await against(home, daemon)("vm inspect my-vm")).toEqual(expected)
    expect(await against(home, daemon)(`vm inspect ${vm.id}`)).toEqual(expected)
  })

  it("vm inspect: when the VM was started and stopped, once that is set", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const first = await startDaemon(home)
    const { id } = await createVm(first, "my-vm")
    await first.stop()
    withDatabase(join(home.path, "state/nexus/nexus.db"), (database) =>
      database
        .prepare("UPDATE vms SET state = 'stopped', created_at = ?, started_at = ?, stopped_at = ?")
        .run(1771425006, 1771425007, 1771511466)
    )
    expect(await against(home, await startDaemon(home))("vm inspect my-vm")).toEqual(
      printed(
        `Name:       my-vm
ID:         ${id}
Role:       work
State:      stopped
CID:        3
vCPUs:      1
Memory:     128 MiB
Created:    2026-02-18 14:30:06 UTC
Started:    2026-02-18 14:30:07 UTC
Stopped:    2026-02-19 14:31:06 UTC
`
      )
    )
  })

  it("vm delete: what it deleted, by name and by id", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const daemon = await startDaemon(home)
    const nexusctl = against(home, daemon)
    const [, second] = [
      await createVm(daemon, "my-vm"),
      await createVm(daemon, "other"),
      await createVm(daemon, "kept")
    ]
    expect(await nexusctl("vm delete my-vm --yes")).toEqual(printed('Deleted VM "my-vm"\n'))
    expect(await nexusctl(`vm delete -y ${second.id}`)).toEqual(printed(`Deleted VM "${second.id}"\n`))
    expect((await listVms(daemon)).map(({ name }) => name)).toEqual(["kept"])
  })

  it("JSON on one line, as the API sent it, with -o json or --output json", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const daemon = await startDaemon(home)
    const nexusctl = against(home, daemon)
    const json = async (line: Line) => {
      const { code, stderr, stdout } = await nexusctl(line)
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
      expect(stdout).toMatch(/^[^\n]+\n$/)
      return JSON.parse(stdout)
    }
    expect((await nexusctl("vm list -o json")).stdout).toBe("[]\n")
    expect(await json("status -o json")).toEqual((await call(daemon, "GET", "/v1/health")).body)
    expect(await json("version --output json")).toMatchObject({
      nexusctl: version,
      nexusd: { address: daemon.address }
    })
    const vm = await json("vm create my-vm --output json")
    expect(vm).toEqual((await call(daemon, "GET", "/v1/vms/my-vm")).body)
    expect(await json("vm inspect -o json my-vm")).toEqual(vm)
    expect(await json("vm list --output=json")).toEqual([vm])
    expect(await nexusctl("vm inspect ghost -o json")).toMatchObject({ code: 4, stdout: "" })
  })
})

describe.concurrent("how nexusctl fails", () => {
  const home = makeHome(afterAll)
  let daemon: Daemon
  beforeAll(async () => {
    daemon = await startDaemon(home)
  })

  it("exit 4: not found", async () => {
    const nexusctl = against(home, daemon)
    expect(await nexusctl("vm inspect ghost")).toEqual(failed(4, 'Error: VM "ghost" not found\n'))
    expect(await nexusctl("vm delete ghost --yes")).toEqual(failed(4, 'Error: VM "ghost" not found\n'))
    const id = crypto.randomUUID()
    expect(await nexusctl(`vm inspect ${id}`)).toEqual(failed(4, `Error: VM "${id}" not found\n`))
  })

  for (const name of ["a/b?c", "a b", "..", "100%", "%2F", "naïve", "#"]) {
    it(`exit 4: a name is percent-encoded: ${name}`, async () => {
      expect(await against(home, daemon)(["vm", "inspect", name])).toEqual(failed(4, `Error: VM "${name}" not found\n`))
    })
  }

  it("exit 5: the name is taken", async () => {
    await createVm(daemon, "dup")
    expect(await against(home, daemon)("vm create dup")).toEqual(
      failed(5, `Error: cannot create VM "dup"\n  VM name 'dup' already exists\n`)
    )
  })

  it("exit 5: the VM to delete is running", async () => {
    await createVm(daemon, "busy")
    withDatabase(join(home.path, "state/nexus/nexus.db"), (database) => database.exec(runElsewhere("busy")))
    expect(await against(home, daemon)("vm delete busy --yes")).toEqual(
      failed(5, `Error: cannot delete VM "busy"\n  cannot delete VM 'busy': VM is running, stop it first\n`)
    )
  })

  it("exit 1: delete without --yes, and the VM stays", async () => {
    await createVm(daemon, "stays")
    // There is no prompt, so stdin is ignored.
    const options: Options = { env: { NEXUS_DAEMON: daemon.address }, stdin: { text: "yes\n" } }
    expect(await run(home, "vm delete stays", options)).toEqual(
      failed(
        1,
        `Error: refusing to delete VM without confirmation
  Run with --yes to skip confirmation: nexusctl vm delete stays --yes
`
      )
    )
    expect((await call(daemon, "GET", "/v1/vms/stays")).status).toBe(200)
  })

  it("exit 3: nothing listens at the address", async () => {
    for (const line of ["status", "vm list", "vm create x", "vm inspect x", "vm delete x --yes"]) {
      expect(await against(home, { address: nobody })(line)).toEqual(unreachable(nobody))
    }
  })

  it("exit 3: the daemon sends no byte for 5 s", async ({ onTestFinished }) => {
    const { address } = await listen(Net.createServer(), onTestFinished)
    const [list, seen] = await Promise.all([
      against(home, { address })("vm list"),
      against(home, { address })("version")
    ])
    expect(list).toEqual(unreachable(address, "No byte came for 5 s; --timeout S waits longer."))
    expect(seen).toEqual(printed(`nexusctl ${version}\nnexusd   not reachable at ${address}\n`))
  })

  it("exit 3: the daemon sends no byte for --timeout, before its answer or in its midst", async ({
    onTestFinished
  }) => {
    const silent = Net.createServer((socket) => void socket.resume())
    const stalled = Http.createServer(
      ({ method }, response) => void response.writeHead(method === "POST" ? 201 : 200).write("[")
    )
    for (const server of [silent, stalled]) {
      const { address } = await listen(server, onTestFinished)
      for (const line of ["vm list --timeout 1", "--timeout=1 vm list", "vm --timeout 1 create x"]) {
        expect(await against(home, { address })(line)).toEqual(
          unreachable(address, "No byte came for 1 s; --timeout S waits longer.")
        )
      }
    }
  })

  it("waits for an answer that keeps arriving, however long it takes", async ({ onTestFinished }) => {
    let sent = 0
    const server = Http.createServer(async (_, response) => {
      response.writeHead(200, { "content-type": "application/json" }).write("[")
      for (; sent < 30; sent++) {
        await sleep(100)
        response.write(" ")
      }
      response.end("]")
    })
    const { address } = await listen(server, onTestFinished)
    // Three times the limit, a tenth of it between two bytes.
    expect(await against(home, { address })("vm list --timeout 1")).toEqual(printed("No VMs found.\n"))
    expect(sent).toBe(30)
  })

  const reasons: Readonly<Record<string, readonly [reason: string, answer: (socket: Net.Socket) => void]>> = {
    "is closed": ["The connection was closed before an answer came.", (socket) => socket.end()],
    "is reset": ["The connection was closed before an answer came.", (socket) => socket.resetAndDestroy()],
    "speaks another protocol": [
      "What listens there does not speak HTTP, or is not nexusd.",
      (socket) => socket.end("SSH-2.0-OpenSSH_9.2\r\n")
    ],
    "sends a head of 64 KiB": [
      "The head of the answer is larger than 16 KiB: what listens there is not nexusd.",
      (socket) => socket.end(`HTTP/1.1 200 OK\r\nx-long: ${"x".repeat(65_536)}\r\n\r\n`)
    ]
  }
  for (const [title, [reason, answer]] of Object.entries(reasons)) {
    it(`exit 3, with the reason: the connection ${title}`, async ({ onTestFinished }) => {
      const server = Net.createServer((socket) => void socket.once("data", () => answer(socket)))
      const { address } = await listen(server, onTestFinished)
      expect(await against(home, { address })("vm list")).toEqual(unreachable(address, reason))
    })
  }

  it("exit 3, with the reason: the host is unknown", async () => {
    // RFC 6761: no name under .invalid exists.
    const { code, stderr } = await against(home, { address: "nexus.invalid:9600" })("vm list")
    expect(stderr).toMatch(
      /^Error: cannot connect to Nexus daemon at nexus\.invalid:9600\n {2}(Unknown host|Host) "nexus\.invalid"[^\n]+\n$/
    )
    expect(code).toBe(3)
  })

  it("exit 3: no such socket", async () => {
    const address = `unix:${home.path}/none.sock`
    expect(await against(home, { address })("vm list")).toEqual(unreachable(address))
  })

  it("exit 130: interrupted while it waits", async ({ onTestFinished }) => {
    const server = Net.createServer()
    const asked = new Promise((resolve) => server.once("connection", resolve))
    const { address } = await listen(server, onTestFinished)
    const running = startCli(home, ["vm", "list", "--daemon", address])
    await asked
    running.child.kill("SIGINT")
    const { code, stderr, stdout } = await running.ended
    expect({ code, stdout }).toEqual({ code: 130, stdout: "" })
    expect(stderr).not.toMatch(/Error| at /)
  })

  const answers = {
    "a web page": { status: 200, type: "text/html", body: "<!doctype html><p>It works!" },
    "JSON of another kind": { status: 200, type: "application/json", body: '{"it":"works"}' },
    "broken JSON": { status: 200, type: "application/json", body: '{"name":' },
    nothing: { status: 200, type: "text/plain", body: "" },
    "status 418": { status: 418, type: "text/plain", body: "I'm a teapot" },
    "a page that is not there": { status: 404, type: "text/plain", body: "" },
    "status 500 with a stack": { status: 500, type: "text/plain", body: "Error: oops\n    at foo (bar.js:1:2)" }
  } as const
  for (const [title, { body, status, type }] of Object.entries(answers)) {
    it(`exit 1: what answers sends ${title}`, async ({ onTestFinished }) => {
      const server = Http.createServer((_, response) => response.writeHead(status, { "content-type": type }).end(body))
      const nexusctl = against(home, await listen(server, onTestFinished))
      for (const [line, doing] of [
        ["vm list", "list VMs"],
        ["vm create x", 'create VM "x"'],
        ["vm inspect x", 'inspect VM "x"'],
        ["vm delete x -y", 'delete VM "x"']
      ] as const) {
        const result = await nexusctl(line)
        expect(result.stderr).toMatch(/^Error: [^\n]+\n( {2}[^\n]+\n)+$/)
        expect(result.stderr).toContain(`Error: cannot ${doing}`)
        expect(result.stderr).not.toMatch(/\n +at |oops|readonly|\.cjs/)
        // A whole answer with a status that nexusd never sends did not break off.
        if (status === 418) expect(result.stderr).toContain("418")
        expect(result).toMatchObject({ code: 1, stdout: "" })
      }
    })
  }

  it("exit 1: the answer breaks off", async ({ onTestFinished }) => {
    const server = Http.createServer((request, response) => {
      response.writeHead(200, { "content-type": "application/json", "content-length": 1000 })
      response.write("[{")
      setTimeout(() => request.socket.destroy(), 50)
    })
    const result = await against(home, await listen(server, onTestFinished))("vm list")
    expect(result.stderr).toMatch(/^Error: cannot list VMs\n {2}[^\n]+\n$/)
    expect(result).toMatchObject({ code: 1, stdout: "" })
  })
})

describe.concurrent("usage errors of nexusctl", () => {
  /** No request is sent: the line itself is wrong. */
  const home = makeHome(afterAll)

  const rows: ReadonlyArray<readonly [line: Line, help: string, ...says: ReadonlyArray<string>]> = [
    ["", "nexusctl", "status, version, vm"],
    ["frobnicate", "nexusctl", "frobnicate", "status, version, vm"],
    ["Status", "nexusctl", "Status", "status, version, vm"],
    ["vm", "nexusctl vm", "create, list, inspect, delete"],
    ["vm creat x", "nexusctl vm", "creat", "create, list, inspect, delete"],
    ["vm list --bogus", "nexusctl vm list", "--bogus"],
    ["vm create x --bogus=1", "nexusctl vm create", "--bogus"],
    ["--bogus status", "nexusctl( status)?", "--bogus"],
    ["vm --bogus list", "nexusctl vm( list)?", "--bogus"],
    ["-x vm list", "nexusctl( vm list)?", "-x"],
    ["status --wizard", "nexusctl status", "--wizard"],
    ["vm create", "nexusctl vm create", "NAME"],
    ["vm inspect", "nexusctl vm inspect", "NAME|ID"],
    ["vm delete --yes", "nexusctl vm delete", "NAME|ID"],
    ["vm create x extra", "nexusctl vm create", "extra"],
    ["vm list extra", "nexusctl vm list", "extra"],
    ["vm logs x extra", "nexusctl vm logs", "extra"],
    ["vm create x extra", "nexusctl vm create", "extra"],
    ["status extra", "nexusctl status", "extra"],
    ["vm create x --role boss", "nexusctl vm create", "--role", "boss", "portal, work, service"],
    ["vm create x --role Work", "nexusctl vm create", "--role", "Work", "portal, work, service"],
    ["vm list --role boss", "nexusctl vm list", "--role", "boss", "portal, work, service"],
    ["vm list --state gone", "nexusctl vm list", "--state", "gone", "created, running, stopped, crashed, failed"],
    ["vm create x --vcpu 0", "nexusctl vm create", "--vcpu", "got 0", "1 to 32"],
    ["vm create x --vcpu 33", "nexusctl vm create", "--vcpu", "33", "1 to 32"],
    ["vm create x --vcpu x", "nexusctl vm create", "--vcpu", '"x"', "1 to 32"],
    ["vm create x --vcpu 1.5", "nexusctl vm create", "--vcpu", "1.5", "1 to 32"],
    ["vm create x --vcpu -1", "nexusctl vm create", "--vcpu", "-1", "1 to 32"],
    [["vm", "create", "x", "--vcpu", ""], "nexusctl vm create", "--vcpu", '""', "1 to 32"],
    ["vm create x --mem 0", "nexusctl vm create", "--mem", "got 0", "1 to 1048576"],
    ["vm create x --mem 1048577", "nexusctl vm create", "--mem", "1048577", "1 to 1048576"],
    ["vm create x --mem 1025G", "nexusctl vm create", "--mem", "1025G", "1 to 1048576"],
    ["vm create x --mem 128MiB", "nexusctl vm create", "--mem", "128MiB", "1 to 1048576"],
    ["vm create x --mem", "nexusctl vm create", "--mem"],
    ["vm create x --vcpu 1 --vcpu 2", "nexusctl vm create", "--vcpu"],
    ["vm create Web", "nexusctl vm create", "Web", "1 to 63", "a-z"],
    ["vm create web_1", "nexusctl vm create", "web_1", "a-z"],
    ["vm create web-", "nexusctl vm create", "web-", "a-z"],
    ["vm create -- -web", "nexusctl vm create", "-web", "a-z"],
    [["vm", "create", ""], "nexusctl vm create", '""', "1 to 63"],
    [`vm create ${"n".repeat(64)}`, "nexusctl vm create", "nnn", "1 to 63"],
    ["vm create 0b1f4b0e-4f4e-4c6e-9a57-0a4f6f8f7a11", "nexusctl vm create", "0b1f4b0e-4f4e", "UUID"],
    ["status -o xml", "nexusctl status", "xml", "text", "json"],
    ["status --daemon nowhere", "nexusctl status", "nowhere", "HOST:PORT"],
    ["status --daemon 127.0.0.1:65536", "nexusctl status", "65536", "HOST:PORT"],
    ["status --daemon http://127.0.0.1:9600", "nexusctl status", "http://127.0.0.1:9600", "HOST:PORT"],
    ["vm list --limit 0", "nexusctl vm list", "--limit", "got 0", "1 to"],
    ["vm list --limit -1", "nexusctl vm list", "--limit", "-1", "1 to"],
    ["vm list --limit 1.5", "nexusctl vm list", "--limit", "1.5", "1 to"],
    ["status --timeout 0", "nexusctl status", "--timeout", "got 0", "1 to 3600"],
    ["status --timeout 3601", "nexusctl status", "--timeout", "3601", "1 to 3600"],
    ["vm --timeout 5s list", "nexusctl vm list", "--timeout", "5s", "1 to 3600"],
    ["status --daemon", "nexusctl status", "--daemon"],
    ["status --daemon 127.0.0.1:1 --daemon 127.0.0.1:2", "nexusctl status", "--daemon"]
  ]
  for (const [line, help, ...says] of rows) {
    it(`exit 2: nexusctl ${typeof line === "string" ? line : JSON.stringify(line)}`, { timeout: 10_000 }, async () => {
      const result = await run(home, line, { env: { NEXUS_DAEMON: nobody } })
      expect(result.stderr).toMatch(new RegExp(`^Error: [^\\n]+\\n {2}See: ${help} --help\\n$`))
      for (const part of says) expect(result.stderr.split("\n")[0]).toContain(part)
      expect(result.stderr.match(/Error/g)).toHaveLength(1)
      expect(result).toMatchObject({ code: 2, stdout: "" })
    })
  }

  it("exit 2: NEXUS_DAEMON is no address", async () => {
    const result = await run(home, "status", { env: { NEXUS_DAEMON: "nowhere" } })
    expect(result.stderr).toMatch(/^Error: NEXUS_DAEMON: [^\n]*HOST:PORT[^\n]*nowhere/)
    expect(result).toMatchObject({ code: 2, stdout: "" })
  })
})

describe.concurrent("where nexusctl looks for the daemon", () => {
  /** `version` names the address it tried. */
  const tried = ({ code, stderr, stdout }: Result) => ({
    code,
    stderr,
    address: /^nexusd {3}(?:not )?reachable at (.+)$/m.exec(stdout)?.[1]
  })
  const found = (address: string) => ({ code: 0, stderr: "", address })

  it("is 127.0.0.1:9600 by default", async ({ onTestFinished }) => {
    expect(tried(await run(makeHome(onTestFinished), "version"))).toEqual(found("127.0.0.1:9600"))
  })

  it("has the precedence --daemon > NEXUS_DAEMON > daemon in the settings", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    home.write("config/nexusctl/config.yaml", 'daemon: "127.0.0.1:2"\n')
    const env = { NEXUS_DAEMON: "127.0.0.1:3" }
    expect(tried(await run(home, "version"))).toEqual(found("127.0.0.1:2"))
    expect(tried(await run(home, "version", { env }))).toEqual(found("127.0.0.1:3"))
    expect(tried(await run(home, "version --daemon 127.0.0.1:4", { env }))).toEqual(found("127.0.0.1:4"))
  })

  it("is in ~/.config when XDG_CONFIG_HOME is not set", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    home.write(".config/nexusctl/config.yaml", "daemon: localhost:2\n")
    expect(tried(await run(home, "version", { env: { XDG_CONFIG_HOME: undefined } }))).toEqual(found("localhost:2"))
  })

  it("is in the file that --config names, instead of the default one", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    home.write("config/nexusctl/config.yaml", "not: looked at\n")
    home.write("other.yaml", 'daemon: "[::1]:2"\n')
    expect(tried(await run(home, "version --config other.yaml"))).toEqual(found("[::1]:2"))
  })

  it("may be a file without a setting", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    home.write("config/nexusctl/config.yaml", "# daemon: 127.0.0.1:2\n")
    expect(tried(await run(home, "version"))).toEqual(found("127.0.0.1:9600"))
  })

  for (const line of [
    "--daemon 127.0.0.1:2 --config other.yaml vm list",
    "vm --daemon 127.0.0.1:2 list --config other.yaml",
    "vm list --config other.yaml --daemon 127.0.0.1:2",
    "--daemon=127.0.0.1:2 vm --config=other.yaml list",
    "vm list --role work --daemon=127.0.0.1:2 --state created",
    "vm inspect --daemon 127.0.0.1:2 x",
    "vm create x --vcpu 2 --daemon 127.0.0.1:2 --mem 256",
    "vm delete --daemon 127.0.0.1:2 --yes x"
  ]) {
    it(`is taken from anywhere on the line: ${line}`, async ({ onTestFinished }) => {
      const home = makeHome(onTestFinished)
      home.write("other.yaml", "")
      expect(await run(home, line)).toEqual(unreachable("127.0.0.1:2"))
    })
  }

  it("can be set in a file with the name of a command", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    for (const name of ["vm", "status", "list"]) home.write(name, 'daemon: "127.0.0.1:2"\n')
    expect(tried(await run(home, "--config vm version"))).toEqual(found("127.0.0.1:2"))
    expect(tried(await run(home, "version --config status"))).toEqual(found("127.0.0.1:2"))
    expect(await run(home, "vm --config list list")).toEqual(unreachable("127.0.0.1:2"))
  })

  const unusable: ReadonlyArray<
    readonly [title: string, content: string | Uint8Array, ...says: ReadonlyArray<string>]
  > = [
    ["is not YAML", "daemon: [\n", "line 2"],
    ["is indented by a tab", "daemon:\n\t127.0.0.1:2\n", "line 2"],
    ["has an unknown key", "deamon: 127.0.0.1:2\n", "deamon"],
    ["has an unknown key without a value", "deamon:\n", "deamon"],
    ["has the key __proto__", "__proto__: { daemon: 127.0.0.1:2 }\n", "__proto__"],
    ["has a merge key", "<<: { daemon: 127.0.0.1:2 }\n", "<<"],
    ["has a key twice", "daemon: 127.0.0.1:2\ndaemon: 127.0.0.1:3\n", "daemon"],
    ["has a key without a value", "daemon:\n", "daemon"],
    ["has a bad address", "daemon: nowhere\n", "daemon", "nowhere"],
    ["has an address that is a number", "daemon: 9600\n", "daemon", "9600"],
    ["has an empty token_file", "token_file: ''\n", "token_file"],
    ["has an unknown tag", "daemon: !env 127.0.0.1:2\n", "!env"],
    ["is a set", "!!set { daemon }\n", "!!set"],
    ["is a list", "- daemon\n", "daemon"],
    ["holds two documents", "daemon: 127.0.0.1:2\n---\ndaemon: 127.0.0.1:3\n", "found several"],
    [
      "multiplies aliases",
      `a: &a [${"x,".repeat(50)}]\nb: &b [${"*a,".repeat(50)}]\nc: [${"*b,".repeat(50)}]\n`,
      "alias"
    ],
    ["is not UTF-8", new Uint8Array([0x64, 0xff, 0xfe]), "UTF-8"],
    ["is larger than 1 MiB", `#${"x".repeat(1024 * 1024)}\n`, "1048576 bytes"]
  ]

  /** The default daemon would answer, and hears of nothing: neither it nor any other is asked. */
  const expectRefused = async (home: Home, line: string, ...says: ReadonlyArray<string>) => {
    const { code, stderr, stdout } = await run(home, line)
    expect(stderr).toMatch(/^Error: [^\n]+\n$/)
    expect(stderr).not.toMatch(/readonly|<->|Error: .*Error/)
    for (const part of says) expect(stderr).toContain(part)
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" })
  }

  for (const [title, content, ...says] of unusable) {
    it(`exit 2, and nothing is sent: the file ${title}`, async ({ onTestFinished }) => {
      const home = makeHome(onTestFinished)
      const named = home.write("bad.yaml", content)
      await expectRefused(home, `version --config ${named}`, named, ...says)
      const file = home.write("config/nexusctl/config.yaml", content)
      await expectRefused(home, "vm delete x --yes", file, ...says)
    })
  }

  const places: ReadonlyArray<readonly [title: string, make: (home: Home, path: string) => unknown, reason: string]> = [
    ["a directory", (_, path) => mkdirSync(path), "found a directory"],
    ["a FIFO", (home, path) => start(home, "mkfifo", [path]).ended, "found a FIFO"],
    ["a device", (_, path) => symlinkSync("/dev/zero", path), "found a device"],
    ["a symbolic link that leads nowhere", (_, path) => symlinkSync("nowhere", path), "symbolic link"]
  ]
  for (const [title, make, reason] of places) {
    it(`exit 2, at once: the file is ${title}`, async ({ onTestFinished }) => {
      const home = makeHome(onTestFinished)
      mkdirSync(join(home.path, "config/nexusctl"), { recursive: true })
      const file = join(home.path, "config/nexusctl/config.yaml")
      await make(home, file)
      await expectRefused(home, "vm list", file, reason)
      await expectRefused(home, `vm list --config ${file}`, file, reason)
      rmSync(file, { recursive: true })
      await make(home, join(home.path, "token"))
      await expectRefused(home, "vm list --token-file token", "token", reason)
      home.write("config/nexusctl/config.yaml", "token_file: ~/token\n")
      await expectRefused(home, "vm list", join(home.path, "token"), reason)
    })
  }

  it("exit 2: the folder of the default file is a symbolic link that leads nowhere", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    mkdirSync(join(home.path, "config"))
    symlinkSync("../dotfiles", join(home.path, "config/nexusctl"))
    await expectRefused(home, "vm list", "config/nexusctl/config.yaml", "symbolic link")
  })

  it("exit 2: the file that --config names is missing", async ({ onTestFinished }) => {
    await expectRefused(makeHome(onTestFinished), "vm list --config missing.yaml", "missing.yaml", "no such file")
  })

  it.skipIf(process.getuid?.() === 0)("exit 2: the file may not be read", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const file = home.write("config/nexusctl/config.yaml", "daemon: 127.0.0.1:2\n")
    chmodSync(file, 0)
    await expectRefused(home, "vm list", file, "permission denied")
  })

  it("expands ~/ in options", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    home.write("other.yaml", 'daemon: "127.0.0.1:2"\n')
    expect(tried(await run(home, "version --config=~/other.yaml"))).toEqual(found("127.0.0.1:2"))
  })
})

describe.concurrent("the token that nexusctl sends", () => {
  for (const [title, token] of [
    ["a line feed", "secret-token\nsecret"],
    ["a blank", "secret token"],
    ["a letter beyond ASCII", "secret-tokén"]
  ] as const) {
    it(`exit 2, without showing it: NEXUS_TOKEN holds ${title}`, async ({ onTestFinished }) => {
      const result = await run(makeHome(onTestFinished), "vm list", { env: { NEXUS_TOKEN: token } })
      expect(result.stderr).toMatch(/^Error: NEXUS_TOKEN: expected [^\n]+\n$/)
      expect(result.stderr).not.toContain("secret")
      expect(result).toMatchObject({ code: 2, stdout: "" })
    })
  }

  it("exit 2, and nothing is sent: the token file is larger than 4 KiB", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const file = home.write("token", "t".repeat(4097))
    chmodSync(file, 0o600)
    for (const line of [`vm list --token-file ${file}`, `--token-file=${file} vm delete x --yes`]) {
      expect(await run(home, line)).toEqual(
        failed(2, `Error: cannot read the token file ${file}: larger than 4096 bytes\n`)
      )
    }
  })

  it("exit 1: a missing and a wrong token have different messages", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const { code, stdout } = await start(home, process.execPath, [programs.nexusd, "token", "new", "token"]).ended
    expect({ code, stdout }).toMatchObject({ code: 0, stdout: expect.stringContaining(join(home.path, "token")) })
    const daemon = await startDaemon(home, { env: { NEXUS_API_TOKEN_FILE: "~/token" } })
    const listed = (token: string) =>
      run(home, "vm list", { env: { NEXUS_DAEMON: daemon.address, NEXUS_TOKEN: token } })
    const how = "(NEXUS_TOKEN, or --token-file PATH)"
    expect(await listed("")).toEqual(
      failed(
        1,
        `Error: cannot list VMs\n  this daemon asks for its token: send it as Authorization: Bearer TOKEN ${how}\n`
      )
    )
    expect(await listed("0123456789abcdef")).toEqual(
      failed(1, `Error: cannot list VMs\n  the Authorization header does not hold this daemon's token ${how}\n`)
    )
    expect(await run(home, `vm list --daemon ${daemon.address} --token-file=~/token`)).toEqual(
      printed("No VMs found.\n")
    )
  })

  it("nexusd token new leaves a file that exists as it is, and says so", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const file = home.write("token", "mine\n")
    const { code, stderr } = await start(home, process.execPath, [programs.nexusd, "token", "new", file]).ended
    expect(stderr).toBe(`Error: ${file} exists already and was not changed: name another file, or remove it first\n`)
    expect(code).toBe(1)
    expect(readFileSync(file, "utf8")).toBe("mine\n")
  })
})

describe.concurrent("vm list --limit", () => {
  it("shows the newest records, page by page", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const daemon = await startDaemon(home)
    withDatabase(join(home.path, "state/nexus/nexus.db"), (database) =>
      database.exec(`
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)
        INSERT INTO vms (id, name, role, state, cid, vcpu_count, mem_size_mib, created_at, updated_at)
        SELECT printf('00000000-0000-4000-8000-%012d', i), 'vm-' || i, 'work', 'created', i + 2, 1, 128, i, i FROM n
      `)
    )
    const names = async (line: string) => {
      const { stderr, stdout } = await against(home, daemon)(line)
      expect(stderr).toBe("")
      return (JSON.parse(stdout) as ReadonlyArray<{ readonly name: string }>).map(({ name }) => name)
    }
    const newest = (count: number) => Array.from({ length: count }, (_, index) => `vm-${2500 - index}`)
    for (const [limit, count] of [
      [1, 1],
      [1000, 1000],
      [2001, 2001],
      [9000, 2500]
    ] as const) {
      expect(await names(`vm list -o json --limit ${limit}`)).toEqual(newest(count))
    }
    expect(await names("vm list -o json --limit 3 --role portal")).toEqual([])
  })

  it("exit 1: the daemon's next page can't be asked for", async ({ onTestFinished }) => {
    const server = Http.createServer((_, response) =>
      response.writeHead(200, { link: '</v1/vms?cursor=abc>; rel="next"' }).end(
        JSON.stringify([
          {
            id: "i",
            name: "n",
            role: "work",
            state: "created",
            cid: 3,
            vcpu_count: 1,
            mem_size_mib: 128,
            created_at: 1,
            updated_at: 1
          }
        ])
      )
    )
    const result = await against(makeHome(onTestFinished), await listen(server, onTestFinished))("vm list --limit 2")
    expect(result.stderr).toMatch(/^Error: cannot list VMs\n {2}[^\n]+\n$/)
    expect(result.code).toBe(1)
  })
})

describe.concurrent("nexusctl's help", () => {
  const home = makeHome(afterAll)

  const globals = ["--config PATH", "--daemon HOST:PORT", "127.0.0.1:9600", /--timeout S +.*1 to 3600\b.*default: 5\b/]
  const roles = "--role portal | work | service"
  const pages: ReadonlyArray<readonly [line: string, usage: string, ...says: ReadonlyArray<string | RegExp>]> = [
    ["", "<COMMAND>", "status", "version", "vm create", "vm list", "vm inspect", "vm delete"],
    ["status", "status", "--output text | json"],
    ["version", "version", "--output text | json"],
    ["vm", "vm <COMMAND>", /^ +create +\S/m, /^ +list +\S/m, /^ +inspect +\S/m, /^ +delete +\S/m],
    [
      "vm create",
      "vm create",
      "<NAME>",
      roles,
      /--role .*default: work\b/,
      /--vcpu N +.*1 to 32\b.*default: 1\b/,
      /--mem MIB +.*1 to 1048576\b.*default: 128\b/,
      "--output text | wide | json | yaml | name",
      /NAME> +.*1 to 63 characters/
    ],
    [
      "vm list",
      "vm list",
      roles,
      "--limit N",
      "--state created | running | stopped | crashed | failed",
      "--output text | wide | json | yaml | name"
    ],
    ["vm inspect", "vm inspect", "<NAME|ID>", "--output text | wide | json | yaml | name"],
    ["vm delete", "vm delete", "<NAME|ID>", "-y, --yes"]
  ]
  for (const [line, usage, ...says] of pages) {
    it(`shows the whole command line and every option: nexusctl ${line}`, async () => {
      const [long, short] = await Promise.all([run(home, `${line} --help`), run(home, `${line} -h`)])
      expect(long).toMatchObject({ code: 0, stderr: "" })
      expect(short).toEqual(long)
      const usageLine = long.stdout.split("\n").find((text) => /^ *nexusctl \[/.test(text))
      expect(usageLine).toMatch(/^ *nexusctl (\[[^\]]+\] )+/)
      expect(usageLine).toContain(` ${usage}`)
      for (const part of [...globals, ...says]) expect(long.stdout).toMatch(part)
    })
  }

  it("has precedence over the rest of the line", async () => {
    const help = await run(home, "vm create --help")
    expect(await run(home, "vm create Bad_Name --vcpu 99 --help")).toEqual(help)
  })

  it("has the version under --version", async () => {
    expect(await run(home, "--version")).toEqual(printed(`nexusctl ${version}\n`))
  })

  for (const shell of ["bash", "zsh", "fish"]) {
    it(`has completions for ${shell}`, async () => {
      const { code, stderr, stdout } = await run(home, `--completions ${shell}`)
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
      for (const word of ["nexusctl", "inspect", "vcpu"]) expect(stdout).toContain(word)
    })
  }
})

describe.concurrent("nexusctl's streams", () => {
  it("can be closed by the reader at any time", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const daemon = await startDaemon(home)
    await Promise.all(Array.from({ length: 20 }, (_, count) => createVm(daemon, `vm-${count}`)))
    for (const line of ["vm list", "vm list -o json", "vm create --help", "vm inspect ghost"]) {
      const command = `"$NODE" "$NEXUSCTL" ${line} --daemon ${daemon.address} | head -0`
      const { stderr } = await startShell(home, command).ended
      expect(stderr).toBe(line === "vm inspect ghost" ? 'Error: VM "ghost" not found\n' : "")
    }
  })

  it.skipIf(!hasTerminal)("have no colour on a terminal with NO_COLOR", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    for (const line of ["--help", "vm create --help", "vm create Bad_Name", "status --daemon 127.0.0.1:2"]) {
      const env = { NO_COLOR: "1", TERM: "xterm-256color" }
      const { stdout } = await startOnTerminal(home, programs.nexusctl, line, { env }).ended
      expect(stdout).toMatch(/nexus/)
      expect(stdout).not.toContain("\u001b")
    }
  })
})
