import { spawnSync } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { programPath } from "../../src/services/vmm/ProgramPath.js"
import { projectFolder } from "./Programs.js"

/** A kernel image that boots in milliseconds; see test/guest/guest.S. */
export const guestKernel = join(projectFolder, "test/guest/guest.elf")

const runsGuest = (firecracker: string): boolean => {
  const folder = mkdtempSync(join(tmpdir(), "nexus-firecracker-"))
  try {
    const config = join(folder, "config.json")
    const bootSource = { kernel_image_path: guestKernel, boot_args: "guest=off" }
    writeFileSync(config, JSON.stringify({ "boot-source": bootSource, drives: [] }))
    const args = ["--no-api", "--config-file", config]
    return spawnSync(firecracker, args, { timeout: 10_000, killSignal: "SIGKILL", stdio: "ignore" }).status === 0
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const firecracker = programPath("firecracker")

/** Firecracker is on the PATH, and /dev/kvm runs the guest. */
export const isFirecrackerUsable = firecracker !== undefined && runsGuest(firecracker)

export const isQemuUsable = programPath("qemu-system-x86_64") !== undefined

/** The VMMs that a daemon can be told to use, each with its environment. QEMU's `auto` can't be trusted: KVM may be there and run no guest. */
export const testVmms = [
  { name: "firecracker", isUsable: isFirecrackerUsable, env: { NEXUS_VM_VMM: "firecracker" } },
  { name: "qemu", isUsable: isQemuUsable, env: { NEXUS_VM_VMM: "qemu", NEXUS_VM_ACCEL: "tcg" } }
] as const
