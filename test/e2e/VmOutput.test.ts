import * as Http from "node:http"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import * as Yaml from "yaml"
import { failed, printed, runCli } from "../support/Cli.js"
import { type Daemon, startDaemon } from "../support/Daemon.js"
import { makeHome } from "../support/Home.js"
import { listen } from "../support/LocalServer.js"
import { programs } from "../support/Programs.js"
import { record } from "../support/Records.js"
import { startShell } from "../support/Shell.js"
import { hasTerminal } from "../support/Terminal.js"
import { createVm } from "../support/VmCalls.js"

const home = makeHome(afterAll)
const names = ["web-1", "web-2", "db"]
let daemon: Daemon
let records: ReadonlyArray<Record<string, unknown>>

beforeAll(async () => {
  daemon = await startDaemon(home)
  for (const name of names) await createVm(daemon, name)
  records = JSON.parse((await run("vm list -o json")).stdout)
})

const run = (line: string) => runCli(home, line.split(" "), { env: { NEXUS_DAEMON: daemon.address } })

// In sequence: some of them make and delete records.
describe("-o", () => {
  it("json prints what the API sent", async () => {
    const sent = await (await fetch(`${daemon.url}/v1/vms`)).text()
    for (const option of ["-o json", "-ojson", "-o=json", "--output=json"]) {
      expect(await run(`vm list ${option}`)).toEqual(printed(`${sent}\n`))
    }
  })

  it("yaml prints a list as a list, and other records as documents", async () => {
    expect(Yaml.parse((await run("vm list -o yaml")).stdout)).toEqual(records)
    const { stdout } = await run("vm inspect web-2 db -o yaml")
    const documents = Yaml.parseAllDocuments(stdout).map((document) => document.toJS())
    expect(documents).toEqual([records[1], records[0]])
    expect(await run("vm list --prefix none -o yaml")).toEqual(printed("[]\n"))
  })

  it("name prints a name on each line", async () => {
    expect(await run("vm list -o name")).toEqual(printed("db\nweb-2\nweb-1\n"))
    expect(await run("vm inspect web-1 db -o name")).toEqual(printed("web-1\ndb\n"))
    expect(await run("vm list --prefix none -o name")).toEqual(printed(""))
  })

  it("wide prints a table with ID, AGE and PID", async () => {
    const [header, ...lines] = (await run("vm list -o wide")).stdout.trimEnd().split("\n")
    expect(header).toMatch(/^NAME +ROLE +STATE +VCPU +MEM +CID +ID +AGE +PID$/)
    expect(lines.map((line) => line.split(/ +/)[6])).toEqual(records.map(({ id }) => id))
    for (const line of lines) expect(line).toMatch(/ \d+[smh] +-$/)
    expect((await run("vm inspect web-1 db -o wide")).stdout.match(/NAME/g)).toHaveLength(1)
    expect((await run("vm list -o wide --no-headers")).stdout.trimEnd().split("\n")).toHaveLength(3)
    expect((await run("vm list --no-headers --limit 1")).stdout).toMatch(/^db +work +created +1 +128M +5\n$/)
  })

  it("json prints errors as JSON on stderr, with the same exit code", async () => {
    const ghost = await run("vm inspect ghost db -o json")
    expect(ghost).toMatchObject({ code: 4, stdout: `${JSON.stringify(records[0])}\n` })
    expect(JSON.parse(ghost.stderr)).toEqual({
      error: 'VM "ghost" not found',
      exit_code: 4,
      daemon: { _tag: "NotFound", error: "VM 'ghost' not found" }
    })
    const errors: ReadonlyArray<readonly [line: string, exitCode: number, error: string]> = [
      ["vm create db -o json", 5, "cannot create VM \"db\"\nVM name 'db' already exists"],
      ["vm stop db -ojson", 5, "cannot stop VM \"db\"\nVM 'db' is not running"],
      ["vm list -o json --role x", 2, "option --role: expected one of"],
      ["vm list -o json --state", 2, "option --state needs a value"],
      ["vm list -o json --config /none", 2, "cannot read /none"],
      ["vm list -o json --daemon 127.0.0.1:2", 3, "cannot connect to Nexus daemon at 127.0.0.1:2\n"]
    ]
    for (const [line, exitCode, error] of errors) {
      const { code, stderr, stdout } = await run(line)
      expect({ code, stdout }, line).toEqual({ code: exitCode, stdout: "" })
      expect(stderr.trimEnd().split("\n"), line).toHaveLength(1)
      expect(JSON.parse(stderr), line).toMatchObject({ exit_code: exitCode, error: expect.stringContaining(error) })
    }
    expect(await run("vm inspect ghost -o yaml")).toEqual(failed(4, 'Error: VM "ghost" not found\n'))
  })

  it("is an option of every command that shows records", async () => {
    expect(await run("vm create shown -o name")).toEqual(printed("shown\n"))
    expect(await run("vm update shown --role portal -o name")).toEqual(printed("shown\n"))
    expect(await run("vm wait shown --state created -o name --no-headers")).toEqual(printed("shown\n"))
    expect((await run("vm wait shown --state created -o wide --no-headers")).stdout).toMatch(/^shown +portal .* -\n$/)
    expect((await run("vm delete shown --yes")).code).toBe(0)
  })
})

