import * as Effect from "effect/Effect"
import { expect, it } from "vitest"
import type { Vm } from "../../src/domain/Vm.js"
import type { VmmName } from "../../src/domain/VmRun.js"
import { callApi } from "../../src/services/vmm/FirecrackerApi.js"
import { sendCtrlAltDel } from "../../src/services/vmm/FirecrackerRequests.js"
import { qmpClient } from "../../src/services/vmm/QmpClient.js"
import { startDaemon } from "../support/Daemon.js"
import { makeHome } from "../support/Home.js"
import { call, sendRequest } from "../support/HttpJson.js"
import { createVm, listVms } from "../support/VmCalls.js"
import { vmmProcesses } from "../support/VmmProcesses.js"
import { guestKernel, testVmms } from "../support/Vmms.js"
import { report, trials } from "./Report.js"

const configOf = (boot_args: string) => ({
  mem_size_mib: 32,
  config_json: JSON.stringify({ "boot-source": { kernel_image_path: guestKernel, boot_args } })
})

/** Asks a guest to stop, past nexusd. */
const askToStop = (vmm: VmmName, socket: string): Promise<unknown> => {
  if (vmm === "firecracker") return Effect.runPromise(callApi(socket, sendCtrlAltDel))
  const qmp = qmpClient(socket, () => {})
  return Effect.runPromise(Effect.ensuring(qmp.execute("system_powerdown"), qmp.close))
}

for (const { env, isUsable, name: vmm } of testVmms) {
  const count = vmm === "firecracker" ? trials(200, 10) : trials(40, 10)
  it.skipIf(!isUsable)(
    `${count} VMs start at once, and outlive nexusd; the next one adopts them and knows how others ended (${vmm})`,
    { timeout: count * 5_000 + 60_000 },
    async ({ onTestFinished }) => {
      const home = makeHome(onTestFinished)
      const daemon = await startDaemon(home, { env })
      // Of ten, one is killed and one ends by itself while no nexusd runs.
      const fates = Array.from({ length: count }, (_, index) => (["killed", "ends"] as const)[index % 10] ?? "runs on")
      const names = fates.map((_, index) => `vm-${index}`)
      for (const [index, name] of names.entries()) {
        await createVm(daemon, name, configOf(fates[index] === "ends" ? name : `guest=deaf ${name}`))
      }

      const begun = performance.now()
      const started = await Promise.all(
        names.map(async (name, index): Promise<Vm> => {
          const { body, status } = await call(daemon, "POST", `/v1/vms/${name}/start`)
          expect({ status, body }).toMatchObject({ status: 200, body: { name, state: "running" } })
          const vm = body as Vm
          // A guest that listens uses a whole CPU.
          if (fates[index] === "ends") process.kill(vm.pid ?? 0, "SIGSTOP")
          return vm
        })
      )
      const startSeconds = (performance.now() - begun) / 1000
      const pids = () => vmmProcesses(home).map(({ id, pid }) => `${id} ${pid}`)
      expect(pids().sort()).toEqual(started.map(({ id, pid }) => `${id} ${pid}`).sort())
      expect(new Set(started.map(({ cid }) => cid)).size).toBe(count)
      for (const [index, name] of names.entries()) {
        const log = await sendRequest(daemon, "GET", `/v1/vms/${name}/logs`)
        if (fates[index] !== "ends")
          expect(log.text).toMatch(new RegExp(`^GUEST-UP cpus=1 mem=31 cmdline=.*${name}\\b`))
      }

      await daemon.stop("SIGKILL")
      expect(vmmProcesses(home)).toHaveLength(count)
      for (const [index, { pid = 0, socket_path = "" }] of started.entries()) {
        if (fates[index] === "killed") process.kill(pid, "SIGKILL")
        if (fates[index] !== "ends") continue
        process.kill(pid, "SIGCONT")
        await askToStop(vmm, socket_path)
      }
      const survivors = started.filter((_, index) => fates[index] === "runs on")
      await expect.poll(() => vmmProcesses(home).length, { timeout: 60_000 }).toBe(survivors.length)

      const restarted = performance.now()
      const next = await startDaemon(home, { env })
      const readySeconds = (performance.now() - restarted) / 1000
      const states = { killed: "crashed", ends: "stopped", "runs on": "running" } as const
      const expected = started.map(({ id, name, pid }, index) => {
        const fate = fates[index] ?? "runs on"
        return { id, name, state: states[fate], pid: fate === "runs on" ? pid : undefined }
      })
      const found = (await listVms(next)).map(({ id, name, pid, state }) => ({ id, name, state, pid }))
      expect(new Set(found)).toEqual(new Set(expected))
      const known = await sendRequest(next, "GET", "/v1/vms/vm-1/logs")
      expect(known.text).toContain("GUEST-POWEROFF")

      // Those that were adopted are watched, and stop.
      const [victim, ...others] = survivors
      process.kill(victim?.pid ?? 0, "SIGKILL")
      const ended = await call(next, "GET", `/v1/vms/${victim?.name}/wait?state=crashed&timeout_s=60`)
      expect(ended).toMatchObject({ status: 200, body: { state: "crashed" } })
      const stops = others.map(({ name }) => call(next, "POST", `/v1/vms/${name}/stop`, { force: true }))
      for (const stop of await Promise.all(stops))
        expect(stop).toMatchObject({ status: 200, body: { state: "stopped" } })
      expect(vmmProcesses(home)).toEqual([])
      report({
        promise: "15. VMs outlive nexusd",
        trials: `${count} VMs started by one burst of calls, nexusd killed (SIGKILL), then one VMM in ten killed and one in ten ended by its guest (${vmm})`,
        asserted:
          "each start answered when its own guest runs; the next nexusd shows running, crashed and stopped as they are",
        result:
          `started in ${startSeconds.toFixed(1)} s; next nexusd ready in ${readySeconds.toFixed(2)} s with ` +
          `${survivors.length} adopted; state lies 0, orphans 0`
      })
    }
  )
}
