import { readdirSync, readFileSync, readlinkSync } from "node:fs"
import { join } from "node:path"
import { expect, it } from "vitest"
import { startDaemon } from "../support/Daemon.js"
import { makeHome } from "../support/Home.js"
import { call } from "../support/HttpJson.js"
import { createVm } from "../support/VmCalls.js"
import { vmmProcesses } from "../support/VmmProcesses.js"
import { guestKernel, testVmms } from "../support/Vmms.js"
import { report, trials } from "./Report.js"

/** What a process has open, the numbers of sockets and pipes left out. */
const openFiles = (pid: number): ReadonlyArray<string> =>
  readdirSync(`/proc/${pid}/fd`)
    .flatMap((descriptor) => {
      try {
        return [readlinkSync(`/proc/${pid}/fd/${descriptor}`).replace(/:\[\d+\]/, "")]
      } catch {
        return []
      }
    })
    .sort()

/** The sockets of a home that a process listens on or is connected to (proc_pid_net(5)). */
const socketsOf = (home: string): number =>
  readFileSync("/proc/net/unix", "utf8")
    .split("\n")
    .filter((line) => line.includes(home)).length

const childrenOf = (pid: number): string => readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8")

for (const { env, isUsable, name: vmm } of testVmms) {
  const cycles = trials(100, 10)
  it.skipIf(!isUsable)(
    `${cycles} starts and stops leave no file, no descriptor and no process (${vmm})`,
    { timeout: cycles * 10_000 + 30_000 },
    async ({ onTestFinished }) => {
      const home = makeHome(onTestFinished)
      const daemon = await startDaemon(home, {
        env: { ...env, NEXUS_VM_KERNEL_IMAGE: guestKernel, NEXUS_VM_BOOT_ARGS: "guest=deaf" }
      })
      const { id } = await createVm(daemon, "web", { mem_size_mib: 32 })
      const pid = daemon.child.pid ?? 0
      const sockets = () => openFiles(pid).filter((file) => file === "socket").length
      const idleSockets = sockets()
      const state = join(home.path, "state/nexus")
      const files = () => readdirSync(state, { recursive: true }).sort()
      const left = () => ({
        descriptors: openFiles(pid),
        sockets: socketsOf(home.path),
        children: childrenOf(pid),
        vmms: vmmProcesses(home),
        files: files()
      })
      const once = async () => {
        const started = await call(daemon, "POST", "/v1/vms/web/start")
        expect(started).toMatchObject({ status: 200, body: { state: "running" } })
        const log = fetch(`${daemon.url}/v1/vms/web/logs?follow=true`).then((response) => response.text())
        const stop = { force: true }
        expect(await call(daemon, "POST", "/v1/vms/web/stop", stop)).toMatchObject({ body: { state: "stopped" } })
        expect(await log).toContain("GUEST-UP")
      }
      // What is opened and loaded at the first use stays.
      for (let count = 0; count < 3; count++) await once()
      // Connections of the log's clients are closed once they were idle for 5 s.
      await expect.poll(sockets, { timeout: 30_000 }).toBe(idleSockets)
      const before = left()
      expect(before.files).toContain(join("vms", id, "console.log"))
      expect(before).toMatchObject({ sockets: 0, children: "", vmms: [] })
      for (let count = 0; count < cycles; count++) await once()
      await expect.poll(left, { timeout: 30_000 }).toEqual(before)
      expect(daemon.said.stderr).not.toMatch(/MaxListeners|Warning/)
      report({
        promise: "14. state that was observed",
        trials: `${cycles} starts and stops of one VM, its log followed (${vmm})`,
        asserted:
          "afterwards nexusd's descriptors and children, the sockets and files under its state folder are as before",
        result: `${before.descriptors.length} descriptors, ${before.files.length} files, 0 sockets, 0 processes, as before`
      })
    }
  )
}
