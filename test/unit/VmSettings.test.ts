import { existsSync, readFileSync, symlinkSync, writeFileSync } from "node:fs"
import { homedir, hostname } from "node:os"
import { describe, expect, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { afterAll, afterEach, vi } from "vitest"
import { loadConfig } from "../../src/services/Config.js"
import { makeHome } from "../support/Home.js"

const home = makeHome(afterAll)
afterEach(() => vi.unstubAllEnvs())

/** The settings `vm` of a nexus.yaml with these lines under `vm:`. */
const settings = (...lines: ReadonlyArray<string>) => {
  const config = home.write("nexus.yaml", ["vm:", ...lines].join("\n  "))
  return Effect.map(loadConfig({ config, database: undefined }), ({ vm }) => vm)
}

/** A line, and what its error says. */
const refused: ReadonlyArray<readonly [string, string]> = [
  ["vmm: xen", "vm.vmm: expected one of auto, firecracker, qemu"],
  ["accel: hvf", "vm.accel: expected one of auto, kvm, tcg"],
  ["firecracker: bin/firecracker", "vm.firecracker: expected an absolute path, or a program's name on the PATH"],
  ["qemu: ''", "vm.qemu: expected an absolute path, or a program's name on the PATH"],
  ["kernel_image: vmlinux", "vm.kernel_image: expected an absolute path"],
  ["initrd: 7", "vm.initrd: expected an absolute path"],
  [`boot_args: "a\\nb"`, "vm.boot_args: expected at most 2048 characters"],
  ["stop_timeout: 601", "vm.stop_timeout: expected a whole number from 0 to 600"],
  ["stop_timeout: 1.5", "vm.stop_timeout: expected a whole number from 0 to 600"],
  ["log_max_size: 4095", "vm.log_max_size: expected a size from 4KiB to 1GiB"],
  ["log_max_size: 2GiB", "vm.log_max_size: expected a size from 4KiB to 1GiB"],
  ["log_max_size: 16 MB", "vm.log_max_size: expected a size from 4KiB to 1GiB"],
  ["log_max_size: [1]", "vm.log_max_size: "],
  ["host: ''", "vm.host: "],
  ["kernel: /vmlinux", "vm.kernel: is unexpected"]
]

const machineId = existsSync("/etc/machine-id") ? readFileSync("/etc/machine-id", "utf8").trim() : ""

describe("the settings of VMs", () => {
  it.effect("have a default each", () =>
    Effect.gen(function* () {
      expect(yield* settings()).toEqual({
        vmm: "auto",
        firecracker: "firecracker",
        qemu: "qemu-system-x86_64",
        accel: "auto",
        kernelImage: undefined,
        initrd: undefined,
        bootArgs: undefined,
        stopTimeout: Duration.seconds(10),
        logMaxSizeBytes: 16 * 1024 * 1024,
        host: /^[0-9a-f]{32}$/.test(machineId) ? machineId : hostname()
      })
    })
  )

  it.effect("come from the file, and ~/ is the home folder", () =>
    Effect.gen(function* () {
      const file = [
        "vmm: qemu",
        "firecracker: ~/bin/firecracker",
        "qemu: qemu-kvm",
        "accel: tcg",
        "kernel_image: ~/vmlinux",
        "initrd: /boot/initrd.img",
        "boot_args: console=ttyS0",
        "stop_timeout: 0",
        "log_max_size: 512KiB",
        "host: left"
      ]
      expect(yield* settings(...file)).toEqual({
        vmm: "qemu",
        firecracker: `${homedir()}/bin/firecracker`,
        qemu: "qemu-kvm",
        accel: "tcg",
        kernelImage: `${homedir()}/vmlinux`,
        initrd: "/boot/initrd.img",
        bootArgs: "console=ttyS0",
        stopTimeout: Duration.seconds(0),
        logMaxSizeBytes: 512 * 1024,
        host: "left"
      })
    })
  )

  it.effect("come from the environment first, key by key", () =>
    Effect.gen(function* () {
      vi.stubEnv("NEXUS_VM_KERNEL_IMAGE", "~/other")
      vi.stubEnv("NEXUS_VM_STOP_TIMEOUT", "600")
      vi.stubEnv("NEXUS_VM_LOG_MAX_SIZE", "4096")
      vi.stubEnv("NEXUS_VM_VMM", "")
      expect(yield* settings("kernel_image: /vmlinux", "stop_timeout: 1", "vmm: qemu")).toMatchObject({
        kernelImage: `${homedir()}/other`,
        stopTimeout: Duration.minutes(10),
        logMaxSizeBytes: 4096,
        vmm: "qemu"
      })
    })
  )

  it.effect.each([
    [4096, 4096],
    ["4KiB", 4096],
    ["16MiB", 16_777_216],
    ["1GiB", 1_073_741_824]
  ])("take a size of %s", ([size, bytes]) =>
    Effect.gen(function* () {
      expect((yield* settings(`log_max_size: ${size}`)).logMaxSizeBytes).toBe(bytes)
    })
  )

  it.effect.each(refused)("refuse %s in one line with file and key", ([line, says]) =>
    Effect.gen(function* () {
      const { message } = yield* Effect.flip(settings(line))
      expect(message).toContain(`${home.path}/nexus.yaml: ${says}`)
      expect(message).not.toMatch(/\n|readonly|<->|\{/)
    })
  )

  it.effect("name every variable that can't be used, in one line", () =>
    Effect.gen(function* () {
      vi.stubEnv("NEXUS_VM_VMM", "xen")
      vi.stubEnv("NEXUS_VM_LOG_MAX_SIZE", "much")
      vi.stubEnv("NEXUS_API_ALLOWED_HOSTS", "a,,b")
      expect((yield* Effect.flip(settings())).message).toMatch(
        /^NEXUS_API_ALLOWED_HOSTS\.1: .*; NEXUS_VM_VMM: expected one of .*; NEXUS_VM_LOG_MAX_SIZE: expected a size .*"much"$/
      )
    })
  )
})

describe("the files that no VM may be given", () => {
  it.effect("are the settings, the token, and the database with what SQLite writes next to it", () =>
    Effect.gen(function* () {
      const config = home.write("nexus.yaml", "api:\n  token_file: ~/token\n")
      const database = home.write("disk/nexus.db", "")
      symlinkSync(database, `${home.path}/link.db`)
      writeFileSync(`${home.path}/token`, "0123456789abcdef", { mode: 0o600 })
      vi.stubEnv("HOME", home.path)
      const { privateFiles } = yield* loadConfig({ config, database: "~/link.db" })
      expect(privateFiles).toEqual([
        config,
        `${home.path}/token`,
        ...["", "-wal", "-shm", "-journal"].map((suffix) => `${database}${suffix}`)
      ])
    })
  )
})
