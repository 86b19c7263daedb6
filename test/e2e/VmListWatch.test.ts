import * as Http from "node:http"
import { describe, it } from "vitest"
import * as Yaml from "yaml"
import { failed, runCli, startCli } from "../support/Cli.js"
import { type Daemon, startDaemon } from "../support/Daemon.js"
import { freePort } from "../support/FreePort.js"
import { type AtEnd, makeHome } from "../support/Home.js"
import { call } from "../support/HttpJson.js"
import { listen } from "../support/LocalServer.js"
import { printedBy } from "../support/Process.js"
import { record } from "../support/Records.js"
import { startShell } from "../support/Shell.js"
import { createVm, listVms } from "../support/VmCalls.js"

/** A daemon that can be restarted at the same address, and watches of it. */
const makeWorld = async (atEnd: AtEnd) => {
  const home = makeHome(atEnd)
  const env = { NEXUS_API_LISTEN: `127.0.0.1:${await freePort()}` }
  const start = () => startDaemon(home, { env })
  const daemon = await start()
  const options = { env: { NEXUS_DAEMON: daemon.address } }
  return {
    home,
    daemon,
    start,
    run: (line: string) => runCli(home, line.split(" "), options),
    watch: (line = "") => startCli(home, ["vm", "list", "--watch", ...line.split(" ").filter((w) => w !== "")], options)
  }
}

const patch = (daemon: Daemon, name: string, changes: object) => call(daemon, "PATCH", `/v1/vms/${name}`, changes)
const remove = (daemon: Daemon, name: string) => call(daemon, "DELETE", `/v1/vms/${name}`)
const words = (text: string) =>
  text
    .trimEnd()
    .split("\n")
    .map((line) => line.split(/ +/).join(" "))

