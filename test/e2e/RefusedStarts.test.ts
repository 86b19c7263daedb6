import { spawn } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"
import { createServer } from "node:net"
import { join } from "node:path"
import { describe, expect, it, type TestContext } from "vitest"
import { startDaemon } from "../support/Daemon.js"
import { makeHome } from "../support/Home.js"
import { call, sendRequest } from "../support/HttpJson.js"
import { withDatabase } from "../support/Sqlite.js"
import { createVm, listVms } from "../support/VmCalls.js"
import { vmmProcesses } from "../support/VmmProcesses.js"
import { guestKernel, testVmms } from "../support/Vmms.js"

/** What each VMM says. */
const words = {
  firecracker: {
    vcpus: /Firecracker refused \/machine-config: .*number of vCPUs/,
    kernel: /Firecracker refused \/actions: .*Invalid Elf magic number/,
    drive: /Firecracker refused \/drives\/data: ./
  },
  qemu: {
    vcpus: /QEMU ended with exit code 1: .*CPUs/,
    kernel: /QEMU ended with exit code 1: .*kernel/,
    drive: /QEMU ended with exit code 1: .*version/
  }
}

for (const { env, isUsable, name: vmm } of testVmms) {
  const setUp = async ({ onTestFinished }: Pick<TestContext, "onTestFinished">) => {
    const home = makeHome(onTestFinished)
    const options = { env: { ...env, NEXUS_VM_KERNEL_IMAGE: guestKernel, NEXUS_VM_BOOT_ARGS: "guest=deaf" } }
    const daemon = await startDaemon(home, options)
    /** Writes into the database, as another program does. */
    const write = (sql: string, ...values: ReadonlyArray<unknown>) =>
      withDatabase(join(home.path, "state/nexus/nexus.db"), (database) => database.prepare(sql).run(...values))
    return { home, options, daemon, write }
  }

  describe.skipIf(!isUsable)(`a start that ${vmm} refuses`, () => {
    const expectRefusal = async (context: TestContext, config: object, reason: RegExp, sql?: string) => {
      const { daemon, home, write } = await setUp(context)
      const { id } = await createVm(daemon, "web", { config_json: JSON.stringify(config) })
      if (sql !== undefined) write(sql)
      const { body, status } = await call(daemon, "POST", "/v1/vms/web/start")
      expect({ status, body }).toEqual({
        status: 500,
        body: { _tag: "StartFailed", error: expect.stringMatching(/^cannot start VM 'web': /) }
      })
      expect(Object(body).error).toMatch(reason)
      const [vm] = await listVms(daemon)
      expect(vm).toMatchObject({ id, state: "failed" })
      for (const field of ["pid", "socket_path", "uds_path", "started_at"]) expect(vm).not.toHaveProperty(field)
      expect(vmmProcesses(home)).toEqual([])
      const folder = join(home.path, "state/nexus/vms", id)
      expect(["api.sock", "vsock.sock"].filter((name) => existsSync(join(folder, name)))).toEqual([])
      // Its log is kept.
      expect(existsSync(join(folder, "vmm.log"))).toBe(true)
    }

    it("for a CPU count that was written into the database", (context) =>
      expectRefusal(context, {}, words[vmm].vcpus, `UPDATE vms SET vcpu_count = ${vmm === "qemu" ? 1000 : 33}`))

    it("for its kernel", (context) => {
      const home = makeHome(context.onTestFinished)
      const kernel_image_path = home.write("no kernel", "no kernel".repeat(1000))
      return expectRefusal(context, { "boot-source": { kernel_image_path } }, words[vmm].kernel)
    })

    it("for a drive", (context) => {
      // A regular file without an end to seek to.
      const drive = { drive_id: "data", path_on_host: "/proc/version", is_root_device: false, is_read_only: true }
      return expectRefusal(context, { drives: [drive] }, words[vmm].drive)
    })
  })

  describe.skipIf(!isUsable)(`a record of another program, under ${vmm}`, () => {
    it("with an id that is no UUID is not started, has no log, and is deleted", async (context) => {
      const { daemon, home, write } = await setUp(context)
      const outside = home.write("state/nexus/outside/console.log", "not a console\n")
      for (const [index, id] of ["../outside", "web.1", "A0000000-0000-4000-8000-000000000001"].entries()) {
        write(
          "INSERT INTO vms (id, name, role, state, cid, console_log_path) VALUES (?, 'web', 'work', 'stopped', ?, ?)",
          ...[id, 50 + index, outside]
        )
        expect(await call(daemon, "POST", "/v1/vms/web/start")).toEqual({
          status: 409,
          body: {
            _tag: "Conflict",
            error: `cannot start VM 'web': its id ${JSON.stringify(id)} is not a UUID in lower case, and names no folder`
          }
        })
        for (const query of ["tail=100", "tail=100&follow=true"]) {
          expect(await sendRequest(daemon, "GET", `/v1/vms/web/logs?${query}`)).toMatchObject({ status: 200, text: "" })
        }
        expect(await listVms(daemon)).toMatchObject([{ id, state: "stopped", console_log_path: outside }])
        expect((await call(daemon, "DELETE", "/v1/vms/web")).status).toBe(204)
      }
      expect(readFileSync(outside, "utf8")).toBe("not a console\n")
      expect(vmmProcesses(home)).toEqual([])
    })

    it("with paths and a pid from elsewhere: nothing there is opened, connected to or signalled", async (context) => {
      const { daemon, home, options, write } = await setUp(context)
      const { id } = await createVm(daemon, "web")
      await daemon.stop()
      const secret = home.write("secret", "a secret\n")
      let connections = 0
      const server = createServer(() => connections++).listen(join(home.path, "foreign.sock"))
      context.onTestFinished(() => void server.close())
      const bystander = spawn("sleep", ["600"], { argv0: id })
      context.onTestFinished(() => void bystander.kill("SIGKILL"))
      write(
        "UPDATE vms SET state = 'running', pid = ?, socket_path = ?, uds_path = ?, console_log_path = ?",
        ...[bystander.pid, join(home.path, "foreign.sock"), join(home.path, "foreign.sock"), secret]
      )

      const next = await startDaemon(home, options)
      const [vm] = await listVms(next)
      expect(vm).toMatchObject({ state: "crashed", console_log_path: secret })
      for (const field of ["pid", "socket_path", "uds_path"]) expect(vm).not.toHaveProperty(field)
      expect(await sendRequest(next, "GET", "/v1/vms/web/logs")).toMatchObject({ status: 200, text: "" })

      const started = await call(next, "POST", "/v1/vms/web/start")
      const folder = join(home.path, "state/nexus/vms", id)
      expect(started).toMatchObject({
        status: 200,
        body: { socket_path: join(folder, "api.sock"), console_log_path: join(folder, "console.log") }
      })
      expect((await sendRequest(next, "GET", "/v1/vms/web/logs")).text).not.toContain("secret")
      expect((await call(next, "POST", "/v1/vms/web/stop", { force: true })).status).toBe(200)
      expect((await call(next, "DELETE", "/v1/vms/web")).status).toBe(204)
      expect(readFileSync(secret, "utf8")).toBe("a secret\n")
      expect(connections).toBe(0)
      expect({ code: bystander.exitCode, signal: bystander.signalCode }).toEqual({ code: null, signal: null })
    })
  })
}
