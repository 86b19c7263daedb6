import { spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { describe, expect, it } from "vitest"
import { makeHome } from "../support/Home.js"
import { call } from "../support/HttpJson.js"
import { start } from "../support/Process.js"
import { programs } from "../support/Programs.js"
import { createVm } from "../support/VmCalls.js"
import { guestKernel, isFirecrackerUsable, isQemuUsable } from "../support/Vmms.js"

const unit = readFileSync("packaging/nexus.service", "utf8")

/** The values of a setting of the unit. */
const setting = (name: string): ReadonlyArray<string> =>
  unit
    .split("\n")
    .filter((line) => line.startsWith(`${name}=`))
    .flatMap((line) => line.slice(name.length + 1).split(" "))

const output = (command: string, args: ReadonlyArray<string>) => {
  const { status, stderr, stdout } = spawnSync(command, args, { encoding: "utf8" })
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}: ${stderr}`)
  return stdout
}

/** The system calls of a name or, after an @, of a set. */
const systemCalls = (name: string): ReadonlyArray<string> =>
  name.startsWith("@")
    ? output("systemd-analyze", ["syscall-filter", name])
        .split("\n")
        .slice(1)
        .map((line) => line.trim())
        .filter((line) => line !== "" && !line.startsWith("#"))
        .flatMap(systemCalls)
    : [name]

const hasTools = ["strace", "systemd-analyze"].every((program) => spawnSync(program, ["--version"]).status === 0)

it("lets VMs outlive nexusd", () => {
  expect(setting("KillMode")).toEqual(["process"])
  expect(setting("OOMPolicy")).toEqual(["continue"])
  expect(setting("LimitNOFILE")).toEqual(["65536"])
})

describe.each([
  ["Firecracker", "firecracker", isFirecrackerUsable],
  ["QEMU", "qemu", isQemuUsable]
])("under %s", (name, vmm, isThere) => {
  const canRun = isThere && hasTools
  const title = `allows every system call of a start and a stop${canRun ? "" : ` (needs ${name}, strace, systemd-analyze)`}`
  it.skipIf(!canRun)(title, async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const trace = join(home.path, "trace")
    // With -D strace is not the parent: nexusd is the child that gets the signals.
    const traced = ["-D", "-f", "-qq", "-o", trace, process.execPath, programs.nexusd]
    const daemon = start(home, "strace", traced, {
      env: {
        NEXUS_API_LISTEN: "127.0.0.1:0",
        NEXUS_VM_VMM: vmm,
        NEXUS_VM_ACCEL: "tcg",
        NEXUS_VM_KERNEL_IMAGE: guestKernel
      }
    })
    const listening = () => /listening on (http:[^\s",]+)/.exec(daemon.said.stderr)?.[1]
    await expect.poll(listening, { timeout: 60_000 }).toBeDefined()
    const target = { url: `${listening()}` }
    await createVm(target, "web")
    expect(await call(target, "POST", "/v1/vms/web/start")).toMatchObject({ status: 200, body: { vmm } })
    expect(await call(target, "POST", "/v1/vms/web/stop")).toMatchObject({ status: 200, body: { state: "stopped" } })
    daemon.child.kill("SIGTERM")
    await daemon.ended

    const used = new Set(Array.from(readFileSync(trace, "latin1").matchAll(/^\d+ +(\w+)\(/gm), ([, call]) => `${call}`))
    const allowed = new Set(setting("SystemCallFilter").flatMap(systemCalls))
    expect(Array.from(used).filter((call) => !allowed.has(call))).toEqual([])
    // Both VMMs set a filter of their own.
    expect(used).toContain("seccomp")
  })
})
