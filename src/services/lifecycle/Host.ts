import type { HostProcess, RunSupervisor, VmRun } from "../../domain/VmRun.js"
import { bootId, isRunning, pidNamespace, thisProcess } from "../vmm/HostProcesses.js"

/** This daemon, and what it can see of its host. */
export interface Host {
  /** The setting `vm.host`. */
  readonly name: string
  readonly bootId: string
  readonly pidNamespace: string
  readonly daemon: HostProcess
  readonly isAlive: (process: HostProcess) => boolean
}

/** Reads /proc. `name` is the setting `vm.host`. */
export const thisHost = (name: string): Host => ({
  name,
  bootId: bootId(),
  pidNamespace: pidNamespace(),
  daemon: thisProcess(),
  isAlive: isRunning
})

/** This daemon, as its runs name it. */
export const supervisorOf = ({ bootId, daemon, name, pidNamespace }: Host): RunSupervisor => ({
  host: name,
  boot_id: bootId,
  pid_namespace: pidNamespace,
  daemon
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
