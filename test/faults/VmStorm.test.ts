import { setTimeout as sleep } from "node:timers/promises"
import { expect, it } from "vitest"
import type { Vm } from "../../src/domain/Vm.js"
import { type Daemon, startDaemon } from "../support/Daemon.js"
import { type Home, makeHome } from "../support/Home.js"
import { tryCall } from "../support/HttpJson.js"
import { createVm, listVms } from "../support/VmCalls.js"
import { vmmProcesses } from "../support/VmmProcesses.js"
import { guestKernel, testVmms } from "../support/Vmms.js"
import { report, trials } from "./Report.js"

/** Shared by several clients, so that calls on one VM collide. */
const shared = ["a", "b", "c", "d", "e"]
const sharingClients = 8
/** Each has one client of its own, which knows what state it must be in. */
const owned = ["own-a", "own-b", "own-c", "own-d", "own-e"]

interface Counts {
  starts: number
  stops: number
  conflicts: number
  adopted: number
  killed: number
}

/** The state that the last acknowledged call gave an owned VM; absent while a call is in flight. */
type Known = Map<string, string>

/** Starts and stops VMs until the daemon is gone. */
const client = async (daemon: Daemon, names: ReadonlyArray<string>, counts: Counts, known: Known): Promise<void> => {
  for (;;) {
    const name = names[Math.floor(Math.random() * names.length)] ?? ""
    const isStop = names.length === 1 ? known.get(name) === "running" : Math.random() < 0.5
    known.delete(name)
    const answer = isStop
      ? await tryCall(daemon, "POST", `/v1/vms/${name}/stop`, { force: true })
      : await tryCall(daemon, "POST", `/v1/vms/${name}/start`)
    if (answer === undefined) return
    if (answer.status === 409) counts.conflicts++
    else if (answer.status !== 200) throw new Error(`${name}: ${answer.status} ${JSON.stringify(answer.body)}`)
    else if (isStop) counts.stops++
    else counts.starts++
    if (answer.status === 200) known.set(name, isStop ? "stopped" : "running")
  }
}

/** Most kills come after a start was answered, some before the first one. */
const killMoment = async (counts: Counts): Promise<void> => {
  const { starts } = counts
  const isEarly = Math.random() < 0.1 && starts > 0
  while (!isEarly && counts.starts === starts) await sleep(1)
  await sleep(Math.random() * 400)
}

/** Compares the records with the processes that /proc shows; returns the differences. */
const compare = (home: Home, vms: ReadonlyArray<Vm>): ReadonlyArray<string> => {
  const processes = vmmProcesses(home)
  const wrong: Array<string> = []
  for (const vm of vms) {
    const own = processes.filter(({ id }) => id === vm.id)
    if (own.length > 1) wrong.push(`${vm.name} has ${own.length} processes`)
    if (vm.state === "running" && own[0]?.pid !== vm.pid)
      wrong.push(`${vm.name} says running as ${vm.pid}, found ${own[0]?.pid}`)
    if (vm.state !== "running" && own.length > 0) wrong.push(`${vm.name} says ${vm.state} and runs as ${own[0]?.pid}`)
    if (vm.state !== "running" && vm.pid !== undefined) wrong.push(`${vm.name} says ${vm.state} and has a pid`)
  }
  for (const { id, pid } of processes) {
    if (!vms.some((vm) => vm.id === id)) wrong.push(`process ${pid} has no record`)
  }
  return wrong
}

for (const { env, isUsable, name: vmm } of testVmms) {
  const kills = vmm === "firecracker" ? trials(200, 6) : trials(200, 3)
  it.skipIf(!isUsable)(
    `no state lies and no process is left over ${kills} kills of nexusd under starts and stops (${vmm})`,
    { timeout: kills * 10_000 + 30_000 },
    async ({ onTestFinished }) => {
      const home = makeHome(onTestFinished)
      const counts: Counts = { starts: 0, stops: 0, conflicts: 0, adopted: 0, killed: 0 }
      const known: Known = new Map()
      const options = { env: { ...env, NEXUS_VM_KERNEL_IMAGE: guestKernel, NEXUS_VM_BOOT_ARGS: "guest=deaf" } }
      for (let kill = 0; ; kill++) {
        const daemon = await startDaemon(home, options)
        if (kill === 0) for (const name of [...shared, ...owned]) await createVm(daemon, name, { mem_size_mib: 32 })
        const vms = await listVms(daemon)
        expect(compare(home, vms), `after kill ${kill}`).toEqual([])
        const states = Object.fromEntries(vms.map(({ name, state }) => [name, state]))
        expect(states, `after kill ${kill}`).toMatchObject(Object.fromEntries(known))
        counts.adopted += vms.filter(({ state }) => state === "running").length
        if (kill === kills) break

        // What was in flight is settled now.
        for (const name of owned) known.set(name, states[name] ?? "")
        const sharing = Array.from({ length: sharingClients }, () => client(daemon, shared, counts, new Map()))
        const load = Promise.all([...sharing, ...owned.map((name) => client(daemon, [name], counts, known))])
        await Promise.race([load, killMoment(counts)])
        await daemon.stop("SIGKILL")
        await load
        // Some VMMs die while no nexusd runs.
        for (const { id, pid } of vmmProcesses(home).filter(() => Math.random() < 0.2)) {
          process.kill(pid, "SIGKILL")
          counts.killed++
          const name = vms.find((vm) => vm.id === id)?.name ?? ""
          if (known.get(name) === "running") known.set(name, "crashed")
        }
      }
      expect(counts.starts).toBeGreaterThan(0)
      expect(counts.stops).toBeGreaterThan(0)
      expect(counts.adopted).toBeGreaterThan(0)
      report({
        promise: "14. state that was observed",
        trials: `${kills} kills (SIGKILL) of nexusd under ${sharingClients + owned.length} clients that start and stop VMs (${vmm})`,
        asserted:
          "after each restart: a record says running if and only if its one process lives; acknowledged starts and stops hold",
        result:
          `${counts.starts} starts, ${counts.stops} stops and ${counts.conflicts} conflicts acknowledged, ` +
          `${counts.adopted} VMs adopted, ${counts.killed} VMMs killed meanwhile; state lies 0, orphans 0`
      })
    }
  )
}
