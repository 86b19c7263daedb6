import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import type { Vm } from "../../src/domain/Vm.js"
import { type Daemon, startDaemon } from "../support/Daemon.js"
import { makeHome } from "../support/Home.js"
import { call, sendRequest } from "../support/HttpJson.js"
import { hasPostgres, needsPostgres, Server } from "../support/PostgresCluster.js"
import { start } from "../support/Process.js"
import { programs } from "../support/Programs.js"
import { createVm, listVms } from "../support/VmCalls.js"
import { vmmProcesses } from "../support/VmmProcesses.js"
import { guestKernel, testVmms } from "../support/Vmms.js"

const deaf = { "boot-source": { kernel_image_path: guestKernel, boot_args: "guest=deaf" } }
const plain = { config_json: JSON.stringify(deaf) }
const withDrive = (path_on_host: string) => ({
  config_json: JSON.stringify({ ...deaf, drives: [{ drive_id: "d", path_on_host, is_root_device: false }] })
})

const act = (daemon: Daemon, name: string, action: string, body?: object) =>
  call(daemon, "POST", `/v1/vms/${name}/${action}`, body)

/** Starts every VM through every daemon at once; returns the statuses for each VM. */
const startAll = (daemons: ReadonlyArray<Daemon>, names: ReadonlyArray<string>) =>
  Promise.all(
    names.map(async (name) => {
      const answers = await Promise.all(daemons.map((daemon) => act(daemon, name, "start")))
      return answers.map(({ status }) => status).sort()
    })
  )

for (const { env, isUsable, name: vmm } of testVmms) {
  describe.skipIf(!isUsable)(`two daemons of one SQLite file, ${vmm}`, () => {
    it("start each VM once, and see what the other one does", async ({ onTestFinished }) => {
      const home = makeHome(onTestFinished)
      const daemons = [await startDaemon(home, { env }), await startDaemon(home, { env })] as const
      const names = ["a", "b", "c"]
      for (const name of names) await createVm(daemons[0], name, plain)
      expect(await startAll(daemons, names)).toEqual(names.map(() => [200, 409]))
      expect(vmmProcesses(home)).toHaveLength(3)
      // Either daemon stops it, whichever started it.
      expect(await act(daemons[0], "a", "stop", { force: true })).toMatchObject({ status: 200 })
      expect(await act(daemons[1], "b", "stop", { force: true })).toMatchObject({ status: 200 })
      for (const daemon of daemons) {
        expect((await listVms(daemon)).map(({ name, state }) => `${name} ${state}`)).toEqual([
          "c running",
          "b stopped",
          "a stopped"
        ])
      }
      expect(vmmProcesses(home)).toHaveLength(1)
    })

    it("give a drive to one writer", async ({ onTestFinished }) => {
      const home = makeHome(onTestFinished)
      const daemons = [await startDaemon(home, { env }), await startDaemon(home, { env })] as const
      const disk = join(home.path, "disk.img")
      writeFileSync(disk, Buffer.alloc(1024 * 1024))
      for (const name of ["a", "b"]) await createVm(daemons[0], name, withDrive(disk))
      const [first, second] = await Promise.all([act(daemons[0], "a", "start"), act(daemons[1], "b", "start")])
      const [winner, loser] = first.status === 200 ? ["a", second] : ["b", first]
      expect([first.status, second.status].sort()).toEqual([200, 409])
      expect(Object(loser.body).error).toBe(
        `cannot start VM '${winner === "a" ? "b" : "a"}': ${disk} is in use by VM '${winner}'`
      )
      expect(vmmProcesses(home)).toHaveLength(1)
    })

    it("a VM whose daemon was killed is taken over by the other one", async ({ onTestFinished }) => {
      const home = makeHome(onTestFinished)
      const [first, second] = [await startDaemon(home, { env }), await startDaemon(home, { env })]
      const { id } = await createVm(first, "a", plain)
      await act(first, "a", "start")
      await first.stop("SIGKILL")
      expect(await act(second, "a", "start")).toMatchObject({ status: 409 })
      for (const { pid } of vmmProcesses(home)) process.kill(pid, "SIGKILL")
      await expect
        .poll(async () => (await call(second, "GET", `/v1/vms/${id}`)).body)
        .toMatchObject({ state: "crashed" })
    })
  })
}

