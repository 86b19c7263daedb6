import { spawnSync } from "node:child_process"
import { readdirSync, readlinkSync } from "node:fs"
import { join } from "node:path"
import { describe, expect, it } from "vitest"
import { startDaemon } from "../support/Daemon.js"
import { type AtEnd, type Home, makeHome } from "../support/Home.js"
import { call, sendRequest } from "../support/HttpJson.js"
import { hasLinuxGuest, linuxGuest } from "../support/LinuxGuest.js"
import { createVm } from "../support/VmCalls.js"
import { guestKernel, isQemuUsable, testVmms } from "../support/Vmms.js"

const run = (program: string, ...args: ReadonlyArray<string>) => {
  const { status, stdout } = spawnSync(program, args, { encoding: "utf8" })
  return status === 0 ? stdout.trim() : undefined
}

/** Makes a block device of a file of 1 MiB that begins with a line; undefined where that is not allowed. */
const attachLoop = (home: Home, onTestFinished: AtEnd): string | undefined => {
  const image = Buffer.alloc(1024 * 1024)
  image.write("this is a block device\n")
  const device = run("losetup", "--find", "--show", home.write("disk.img", image))
  if (device !== undefined) onTestFinished(async () => void run("losetup", "--detach", device))
  return device
}

const canAttach = (() => {
  const disposers: Array<() => Promise<void>> = []
  const device = attachLoop(
    makeHome((dispose) => disposers.push(dispose)),
    (dispose) => disposers.unshift(dispose)
  )
  for (const dispose of disposers) void dispose()
  return device !== undefined
})()
const needs = canAttach ? "" : " (needs root, losetup and loop devices)"

const drive = (path_on_host: string, is_read_only: boolean) => ({
  drive_id: "data",
  path_on_host,
  is_root_device: false,
  is_read_only
})

describe.skipIf(!canAttach)(`a block device as a drive${needs}`, () => {
  for (const { env, isUsable, name: vmm } of testVmms) {
    it.skipIf(!isUsable)(`is opened, and has one writer, by whatever name (${vmm})`, async ({ onTestFinished }) => {
      const home = makeHome(onTestFinished)
      const device = attachLoop(home, onTestFinished) ?? ""
      const daemon = await startDaemon(home, {
        env: { ...env, NEXUS_VM_KERNEL_IMAGE: guestKernel, NEXUS_VM_BOOT_ARGS: "guest=deaf" }
      })
      // Another node of the same device.
      const minor = device.slice("/dev/loop".length)
      const other = join(home.path, "other-node")
      expect(run("mknod", other, "b", "7", minor)).toBeDefined()
      await createVm(daemon, "web", { config_json: JSON.stringify({ drives: [drive(device, false)] }) })
      await createVm(daemon, "db", { config_json: JSON.stringify({ drives: [drive(other, true)] }) })
      const { body, status } = await call(daemon, "POST", "/v1/vms/web/start")
      expect({ status, body }).toMatchObject({ status: 200, body: { state: "running" } })
      const folder = `/proc/${Object(body).pid}/fd`
      expect(readdirSync(folder).map((descriptor) => readlinkSync(join(folder, descriptor)))).toContain(device)
      expect(await call(daemon, "POST", "/v1/vms/db/start")).toMatchObject({
        status: 409,
        body: { error: `cannot start VM 'db': ${other} is in use by VM 'web'` }
      })
      expect((await call(daemon, "POST", "/v1/vms/web/stop", { force: true })).status).toBe(200)
      expect((await call(daemon, "POST", "/v1/vms/db/start")).status).toBe(200)
    })
  }

  it.skipIf(!isQemuUsable || !hasLinuxGuest)("is read and written by Linux", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const device = attachLoop(home, onTestFinished) ?? ""
    const config = `vm: { vmm: qemu, accel: tcg, kernel_image: ${linuxGuest.kernel}, initrd: ${linuxGuest.initrd} }\n`
    const daemon = await startDaemon(home, { config })
    const bootSource = { boot_args: `${linuxGuest.bootArgs} guest=off` }
    await createVm(daemon, "web", {
      config_json: JSON.stringify({ "boot-source": bootSource, drives: [drive(device, false)] })
    })
    expect((await call(daemon, "POST", "/v1/vms/web/start")).status).toBe(200)
    await call(daemon, "GET", "/v1/vms/web/wait?state=stopped,crashed&timeout_s=120")
    const { text } = await sendRequest(daemon, "GET", "/v1/vms/web/logs?tail=10000")
    expect(text).toContain("DISK vda read-only=0 begins: this is a block device")
    expect(text).toContain("WRITE vda done")
    expect(run("dd", `if=${device}`, "bs=512", "skip=1", "count=1", "status=none")).toMatch(/^written by the guest/)
  })
})
