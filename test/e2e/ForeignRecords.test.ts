import { join } from "node:path"
import { describe, expect, it } from "vitest"
import { runCli } from "../support/Cli.js"
import { startDaemon } from "../support/Daemon.js"
import { makeHome } from "../support/Home.js"
import { call } from "../support/HttpJson.js"
import { withDatabase } from "../support/Sqlite.js"
import { createVm, listVms } from "../support/VmCalls.js"

const id = "00000000-0000-4000-8000-000000000001"

/** A record that another program wrote: `VmState` has no such state, `VmRole` no such role. */
const foreign = {
  id,
  name: "Their_VM",
  role: "gateway",
  state: "paused",
  cid: 99,
  vcpu_count: 64,
  mem_size_mib: 2_000_000,
  created_at: 1771425006,
  updated_at: 1771425007
}

describe("a record with an unknown state, written by another program into nexusd's database", () => {
  it("is served, printed and deleted, by name and by id", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const daemon = await startDaemon(home)
    const own = await createVm(daemon, "own")
    const insert = () =>
      withDatabase(join(home.path, "state/nexus/nexus.db"), (database) => {
        database.exec("PRAGMA ignore_check_constraints = ON")
        const columns = Object.keys(foreign)
        database
          .prepare(`INSERT INTO vms (${columns.join(", ")}) VALUES (${columns.map(() => "?").join(", ")})`)
          .run(...Object.values(foreign))
      })
    insert()

    expect((await call(daemon, "GET", `/v1/vms/${foreign.name}`)).body).toEqual(foreign)
    expect((await call(daemon, "GET", `/v1/vms/${id}`)).body).toEqual(foreign)
    expect(await listVms(daemon)).toContainEqual(foreign)
    const pages = [
      ...((await call(daemon, "GET", "/v1/vms?limit=1")).body as ReadonlyArray<unknown>),
      ...((await call(daemon, "GET", "/v1/vms?limit=2")).body as ReadonlyArray<unknown>)
    ]
    expect(pages).toContainEqual(foreign)

    const nexusctl = (...args: ReadonlyArray<string>) => runCli(home, args, { env: { NEXUS_DAEMON: daemon.address } })
    expect((await nexusctl("vm", "list")).stdout).toMatch(/^Their_VM +gateway +paused +64 +2000000M +99$/m)
    expect((await nexusctl("vm", "inspect", foreign.name)).stdout).toMatch(/^State: {6}paused$/m)
    expect(await nexusctl("vm", "delete", foreign.name, "--yes")).toMatchObject({ code: 0 })
    expect(await listVms(daemon)).toEqual([own])

    insert()
    expect((await call(daemon, "DELETE", `/v1/vms/${id}`)).status).toBe(204)
    expect(await listVms(daemon)).toEqual([own])
  })
})
