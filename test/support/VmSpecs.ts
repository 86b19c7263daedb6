import { randomUUID } from "node:crypto"
import { closeSync, mkdirSync, openSync, readFileSync } from "node:fs"
import { join } from "node:path"
import * as Duration from "effect/Duration"
import { Cid, VmId } from "../../src/domain/Vm.js"
import type { HostProcess } from "../../src/domain/VmRun.js"
import type { VmSettings } from "../../src/services/VmSettings.js"
import type { VmFiles, VmSpec } from "../../src/services/vmm/Vmm.js"
import { guestKernel } from "./Vmms.js"

/** A VM's files under a folder. */
export const vmFiles = (folder: string): VmFiles => ({
  folder,
  consoleLog: join(folder, "console.log"),
  vmmLog: join(folder, "vmm.log"),
  apiSocket: join(folder, "api.sock"),
  vsockSocket: join(folder, "vsock.sock")
})

/** The defaults, without KVM for QEMU. */
export const vmSettings: VmSettings = {
  vmm: "auto",
  firecracker: "firecracker",
  qemu: "qemu-system-x86_64",
  accel: "tcg",
  kernelImage: undefined,
  initrd: undefined,
  bootArgs: undefined,
  stopTimeout: Duration.seconds(10),
  logMaxSizeBytes: 16 * 1024 * 1024,
  host: "here"
}

/** What other programs do to a process. */
export const hostSignals = {
  kill: ({ pid }: HostProcess) => process.kill(pid, "SIGKILL"),
  pauseProcess: ({ pid }: HostProcess) => process.kill(pid, "SIGSTOP"),
  continueProcess: ({ pid }: HostProcess) => process.kill(pid, "SIGCONT")
}

let lastCid = 3

/** What a VMM needs to run the tests' guest in a folder of its own, with the logs open. */
export const openVmSpec = (
  parent: string,
  more: Partial<Omit<VmSpec, "files" | "consoleDescriptor" | "vmmLogDescriptor">> = {}
): { readonly spec: VmSpec; readonly close: () => void } => {
  const id = more.id ?? VmId.make(randomUUID())
  const files = vmFiles(join(parent, id))
  mkdirSync(files.folder, { recursive: true })
  const consoleDescriptor = openSync(files.consoleLog, "a")
  const vmmLogDescriptor = openSync(files.vmmLog, "a")
  lastCid += 1
  const spec: VmSpec = {
    id,
    name: "web",
    cid: Cid.make(lastCid),
    vcpu_count: 1,
    mem_size_mib: 128,
    kernelPath: guestKernel,
    initrdPath: undefined,
    bootArgs: "guest=deaf",
    drives: [],
    networkInterfaces: [],
    ...more,
    files,
    consoleDescriptor,
    vmmLogDescriptor
  }
  return {
    spec,
    close: () => {
      closeSync(consoleDescriptor)
      closeSync(vmmLogDescriptor)
    }
  }
}

export const consoleText = ({ files }: VmSpec) => readFileSync(files.consoleLog, "utf8")
