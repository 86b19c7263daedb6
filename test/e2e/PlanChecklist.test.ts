import { accessSync, constants, readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { printed, runCli } from "../support/Cli.js"
import { type Daemon, startDaemon } from "../support/Daemon.js"
import { makeHome } from "../support/Home.js"
import { call } from "../support/HttpJson.js"
import { start } from "../support/Process.js"
import { programs, projectFolder } from "../support/Programs.js"
import { withDatabase } from "../support/Sqlite.js"
import { createVm, listVms } from "../support/VmCalls.js"

const tablesOf = (path: string) =>
  withDatabase(path, (database) =>
    database
      .prepare("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
      .all()
      .map(({ name }) => name)
  )
const versionOf = (path: string) =>
  withDatabase(path, (database) => database.prepare("SELECT value FROM schema_meta WHERE key = 'version'").all())

/** The words of each line of a table. */
const cells = (stdout: string) =>
  stdout
    .trimEnd()
    .split("\n")
    .map((line) => line.trimEnd().split(/ +/))
const head = ["NAME", "ROLE", "STATE", "VCPU", "MEM", "CID"]

describe.sequential("the plan's smoke test (task 9)", () => {
  const home = makeHome(afterAll)
  const path = join(home.path, "state/nexus/nexus.db")
  let daemon: Daemon
  const nexusctl = (line: string) => runCli(home, ["--daemon", daemon.address, ...line.split(" ")])

  beforeAll(async () => {
    daemon = await startDaemon(home)
  })

  it("creates a VM with CID 3", async () => {
    const { stdout } = await nexusctl("vm create my-vm")
    expect(stdout).toMatch(/^Created VM "my-vm" \(state: created, CID: 3\)$/m)
  })

  it("creates a VM with a role, vCPUs and memory, and the next CID", async () => {
    const { stdout } = await nexusctl("vm create portal-1 --role portal --vcpu 2 --mem 512")
    expect(stdout).toMatch(/^Created VM "portal-1" \(state: created, CID: 4\)$/m)
  })

  const myVm = ["my-vm", "work", "created", "1", "128M", "3"]

  it("lists both VMs in a table", async () => {
    const portal = ["portal-1", "portal", "created", "2", "512M", "4"]
    expect(cells((await nexusctl("vm list")).stdout)).toEqual([head, portal, myVm])
  })

  it("lists the VMs of one role", async () => {
    expect(cells((await nexusctl("vm list --role work")).stdout)).toEqual([head, myVm])
  })

  it("shows a VM", async () => {
    const { code, stdout } = await nexusctl("vm inspect my-vm")
    expect(code).toBe(0)
    expect(stdout).toMatch(/^Name: {7}my-vm$/m)
  })

  it("serves all records as JSON", async () => {
    const { body, status } = await call(daemon, "GET", "/v1/vms")
    expect({ body, status }).toMatchObject({ status: 200, body: [{ name: "portal-1" }, { name: "my-vm" }] })
  })

  it("serves one record as JSON", async () => {
    const { body, status } = await call(daemon, "GET", "/v1/vms/my-vm")
    expect({ body, status }).toMatchObject({ status: 200, body: { name: "my-vm", cid: 3 } })
  })

  it("deletes a VM with --yes", async () => {
    expect(await nexusctl("vm delete my-vm --yes")).toEqual(printed('Deleted VM "my-vm"\n'))
  })

  it("refuses to delete a VM without --yes", async () => {
    const { code, stderr } = await nexusctl("vm delete portal-1")
    expect(stderr).toMatch(/^Error: refusing to delete VM without confirmation$/m)
    expect(code).toBe(1)
    expect((await call(daemon, "GET", "/v1/vms/portal-1")).status).toBe(200)
  })

  it("does not find the deleted VM", async () => {
    expect(await nexusctl("vm inspect my-vm")).toEqual({
      code: 4,
      stdout: "",
      stderr: 'Error: VM "my-vm" not found\n'
    })
  })

  it("stops on SIGINT", async () => {
    expect(await daemon.stop("SIGINT")).toMatchObject({ code: 0 })
  })

  it("leaves a database of three tables", () => {
    expect(tablesOf(path)).toEqual(["schema_meta", "settings", "vms"])
  })

  it("leaves a database of schema version 2", () => {
    expect(versionOf(path)).toEqual([{ value: "2" }])
  })
})

describe.concurrent("the plan's verification checklist", () => {
  /** A daemon, and a nexusctl that speaks to it. */
  const both = async (atEnd: (dispose: () => Promise<void>) => void) => {
    const home = makeHome(atEnd)
    const daemon = await startDaemon(home)
    return {
      daemon,
      path: join(home.path, "state/nexus/nexus.db"),
      nexusctl: (line: string) => runCli(home, ["--daemon", daemon.address, ...line.split(" ")])
    }
  }

  // `npm run build`, which `npm test` runs before this.
  it("the build makes two programs", () => {
    for (const program of Object.values(programs)) {
      accessSync(program, constants.X_OK)
      expect(readFileSync(program, "utf8")).toMatch(/^#!\/usr\/bin\/env node\n/)
    }
  })

  it("npm test checks, builds and runs all tests", () => {
    const { scripts } = JSON.parse(readFileSync(join(projectFolder, "package.json"), "utf8"))
    expect(Object.keys(scripts)).toEqual(expect.arrayContaining(["build", "test", "check"]))
    for (const part of ["npm run check", "npm run build", "vitest run"]) expect(scripts.test).toContain(part)
  })

  it("the linter has no warnings", async ({ onTestFinished }) => {
    const biome = join(projectFolder, "node_modules/.bin/biome")
    const args = ["lint", "--error-on-warnings", "--config-path", projectFolder, join(projectFolder, "src")]
    const { code, stderr, stdout } = await start(makeHome(onTestFinished), biome, args).ended
    expect(stdout + stderr).toMatch(/^Checked [1-9]\d* files in \S+ No fixes applied\.\n$/)
    expect(code).toBe(0)
  })

  it("POST /v1/vms with a name returns 201 and the record, with a CID", async (test) => {
    const { daemon } = await both(test.onTestFinished)
    expect(await call(daemon, "POST", "/v1/vms", { name: "test" })).toMatchObject({
      status: 201,
      body: { name: "test", role: "work", state: "created", cid: 3, vcpu_count: 1, mem_size_mib: 128 }
    })
  })

  it("POST /v1/vms with a name that is taken returns 409", async ({ onTestFinished }) => {
    const { daemon } = await both(onTestFinished)
    await createVm(daemon, "dup")
    expect(await call(daemon, "POST", "/v1/vms", { name: "dup" })).toMatchObject({
      status: 409,
      body: { error: "VM name 'dup' already exists" }
    })
  })

  it("GET /v1/vms returns a JSON array of all records", async ({ onTestFinished }) => {
    const { daemon } = await both(onTestFinished)
    expect(await call(daemon, "GET", "/v1/vms")).toEqual({ status: 200, body: [] })
    const vms = [await createVm(daemon, "a"), await createVm(daemon, "b")]
    expect(await call(daemon, "GET", "/v1/vms")).toEqual({ status: 200, body: vms.reverse() })
  })

  // A role that nobody knows is a 400 here; the plan answers it with an empty list.
  it("GET /v1/vms?role=work returns the records of that role", async ({ onTestFinished }) => {
    const { daemon } = await both(onTestFinished)
    const work = await createVm(daemon, "a")
    await createVm(daemon, "b", { role: "portal" })
    expect(await call(daemon, "GET", "/v1/vms?role=work")).toEqual({ status: 200, body: [work] })
    expect(await call(daemon, "GET", "/v1/vms?role=service")).toEqual({ status: 200, body: [] })
    expect((await call(daemon, "GET", "/v1/vms?role=boss")).status).toBe(400)
  })

  it("GET /v1/vms/:name returns the record", async ({ onTestFinished }) => {
    const { daemon } = await both(onTestFinished)
    const vm = await createVm(daemon, "web")
    expect(await call(daemon, "GET", "/v1/vms/web")).toEqual({ status: 200, body: vm })
  })

  it("GET /v1/vms/:name returns 404 for an unknown name", async ({ onTestFinished }) => {
    const { daemon } = await both(onTestFinished)
    expect(await call(daemon, "GET", "/v1/vms/ghost")).toMatchObject({
      status: 404,
      body: { error: "VM 'ghost' not found" }
    })
  })

  it("DELETE /v1/vms/:name returns 204 and removes the record", async ({ onTestFinished }) => {
    const { daemon } = await both(onTestFinished)
    await createVm(daemon, "web")
    expect(await call(daemon, "DELETE", "/v1/vms/web")).toEqual({ status: 204, body: undefined })
    expect((await call(daemon, "GET", "/v1/vms/web")).status).toBe(404)
    expect(await listVms(daemon)).toEqual([])
  })

  it("DELETE /v1/vms/:name returns 404 for an unknown name", async ({ onTestFinished }) => {
    const { daemon } = await both(onTestFinished)
    expect(await call(daemon, "DELETE", "/v1/vms/ghost")).toMatchObject({
      status: 404,
      body: { error: "VM 'ghost' not found" }
    })
  })

  it("nexusctl vm create creates a VM and prints its CID", async ({ onTestFinished }) => {
    const { daemon, nexusctl } = await both(onTestFinished)
    expect(await nexusctl("vm create my-vm")).toEqual(
      printed('Created VM "my-vm" (state: created, CID: 3)\n\n  Inspect it: nexusctl vm inspect my-vm\n')
    )
    expect(await listVms(daemon)).toMatchObject([{ name: "my-vm" }])
  })

  it("nexusctl vm create --role portal --vcpu 4 --mem 1024 overrides the defaults", async ({ onTestFinished }) => {
    const { daemon, nexusctl } = await both(onTestFinished)
    expect((await nexusctl("vm create my-vm --role portal --vcpu 4 --mem 1024")).code).toBe(0)
    expect(await listVms(daemon)).toMatchObject([{ name: "my-vm", role: "portal", vcpu_count: 4, mem_size_mib: 1024 }])
  })

  it("nexusctl vm list prints a table of NAME, ROLE, STATE, VCPU, MEM and CID", async ({ onTestFinished }) => {
    const { daemon, nexusctl } = await both(onTestFinished)
    await createVm(daemon, "my-vm")
    const { stdout } = await nexusctl("vm list")
    expect(cells(stdout)).toEqual([head, ["my-vm", "work", "created", "1", "128M", "3"]])
  })

  it("nexusctl vm list --role work prints the VMs of that role", async ({ onTestFinished }) => {
    const { daemon, nexusctl } = await both(onTestFinished)
    await createVm(daemon, "a")
    await createVm(daemon, "b", { role: "portal" })
    const { stdout } = await nexusctl("vm list --role work")
    expect(cells(stdout)).toEqual([head, ["a", "work", "created", "1", "128M", "3"]])
  })

  it("nexusctl vm inspect prints every field", async ({ onTestFinished }) => {
    const { daemon, nexusctl } = await both(onTestFinished)
    const { id } = await createVm(daemon, "my-vm")
    const { stdout } = await nexusctl("vm inspect my-vm")
    expect(stdout.replace(/^(Created: +).*$/m, "$1TIME")).toBe(
      `Name:       my-vm
ID:         ${id}
Role:       work
State:      created
CID:        3
vCPUs:      1
Memory:     128 MiB
Created:    TIME
`
    )
    expect(stdout).toMatch(/^Created: {4}\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$/m)
  })

  it("nexusctl vm delete --yes deletes the VM", async ({ onTestFinished }) => {
    const { daemon, nexusctl } = await both(onTestFinished)
    await createVm(daemon, "my-vm")
    expect(await nexusctl("vm delete my-vm --yes")).toEqual(printed('Deleted VM "my-vm"\n'))
    expect(await listVms(daemon)).toEqual([])
  })

  it("nexusctl vm delete without --yes refuses and says how to delete", async ({ onTestFinished }) => {
    const { daemon, nexusctl } = await both(onTestFinished)
    await createVm(daemon, "my-vm")
    expect(await nexusctl("vm delete my-vm")).toEqual({
      code: 1,
      stdout: "",
      stderr: `Error: refusing to delete VM without confirmation
  Run with --yes to skip confirmation: nexusctl vm delete my-vm --yes
`
    })
    expect(await listVms(daemon)).toMatchObject([{ name: "my-vm" }])
  })

  it("a new database has schema version 2 and the tables schema_meta, settings and vms", async ({ onTestFinished }) => {
    const { daemon, path } = await both(onTestFinished)
    await daemon.stop()
    expect(versionOf(path)).toEqual([{ value: "2" }])
    expect(tablesOf(path)).toEqual(["schema_meta", "settings", "vms"])
    const indexes = "SELECT name FROM sqlite_master WHERE type = 'index' AND name LIKE 'idx%' ORDER BY name"
    expect(withDatabase(path, (database) => database.prepare(indexes).all())).toEqual([
      { name: "idx_vms_created_at" },
      { name: "idx_vms_role" },
      { name: "idx_vms_state" }
    ])
  })

  it("CIDs count up from 3", async ({ onTestFinished }) => {
    const { daemon } = await both(onTestFinished)
    for (const [index, name] of ["a", "b", "c"].entries()) expect((await createVm(daemon, name)).cid).toBe(3 + index)
  })

  it("a new VM has the state created", async ({ onTestFinished }) => {
    const { daemon } = await both(onTestFinished)
    for (const role of ["portal", "work", "service"]) await createVm(daemon, role, { role })
    expect((await listVms(daemon)).map(({ state }) => state)).toEqual(["created", "created", "created"])
    // A request can't set the state.
    expect((await call(daemon, "POST", "/v1/vms", { name: "x", state: "running" })).status).toBe(400)
  })

  // The plan deletes the old database; here it is kept beside the new one.
  it("a database of an older schema version is replaced at start", async (test) => {
    const home = makeHome(test.onTestFinished)
    const path = join(home.path, "state/nexus/nexus.db")
    const first = await startDaemon(home)
    await createVm(first, "old")
    await first.stop()
    withDatabase(path, (database) => database.exec("UPDATE schema_meta SET value = '1' WHERE key = 'version'"))

    const second = await startDaemon(home)
    expect(await listVms(second)).toEqual([])
    expect((await createVm(second, "new")).cid).toBe(3)
    await second.stop()
    expect(versionOf(path)).toEqual([{ value: "2" }])
    expect(tablesOf(path)).toEqual(["schema_meta", "settings", "vms"])

    const folder = join(home.path, "state/nexus")
    const backups = readdirSync(folder).filter((file) => /^nexus\.db\.v1-.+\.bak$/.test(file))
    expect(backups).toHaveLength(1)
    const names = withDatabase(join(folder, `${backups[0]}`), (database) =>
      database.prepare("SELECT name FROM vms").all()
    )
    expect(names).toEqual([{ name: "old" }])
  })
})
