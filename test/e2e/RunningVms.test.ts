import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs"
import { connect } from "node:net"
import { join } from "node:path"
import { describe, expect, it, type TestContext } from "vitest"
import type { Vm } from "../../src/domain/Vm.js"
import { listening, startDaemon } from "../support/Daemon.js"
import { makeHome } from "../support/Home.js"
import { call } from "../support/HttpJson.js"
import { start } from "../support/Process.js"
import { programs } from "../support/Programs.js"
import { startShell } from "../support/Shell.js"
import { createVm, listVms } from "../support/VmCalls.js"
import { killVmms, vmmProcesses } from "../support/VmmProcesses.js"
import { guestKernel, testVmms } from "../support/Vmms.js"

const bootArgs = (boot_args: string) => ({
  config_json: JSON.stringify({ "boot-source": { kernel_image_path: guestKernel, boot_args } })
})

/** What a process has open, each once. Some of it is closed meanwhile. */
const openFiles = (pid: number): ReadonlySet<string> =>
  new Set(
    readdirSync(`/proc/${pid}/fd`).flatMap((descriptor) => {
      try {
        return [readlinkSync(`/proc/${pid}/fd/${descriptor}`)]
      } catch {
        return []
      }
    })
  )

for (const { env, isUsable, name: vmm } of testVmms) {
  const setUp = async ({ onTestFinished }: Pick<TestContext, "onTestFinished">, more: object = {}) => {
    const home = makeHome(onTestFinished)
    onTestFinished(() => killVmms(home))
    const options = { env: { ...env, ...more } }
    const daemon = await startDaemon(home, options)
    return { home, options, daemon, folder: join(home.path, "state/nexus/vms") }
  }

  /** Asks a guest to stop while no nexusd runs. */
  const askToStop = (socketPath: string) =>
    new Promise<void>((resolve, reject) => {
      const body = JSON.stringify({ action_type: "SendCtrlAltDel" })
      const words =
        vmm === "firecracker"
          ? `PUT /actions HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length}\r\n\r\n${body}`
          : '{"execute":"qmp_capabilities"}{"execute":"system_powerdown"}'
      const socket = connect(socketPath, () => socket.write(words)).resume()
      socket.once("error", reject).once("close", () => resolve())
    })

  describe.skipIf(!isUsable)(`VMs under ${vmm}`, () => {
    it("restore and migrate refuse while a VM of the database runs, and name it", async (context) => {
      const { daemon, home, options } = await setUp(context)
      await createVm(daemon, "web", bootArgs("guest=deaf"))
      const { body } = await call(daemon, "POST", "/v1/vms/web/start")
      await daemon.stop()
      const database = join(home.path, "state/nexus/nexus.db")
      const backup = join(home.path, "backup.db")
      const run = (...args: ReadonlyArray<string>) =>
        start(home, process.execPath, [programs.nexusd, ...args], options).ended
      expect(await run("backup", backup)).toMatchObject({ code: 0 })
      const stderr = `Error: VMs of ${database} run on this host, stop them first: web (pid ${Object(body).pid})\n`
      expect(await run("restore", backup)).toMatchObject({ code: 1, stderr })
      const copy = join(home.path, "copy.db")
      expect(await run("migrate", "--from", database, "--to", copy)).toMatchObject({
        code: 1,
        stderr: expect.stringContaining(stderr)
      })
      killVmms(home)
      await expect.poll(() => vmmProcesses(home)).toEqual([])
      expect(await run("migrate", "--from", database, "--to", copy)).toMatchObject({ code: 0 })
      expect(await run("restore", backup)).toMatchObject({ code: 0 })
      // What was restored says running: its process is gone.
      const next = await startDaemon(home, options)
      expect(await listVms(next)).toMatchObject([{ name: "web", state: "crashed" }])
    })

    it("a log is followed over rotations while the guest prints, and no line is lost", async (context) => {
      const { daemon, folder } = await setUp(context, { NEXUS_VM_LOG_MAX_SIZE: "16KiB" })
      const { id } = await createVm(daemon, "web", bootArgs("guest=flood"))
      await call(daemon, "POST", "/v1/vms/web/start")
      const response = await fetch(`${daemon.url}/v1/vms/web/logs?tail=10000&follow=true`)
      const text = response.text()
      const rotations = new Set<string>()
      await expect
        .poll(
          () => {
            const rotated = join(folder, id, "console.log.1")
            if (existsSync(rotated)) rotations.add(readFileSync(rotated, "latin1").slice(0, 40))
            return rotations.size
          },
          { timeout: 60_000, interval: 20 }
        )
        .toBeGreaterThan(3)
      await call(daemon, "POST", "/v1/vms/web/stop", { force: true })
      const [up, ...lines] = (await text).split("\n")
      expect(up).toMatch(/^GUEST-UP/)
      // The last one may be cut.
      const numbers = lines.slice(0, -1).map((line) => Number(/^GUEST-LINE (\d+)$/.exec(line)?.[1]))
      expect(numbers.length).toBeGreaterThan(500)
      expect(numbers).toEqual(Array.from(numbers, (_, index) => (numbers[0] ?? Number.NaN) + index))
    })

    it("nexusd that was killed adopts those that run, and says how the others ended meanwhile", async (context) => {
      const { daemon, home, options } = await setUp(context)
      const guests = { runs: "guest=deaf", stopped: "", crashed: "guest=deaf", paused: "guest=deaf" }
      const started = new Map<string, Vm>()
      for (const [name, args] of Object.entries(guests)) {
        await createVm(daemon, name, bootArgs(args))
        const { body } = await call(daemon, "POST", `/v1/vms/${name}/start`)
        started.set(name, body as Vm)
      }
      await daemon.stop("SIGKILL")
      const { pid: crashed = 0 } = started.get("crashed") ?? {}
      const { pid: paused = 0 } = started.get("paused") ?? {}
      process.kill(crashed, "SIGKILL")
      // It accepts connections, and answers nothing.
      process.kill(paused, "SIGSTOP")
      await askToStop(started.get("stopped")?.socket_path ?? "")
      await expect.poll(() => vmmProcesses(home)).toHaveLength(2)
      const next = await startDaemon(home, options)
      const states = Object.fromEntries((await listVms(next)).map(({ name, state }) => [name, state]))
      expect(states).toEqual({ runs: "running", stopped: "stopped", crashed: "crashed", paused: "running" })
      expect((await call(next, "POST", "/v1/vms/paused/stop", { force: true })).status).toBe(200)
      process.kill(started.get("runs")?.pid ?? 0, "SIGKILL")
      const wait = await call(next, "GET", "/v1/vms/runs/wait?state=crashed&timeout_s=30")
      expect(wait).toMatchObject({ status: 200, body: { state: "crashed" } })
      expect(vmmProcesses(home)).toEqual([])
    })

    it("the VMM has no descriptor of nexusd's", async (context) => {
      const home = makeHome(context.onTestFinished)
      // Node.js passes this on to its children.
      const line = `exec bash -c 'exec 60>"$HOME/lock"; exec "$NODE" "$NEXUSD"'`
      const daemon = await listening(startShell(home, line, { env: { ...env, NEXUS_API_LISTEN: "127.0.0.1:0" } }))
      // Held while the VM is started.
      const connection = connect(daemon.port, "127.0.0.1")
      context.onTestFinished(() => void connection.destroy())
      await createVm(daemon, "web", bootArgs("guest=deaf"))
      const { body } = await call(daemon, "POST", "/v1/vms/web/start")
      const { console_log_path = "", pid = 0 } = body as Vm
      const inherited = openFiles(daemon.child.pid ?? 0)
      expect(inherited).toContain(join(home.path, "lock"))
      expect([...inherited].filter((file) => file.endsWith("/nexus.db"))).toHaveLength(1)
      const own = [0, 1, 2].map((descriptor) => readlinkSync(`/proc/${pid}/fd/${descriptor}`))
      expect(own).toEqual(["/dev/null", console_log_path, console_log_path.replace("console.log", "vmm.log")])
      // Sockets and pipes have a number, those that are in no file system have none.
      const shared = [...openFiles(pid)].filter((file) => inherited.has(file) && !file.startsWith("anon_inode:"))
      expect(shared.filter((file) => file !== "/dev/null")).toEqual([])
    })

    it("two nexusd on one database start a VM once", async (context) => {
      const { daemon, home, options } = await setUp(context)
      const other = await startDaemon(home, options)
      for (let count = 0; count < 5; count++) {
        const name = `vm-${count}`
        await createVm(daemon, name, bootArgs("guest=deaf"))
        const starts = await Promise.all(
          [daemon, other, daemon, other].map((one) => call(one, "POST", `/v1/vms/${name}/start`))
        )
        expect(starts.map(({ status }) => status).sort()).toEqual([200, 409, 409, 409])
        expect(vmmProcesses(home)).toHaveLength(1)
        expect(await call(other, "POST", `/v1/vms/${name}/stop`, { force: true })).toMatchObject({
          status: 200,
          body: { state: "stopped" }
        })
      }
    })
  })
}