describe.concurrent("vm list --watch", () => {
  it("prints the table, then a line for each change, until it is interrupted", async ({ expect, onTestFinished }) => {
    const { daemon, watch } = await makeWorld(onTestFinished)
    await createVm(daemon, "web")
    const watches = { text: watch(), wide: watch("-o wide"), bare: watch("--no-headers"), name: watch("-o name") }
    for (const running of Object.values(watches)) await printedBy(running, "stdout", /web/)
    await createVm(daemon, "a-name-that-is-longer-than-its-column", { role: "service", mem_size_mib: 2048 })
    await patch(daemon, "web", { vcpu_count: 2 })
    await patch(daemon, "web", { name: "shop" })
    await remove(daemon, "shop")
    for (const running of Object.values(watches)) {
      await printedBy(running, "stdout", /shop.*shop.*\n$/s)
      running.child.kill("SIGINT")
      expect(await running.ended).toMatchObject({ code: 130, stderr: "" })
    }
    const lines = [
      "web work created 1 128M 3",
      "a-name-that-is-longer-than-its-column service created 1 2048M 4",
      "web work created 2 128M 3",
      "shop work created 2 128M 3 (was web)",
      "shop work deleted 2 128M 3"
    ]
    expect(words(watches.text.said.stdout)).toEqual(["NAME ROLE STATE VCPU MEM CID", ...lines])
    expect(words(watches.bare.said.stdout)).toEqual(lines)
    expect(watches.name.said.stdout).toBe("web\na-name-that-is-longer-than-its-column\nweb\nshop\nshop\n")
    const wide = words(watches.wide.said.stdout)
    expect(wide[0]).toBe("NAME ROLE STATE VCPU MEM CID ID AGE PID")
    expect(wide[4]).toMatch(/^shop work created 2 128M 3 [\w-]{36} \d+s - \(was web\)$/)
    // Columns are aligned with those of the widest name so far.
    const starts = watches.text.said.stdout.split("\n").map((line) => line.search(/ (?:work|service|ROLE)/))
    expect(starts.slice(0, 6)).toEqual([20, 20, 37, 37, 37, 37])
  })

  it("prints the records that match, and says when one comes, stays or goes", async ({ expect, onTestFinished }) => {
    const { daemon, watch } = await makeWorld(onTestFinished)
    for (const name of ["web-1", "web-2", "db"]) await createVm(daemon, name)
    const json = watch("-o json --role work --state created --prefix web")
    const yaml = watch("-o yaml --role work --prefix web")
    for (const running of [json, yaml]) await printedBy(running, "stdout", /web-1/)
    await patch(daemon, "db", { vcpu_count: 2 })
    await patch(daemon, "web-1", { role: "service" })
    await patch(daemon, "web-1", { vcpu_count: 4 })
    await patch(daemon, "web-1", { role: "work" })
    await patch(daemon, "web-2", { name: "cache" })
    await createVm(daemon, "web-3")
    await remove(daemon, "web-1")
    for (const running of [json, yaml]) {
      await printedBy(running, "stdout", /"?event"?: ?"?deleted/)
      running.child.kill("SIGTERM")
      await running.ended
    }
    const events = json.said.stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line))
    expect(events.map(({ event, vm }) => `${event} ${vm.name} ${vm.role} ${vm.vcpu_count}`)).toEqual([
      "listed web-2 work 1",
      "listed web-1 work 1",
      "left web-1 service 1",
      "entered web-1 work 4",
      "left cache work 1",
      "created web-3 work 1",
      "deleted web-1 work 4"
    ])
    expect(Object.keys(events[0])).toEqual(["event", "vm"])
    expect(Object.keys(events[0].vm)).toEqual(Object.keys((await listVms(daemon))[0] ?? {}))
    expect(Yaml.parseAllDocuments(yaml.said.stdout).map((document) => document.toJS())).toEqual(events)
  })

  it("prints what changed while the daemon was away, and says so on stderr", async ({ expect, onTestFinished }) => {
    const { daemon, home, start, watch } = await makeWorld(onTestFinished)
    for (const name of ["kept", "changed", "deleted"]) await createVm(daemon, name)
    const text = watch("--no-headers")
    const json = watch("-o json")
    for (const running of [text, json]) await printedBy(running, "stdout", /kept/)
    await daemon.stop()
    for (const running of [text, json]) await printedBy(running, "stderr", /lost/)
    const elsewhere = await startDaemon(home)
    await patch(elsewhere, "changed", { mem_size_mib: 256 })
    await remove(elsewhere, "deleted")
    await createVm(elsewhere, "created")
    await elsewhere.stop()
    const again = await start()
    for (const running of [text, json]) await printedBy(running, "stdout", /changed.*changed/s)
    await patch(again, "kept", { vcpu_count: 3 })
    for (const running of [text, json]) {
      await printedBy(running, "stdout", /kept.*kept.*\n$/s)
      running.child.kill("SIGINT")
      expect((await running.ended).code).toBe(130)
    }
    expect(words(text.said.stdout)).toEqual([
      "deleted work created 1 128M 5",
      "changed work created 1 128M 4",
      "kept work created 1 128M 3",
      "deleted work deleted 1 128M 5",
      "created work created 1 128M 5",
      "changed work created 1 256M 4",
      "kept work created 3 128M 3"
    ])
    const lost = `the connection to nexusd at ${daemon.address} was lost: connecting again`
    const back = `connected to nexusd at ${daemon.address} again: changes since then follow`
    expect(text.said.stderr).toBe(`Warning: ${lost}\nWarning: ${back}\n`)
    expect(json.said.stderr).toBe(`${JSON.stringify({ warning: lost })}\n${JSON.stringify({ warning: back })}\n`)
  })

  it("ends without an error once its reader has closed the pipe", async ({ expect, onTestFinished }) => {
    const { daemon, home } = await makeWorld(onTestFinished)
    await createVm(daemon, "vm-0")
    for (const format of ["text", "json", "name", "yaml"]) {
      const line = `{ "$NODE" "$NEXUSCTL" vm list --watch -o ${format}; echo "exit code $?" >&2; } | head -n 1`
      const shell = startShell(home, line, { env: { NEXUS_DAEMON: daemon.address } })
      await printedBy(shell, "stdout", /\n/)
      let isEnded = false
      const ended = shell.ended.finally(() => {
        isEnded = true
      })
      for (let vcpu_count = 1; !isEnded; vcpu_count = (vcpu_count % 32) + 1) await patch(daemon, "vm-0", { vcpu_count })
      expect(await ended).toMatchObject({ code: 0, stderr: "exit code 0\n" })
    }
  })

  it("ends with an error that does not pass", async ({ expect, onTestFinished }) => {
    const { daemon, home, run, watch } = await makeWorld(onTestFinished)
    const exclusive = "Error: --limit and --watch exclude each other\n  See: nexusctl vm list --help\n"
    expect(await run("vm list --watch --limit 3")).toEqual(failed(2, exclusive))
    const running = watch()
    await printedBy(running, "stdout", /NAME/)
    await daemon.stop()
    expect(await run("vm list --watch")).toMatchObject({
      code: 3,
      stderr: expect.stringMatching(/^Error: cannot connect to Nexus daemon at .*\n {2}The daemon does not appear/)
    })
    const path = `${home.path}/token`
    await runCli(home, ["version"])
    const secured = startShell(home, `"$NODE" "$NEXUSD" token new ${path} && exec "$NODE" "$NEXUSD"`, {
      env: { NEXUS_API_LISTEN: daemon.address, NEXUS_API_TOKEN_FILE: path }
    })
    const result = await running.ended
    secured.child.kill("SIGTERM")
    expect(result.code).toBe(1)
    expect(result.stderr).toMatch(
      /^Warning: .*\nError: cannot watch VMs\n {2}.*\(NEXUS_TOKEN, or --token-file PATH\)\n$/
    )
  })

  it("notices a daemon that hangs at the start", async ({ expect, onTestFinished }) => {
    const { daemon, run } = await makeWorld(onTestFinished)
    daemon.child.kill("SIGSTOP")
    expect(await run("vm list --watch --timeout 1")).toEqual(
      failed(
        3,
        `Error: cannot connect to Nexus daemon at ${daemon.address}\n  No byte came for 1 s; --timeout S waits longer.\n`
      )
    )
  })

  it("escapes what could act on a terminal", async ({ expect, onTestFinished }) => {
    const vm = record("evil\u001b[2J\u202e\n", { role: "ro\u0007le" })
    const server = Http.createServer(({ url }, response) => {
      if (url?.startsWith("/v1/vms")) return response.end(JSON.stringify([vm]))
      response.writeHead(200, { "content-type": "text/event-stream" })
      response.write("event: ready\nid: a-0\ndata: {}\n\n")
      const data = JSON.stringify({ ...vm, name: "again\u001b[2J" })
      return response.write(`event: updated\nid: a-1\ndata: ${data}\n\n`)
    })
    const { address } = await listen(server, onTestFinished)
    const running = startCli(makeHome(onTestFinished), ["vm", "list", "--watch", "--no-headers", "--daemon", address])
    await printedBy(running, "stdout", /again/)
    running.child.kill("SIGINT")
    expect(words((await running.ended).stdout)).toEqual([
      String.raw`evil\x1b[2J\u202e\n ro\x07le created 1 128M 3`,
      String.raw`again\x1b[2J ro\x07le created 1 128M 3 (was evil\x1b[2J\u202e\n)`
    ])
  })
})
