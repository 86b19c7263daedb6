import { expect, it } from "vitest"
import type { Vm } from "../../src/domain/Vm.js"
import { startCli } from "../support/Cli.js"
import { startDaemon } from "../support/Daemon.js"
import { freePort } from "../support/FreePort.js"
import { makeHome } from "../support/Home.js"
import { tryCall } from "../support/HttpJson.js"
import { printedBy } from "../support/Process.js"
import { createVm, listVms } from "../support/VmCalls.js"
import { report, trials } from "./Report.js"

const rounds = trials(100, 4)
const writers = 10

/** What somebody knows who reads the lines of a watch. Fails if a line is no change of what the lines before said. */
const replay = (lines: ReadonlyArray<string>) => {
  const view = new Map<string, Vm>()
  for (const line of lines) {
    const { event, vm }: { readonly event: string; readonly vm: Vm } = JSON.parse(line)
    const known = view.get(vm.id)
    expect(known !== undefined, line).toBe(["updated", "left", "deleted"].includes(event))
    if (event === "updated") expect(vm).not.toEqual(known)
    if (event === "deleted") expect(vm).toEqual(known)
    if (event === "deleted" || event === "left") view.delete(vm.id)
    else view.set(vm.id, vm)
  }
  return Array.from(view.values())
}

const byId = (a: Vm, b: Vm) => a.id.localeCompare(b.id)

it("vm list --watch agrees with vm list in the end, through restarts and kills, and tells nothing twice", {
  timeout: 1_800_000
}, async ({ onTestFinished }) => {
  const home = makeHome(onTestFinished)
  const start = async (address: string) => startDaemon(home, { env: { NEXUS_API_LISTEN: address } })
  let daemon = await start(`127.0.0.1:${await freePort()}`)
  const { address } = daemon
  await createVm(daemon, "the-start", { role: "service" })
  const watch = (...filter: ReadonlyArray<string>) =>
    startCli(home, ["vm", "list", "--watch", "-o", "json", "--daemon", address, ...filter])
  const [all, services] = [watch(), watch("--role", "service")]
  for (const running of [all, services]) await printedBy(running, "stdout", /"the-start"/)

  let changes = 0
  let restarts = 0
  const write = async (writer: number, round: number) => {
    for (let n = 0; n < 8; n++) {
      const path = `/v1/vms/vm-${writer}-${n % 3}`
      const body = { role: (n + round) % 2 === 0 ? "work" : "service", vcpu_count: 1 + ((round + n) % 32) }
      if ((await tryCall(daemon, "PUT", path, body)) !== undefined) changes++
      if (n % 3 === 2 && (await tryCall(daemon, "DELETE", path)) !== undefined) changes++
    }
  }
  for (let round = 0; round < rounds; round++) {
    const written = Promise.all(Array.from({ length: writers }, (_, writer) => write(writer, round)))
    if (round % 2 === 1) {
      await daemon.stop(round % 4 === 1 ? "SIGTERM" : "SIGKILL")
      await written
      daemon = await start(address)
      restarts++
    } else await written
  }
  await createVm(daemon, "the-end", { role: "service" })
  const expected = Array.from(await listVms(daemon)).sort(byId)
  let lines = 0
  for (const [running, isExpected] of [
    [all, () => true],
    [services, ({ role }: Vm) => role === "service"]
  ] as const) {
    await printedBy(running, "stdout", /"the-end"/)
    running.child.kill("SIGINT")
    const { code, stdout } = await running.ended
    expect(code).toBe(130)
    const printed = stdout.trimEnd().split("\n")
    lines += printed.length
    expect(replay(printed).sort(byId)).toEqual(expected.filter(isExpected))
  }
  report({
    promise: "17. events agree with lists",
    trials: `${changes} changes by ${writers} writers, ${restarts} restarts, half of them by kill -9`,
    asserted: "`vm list --watch`, with and without a filter, replayed line by line, equals the list",
    result: `${lines} lines, 0 differences`
  })
})
