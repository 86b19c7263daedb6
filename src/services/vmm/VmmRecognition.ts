import { readdirSync, readlinkSync, statSync } from "node:fs"
import * as Path from "node:path"
import type { VmmName } from "../../domain/VmRun.js"
import type { VmSettings } from "../VmSettings.js"
import { hostProcess, processArguments } from "./HostProcesses.js"
import { executablePath } from "./ProgramPath.js"
import type { FoundProcess } from "./Vmm.js"

type Programs = Pick<VmSettings, "firecracker" | "qemu">

/** The option by which each VMM is given the id of its VM. It is the first one, so that no value can look like it. */
export const idOption: Readonly<Record<VmmName, string>> = { firecracker: "--id", qemu: "-uuid" }

/** After an upgrade the file of a running program is another one, or none. */
const deleted = / \(deleted\)$/

const linkOf = (pid: number): string => {
  try {
    return readlinkSync(`/proc/${pid}/exe`).replace(deleted, "")
  } catch {
    return ""
  }
}

const isOurs = (pid: number): boolean =>
  statSync(`/proc/${pid}`, { throwIfNoEntry: false })?.uid === process.geteuid?.()

const uuid = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/** Recognises the VMMs of this user, by executable, user and the VM's id on the command line. */
export const vmmRecognition = (programs: Programs) => {
  const vmmOf = (executable: string, paths: Partial<Record<string, VmmName>>): VmmName | undefined => {
    const name = Path.basename(executable)
    if (name.startsWith("firecracker")) return "firecracker"
    return name.startsWith("qemu-system-") ? "qemu" : paths[executable]
  }

  const configured = (): Partial<Record<string, VmmName>> => ({
    [executablePath(programs.firecracker) ?? ""]: "firecracker",
    [executablePath(programs.qemu) ?? ""]: "qemu",
    "": undefined
  })

  const recognise = (pid: number, paths = configured()): FoundProcess | undefined => {
    const vmm = vmmOf(linkOf(pid), paths)
    if (vmm === undefined || !isOurs(pid)) return undefined
    const process = hostProcess(pid)
    const [, ...words] = processArguments(pid)
    const option = words.indexOf(idOption[vmm])
    const id = option < 0 ? undefined : words[option + 1]?.toLowerCase()
    return process !== undefined && id !== undefined && uuid.test(id) ? { id, vmm, process } : undefined
  }

  return {
    /** All that run. */
    scan: (): ReadonlyArray<FoundProcess> => {
      const paths = configured()
      return readdirSync("/proc").flatMap((name) => {
        const pid = Number(name)
        return Number.isInteger(pid) ? (recognise(pid, paths) ?? []) : []
      })
    },

    /** Whether the process that was found is that VM's still. Ask right before each signal. */
    isStill: ({ id, process, vmm }: FoundProcess): boolean => {
      const now = recognise(process.pid)
      return now?.id === id && now.vmm === vmm && now.process.start_time === process.start_time
    }
  }
}

export type VmmRecognition = ReturnType<typeof vmmRecognition>