const usable = testVmms.find(({ isUsable }) => isUsable)

describe.skipIf(!hasPostgres || usable === undefined)(`daemons of one PostgreSQL database${needsPostgres}`, () => {
  let server: Server
  const dispose: Array<() => Promise<void>> = []
  beforeAll(async () => {
    server = await Server.create((end) => dispose.push(end))
  })
  afterAll(async () => {
    for (const end of dispose) await end()
  })

  const url = () => `postgres://postgres@127.0.0.1:${server.port}/postgres`
  const environment = (host: string) => ({ ...usable?.env, NEXUS_VM_HOST: host, NEXUS_DATABASE_URL: url() })

  it("of two hosts: each runs its own VMs, and names the host of the others", async ({ onTestFinished }) => {
    const homes = { one: makeHome(onTestFinished), two: makeHome(onTestFinished) }
    const one = await startDaemon(homes.one, { env: environment("one") })
    const two = await startDaemon(homes.two, { env: environment("two") })
    const made = await createVm(one, "a", plain)
    expect(made).not.toHaveProperty("host")
    expect((await act(one, "a", "start")).body).toMatchObject({ state: "running", host: "one" })

    const elsewhere = { status: 409, body: { _tag: "Conflict", error: expect.stringContaining("'one'") } }
    expect(await act(two, "a", "start")).toMatchObject(elsewhere)
    expect(await act(two, "a", "stop")).toMatchObject(elsewhere)
    expect(await call(two, "GET", "/v1/vms/a/logs")).toMatchObject(elsewhere)
    expect((await call(two, "GET", "/v1/vms/a")).body).toMatchObject({ state: "running", host: "one" })
    expect(await act(one, "a", "stop", { host_lost: true })).toMatchObject({ status: 409 })

    // A restart of the other host's daemon leaves the VM alone, while its own daemon is away.
    await one.stop("SIGKILL")
    await two.stop()
    const again = await startDaemon(homes.two, { env: environment("two") })
    expect((await call(again, "GET", "/v1/vms/a")).body).toMatchObject({ state: "running", host: "one" })
    expect(vmmProcesses(homes.one)).toHaveLength(1)

    const cli = (...args: ReadonlyArray<string>) =>
      start(homes.two, process.execPath, [programs.nexusctl, "--daemon", again.address, ...args]).ended
    expect(await cli("vm", "stop", "a", "--host-lost")).toMatchObject({ code: 1, stdout: "" })
    expect(await cli("vm", "stop", "a", "--host-lost", "--yes")).toMatchObject({ code: 0 })
    expect((await call(again, "GET", "/v1/vms/a")).body).toMatchObject({ state: "crashed", host: "one" })
    expect(vmmProcesses(homes.one)).toHaveLength(1)
  })

  it("of one host: start each VM once", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const env = environment("three")
    const daemons = [await startDaemon(home, { env }), await startDaemon(home, { env })] as const
    const names = ["p", "q", "r"]
    for (const name of names) await createVm(daemons[0], name, plain)
    expect(await startAll(daemons, names)).toEqual(names.map(() => [200, 409]))
    expect(vmmProcesses(home)).toHaveLength(3)
    const logs = await Promise.all(daemons.map((daemon) => sendRequest(daemon, "GET", "/v1/vms/p/logs")))
    for (const { text } of logs) expect(text).toContain("GUEST-UP")
    const vms: ReadonlyArray<Vm> = await listVms(daemons[1])
    expect(vms.filter(({ state }) => state === "running").map(({ host }) => host)).toEqual(["three", "three", "three"])
  })
})
