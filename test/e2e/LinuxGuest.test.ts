import { spawnSync } from "node:child_process"
import { mkdirSync, readFileSync, statSync, truncateSync } from "node:fs"
import { join } from "node:path"
import { describe, expect, it } from "vitest"
import type { Vm } from "../../src/domain/Vm.js"
import { type Daemon, startDaemon } from "../support/Daemon.js"
import { type AtEnd, type Home, makeHome } from "../support/Home.js"
import { call, sendRequest } from "../support/HttpJson.js"
import { hasLinuxGuest, linuxGuest } from "../support/LinuxGuest.js"
import { createVm } from "../support/VmCalls.js"
import { isQemuUsable } from "../support/Vmms.js"

const config = `vm:
  vmm: qemu
  accel: tcg
  kernel_image: ${linuxGuest.kernel}
  initrd: ${linuxGuest.initrd}
  boot_args: ${linuxGuest.bootArgs}
`

const setUp = async (onTestFinished: AtEnd) => {
  const home = makeHome(onTestFinished)
  return { home, daemon: await startDaemon(home, { config }) }
}

const bootingWith = (word: string) => ({
  config_json: JSON.stringify({ "boot-source": { boot_args: `${linuxGuest.bootArgs} guest=${word}` } })
})

/** Starts a VM, and fails unless it runs then. */
const startVm = async (daemon: Daemon, name: string): Promise<Vm> => {
  const { body, status } = await call(daemon, "POST", `/v1/vms/${name}/start`)
  expect({ status, body }).toMatchObject({ status: 200, body: { state: "running", vmm: "qemu" } })
  return body as Vm
}

/** Waits until the VM has ended by itself, and returns its state and its whole console. */
const ended = async (daemon: Daemon, name: string) => {
  const { body } = await call(daemon, "GET", `/v1/vms/${name}/wait?state=stopped,crashed&timeout_s=120`)
  const { text } = await sendRequest(daemon, "GET", `/v1/vms/${name}/logs?tail=10000`)
  return { vm: body, console: text.replaceAll("\r\n", "\n") }
}

/** Waits until the guest has printed this. */
const printed = async (daemon: Daemon, name: string, text: string) => {
  const path = `/v1/vms/${name}/logs?tail=10000`
  await expect.poll(async () => (await sendRequest(daemon, "GET", path)).text, { timeout: 120_000 }).toContain(text)
}

/** A drive of 1 MiB that begins with a line. */
const makeDrive = (home: Home, name: string) =>
  home.write(
    name,
    Buffer.concat([Buffer.from(`this is ${name}\n`), Buffer.alloc(1024 * 1024)]).subarray(0, 1024 * 1024)
  )

const isThere = isQemuUsable && hasLinuxGuest
const needs = isThere ? "" : " (needs qemu-system-x86_64, and scripts/linux-guest.sh to have run)"

describe.skipIf(!isThere)(`Linux under QEMU${needs}`, () => {
  it("reads its drives, writes to those that are writable, and powers off", async ({ onTestFinished }) => {
    const { daemon, home } = await setUp(onTestFinished)
    const writable = makeDrive(home, "data, with a comma.img")
    const readOnly = makeDrive(home, "tools.img")
    await createVm(daemon, "web", {
      vcpu_count: 2,
      mem_size_mib: 256,
      config_json: JSON.stringify({
        "boot-source": { boot_args: `${linuxGuest.bootArgs} guest=off` },
        drives: [
          { drive_id: "data", path_on_host: writable, is_root_device: false },
          { drive_id: "tools", path_on_host: readOnly, is_root_device: false, is_read_only: true }
        ]
      })
    })
    await startVm(daemon, "web")
    const { console, vm } = await ended(daemon, "web")
    expect(console).toContain("LINUX-UP cpus=2 mem=2")
    expect(console).toContain("DISK vda read-only=0 begins: this is data, with a comma.img\n")
    expect(console).toContain("DISK vdb read-only=1 begins: this is tools.img\n")
    expect(console).toContain("WRITE vda done\n")
    expect(console).toMatch(/^WRITE vdb refused: .*Operation not permitted$/m)
    expect(vm).toMatchObject({ state: "stopped", stopped_at: expect.any(Number) })
    expect(readFileSync(writable, "latin1").slice(512)).toMatch(/^written by the guest\n/)
    expect(statSync(writable).size).toBe(1024 * 1024)
    expect(readFileSync(readOnly, "latin1")).not.toContain("written")
  })

  it("sees an I/O error when the host's disk is full, and runs on", async ({ onTestFinished, skip }) => {
    const { daemon, home } = await setUp(onTestFinished)
    const disk = join(home.path, "disk")
    mkdirSync(disk)
    if (spawnSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", disk]).status !== 0) {
      skip("needs the right to mount a tmpfs")
    }
    onTestFinished(async () => void spawnSync("umount", ["-l", disk]))
    const path_on_host = home.write("disk/sparse.img", "")
    truncateSync(path_on_host, 1024 * 1024)
    expect(() => home.write("disk/filler", Buffer.alloc(128 * 1024))).toThrow("ENOSPC")
    await createVm(daemon, "web", {
      config_json: JSON.stringify({ drives: [{ drive_id: "data", path_on_host, is_root_device: false }] })
    })
    await startVm(daemon, "web")
    await printed(daemon, "web", "LINUX-READY")
    const { text } = await sendRequest(daemon, "GET", "/v1/vms/web/logs?tail=10000")
    expect(text).toMatch(/WRITE vda refused: .*error/)
    expect((await call(daemon, "POST", "/v1/vms/web/stop", { timeout_s: 120 })).status).toBe(200)
    expect((await ended(daemon, "web")).console).toContain("POWER-BUTTON\n")
  })

  it("is stopped by its power button, and says so", async ({ onTestFinished }) => {
    const { daemon } = await setUp(onTestFinished)
    await createVm(daemon, "web")
    await startVm(daemon, "web")
    await printed(daemon, "web", "LINUX-READY")
    expect((await call(daemon, "POST", "/v1/vms/web/stop", { timeout_s: 120 })).status).toBe(200)
    const { console, vm } = await ended(daemon, "web")
    expect(vm).toMatchObject({ state: "stopped" })
    expect(vm).not.toHaveProperty("pid")
    expect(console).toContain("POWER-BUTTON\n")
    expect(console).toContain("reboot: Power down")
  })

  it("has stopped after a kernel panic, whose words are in its log", async ({ onTestFinished }) => {
    const { daemon } = await setUp(onTestFinished)
    await createVm(daemon, "web", bootingWith("panic"))
    await startVm(daemon, "web")
    const { console, vm } = await ended(daemon, "web")
    expect(console).toContain("Kernel panic - not syncing: sysrq triggered crash")
    // QEMU reports the reset with which the kernel answers a panic as it does a reboot.
    expect(vm).toMatchObject({ state: "stopped" })
  })
})
