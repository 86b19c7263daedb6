import { readFileSync, readlinkSync } from "node:fs"
import type { HostProcess, VmRun } from "../../domain/VmRun.js"

/** This daemon, and what it can see of its host. */
export interface Host {
  /** The setting `vm.host`. */
  readonly name: string
  readonly bootId: string
  readonly pidNamespace: string
  readonly daemon: HostProcess
  readonly isAlive: (process: HostProcess) => boolean
}

/** Field 22 of `/proc/PID/stat`; undefined if there is no such process, or it is dead and not reaped (state `Z`). */
const startTimeOf = (pid: number | "self"): number | undefined => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1")
    // The second field, the program's name in parentheses, may hold blanks and parentheses.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
    return fields[0] === "Z" || fields[0] === "X" ? undefined : Number(fields[19])
  } catch {
    return undefined
  }
}

/** Reads /proc. `name` is the setting `vm.host`. */
export const thisHost = (name: string): Host => ({
  name,
  bootId: readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim(),
  pidNamespace: readlinkSync("/proc/self/ns/pid"),
  daemon: { pid: process.pid, start_time: startTimeOf("self") ?? 0 },
  isAlive: ({ pid, start_time }) => startTimeOf(pid) === start_time
})

/**
 * Who supervises a run: this daemon, another one, or nobody (`gone`: its daemon or the whole boot is over). `hidden` are
 * runs of other hosts and other pid namespaces, whose processes can't be looked up.
 */
export type RunOwner = "this daemon" | "other daemon" | "gone" | "hidden"

export const isSameProcess = (one: HostProcess, other: HostProcess) =>
  one.pid === other.pid && one.start_time === other.start_time

export const ownerOf = (run: VmRun, host: Host): RunOwner => {
  if (run.host !== host.name) return "hidden"
  if (run.boot_id !== host.bootId) return "gone"
  if (run.pid_namespace !== host.pidNamespace) return "hidden"
  if (isSameProcess(run.daemon, host.daemon)) return "this daemon"
  return host.isAlive(run.daemon) ? "other daemon" : "gone"
}