describe.concurrent("vm list --prefix", () => {
  it("shows the VMs whose names begin so", async () => {
    expect(await run("vm list --prefix web -o name")).toEqual(printed("web-2\nweb-1\n"))
    expect(await run("vm list --prefix web --limit 1 -o name")).toEqual(printed("web-2\n"))
    expect(await run("vm list --prefix=x")).toEqual(printed("No VMs found.\n"))
    expect((await run("vm list --prefix=")).code).toBe(2)
  })

  it("works with a daemon that knows neither prefix nor limit, and with names of any kind", async ({
    onTestFinished
  }) => {
    const vms = [record("web-3"), record("db"), record("web 2"), record("web-1")]
    const server = Http.createServer((_, response) => {
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(vms))
    })
    const { address } = await listen(server, onTestFinished)
    const list = (...args: ReadonlyArray<string>) => runCli(home, ["vm", "list", ...args, "--daemon", address])
    expect(await list("--prefix", "web", "--limit", "2", "-o", "name")).toEqual(printed(`web-3\n${vms[2]?.id}\n`))
    expect(await list("--prefix", "db", "-o", "name")).toEqual(printed("db\n"))
    expect(await list("--limit", "1", "-o", "name")).toEqual(printed("web-3\n"))
  })
})

describe("tables", () => {
  it.skipIf(!hasTerminal)("are as wide as the terminal at most, and whole in a pipe", async () => {
    const long = "a".repeat(63)
    await createVm(daemon, long)
    const env = { NEXUS_DAEMON: daemon.address, TERM: "dumb" }
    const command = `stty cols 50; exec '${process.execPath}' '${programs.nexusctl}' vm list -o wide --prefix a`
    home.write("narrow.sh", command)
    const terminal = startShell(home, `script -q -e -c "sh narrow.sh" /dev/null`, { env })
    const lines = (await terminal.ended).stdout.trimEnd().split(/\r?\n/)
    expect(lines).toHaveLength(2)
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(50)
    expect(lines[1]).toMatch(/^a+… /)
    expect((await run("vm list --prefix a")).stdout).toContain(`${long} `)
    await run(`vm delete ${long} --yes`)
  })

  it("can be left: the names of a list are the arguments of a delete", async () => {
    const line = `"$NODE" "$NEXUSCTL" vm list -o name | xargs "$NODE" "$NEXUSCTL" vm delete --yes`
    const { code, stdout } = await startShell(home, line, { env: { NEXUS_DAEMON: daemon.address } }).ended
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'Deleted VM "db"\nDeleted VM "web-2"\nDeleted VM "web-1"\n' })
    expect(await run("vm list")).toEqual(printed("No VMs found.\n"))
  })
})
