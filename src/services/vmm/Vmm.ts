import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { StartFailed, VmmUnavailable } from "../../domain/Errors.js"
import type { Vm } from "../../domain/Vm.js"
import type { Drive, NetworkInterface } from "../../domain/VmConfig.js"
import type { HostProcess, VmmName } from "../../domain/VmRun.js"
import type { EndState } from "../../domain/VmTransition.js"

/** The files of a VM, all in its own folder. */
export interface VmFiles {
  readonly folder: string
  /** The guest's serial console. */
  readonly consoleLog: string
  /** The VMM's own log. */
  readonly vmmLog: string
  /** Firecracker's API socket, or QEMU's QMP socket. At most 107 bytes, as every socket's path (unix(7)). */
  readonly apiSocket: string
  /** Where Firecracker listens for the guest's vsock device. */
  readonly vsockSocket: string
}

/** All that a VMM needs to run a VM. Paths have been checked. */
export interface VmSpec extends Pick<Vm, "id" | "name" | "cid" | "vcpu_count" | "mem_size_mib"> {
  readonly kernelPath: string
  readonly initrdPath: string | undefined
  /** The VMM's default if undefined. */
  readonly bootArgs: string | undefined
  readonly drives: ReadonlyArray<Drive>
  readonly networkInterfaces: ReadonlyArray<NetworkInterface>
  readonly files: VmFiles
  /** Descriptors open for appending: the guest's console, and the VMM's log. Closed by the caller. */
  readonly consoleDescriptor: number
  readonly vmmLogDescriptor: number
}

/** How a VM ended, and what says so: `exit code 1: …`. */
export interface VmEnd {
  readonly state: EndState
  readonly reason: string
}

/** What the VMM says of its guest. `unknown`: it did not answer within a second. */
export type GuestState = "not started" | "running" | "paused" | "unknown"

/** A VMM process that runs, or has ended. */
export interface VmmProcess {
  readonly vmm: VmmName
  readonly process: HostProcess
  /** Waits for the end of the process, which is noticed within a second, mostly within a millisecond. */
  readonly ended: Effect.Effect<VmEnd>
  readonly guestState: Effect.Effect<GuestState>
  /** Asks the guest to stop: Ctrl+Alt+Del or ACPI. The guest may ignore it. Succeeds also if the VMM does not answer. */
  readonly askToStop: Effect.Effect<void>
  /** Kills the process, if it still is this VM's, and waits for its end. */
  readonly kill: Effect.Effect<void>
  /** Runs `use` while the guest is paused, and resumes it in any case. Fails if the VMM does not pause it. */
  readonly whilePaused: <A, E>(use: Effect.Effect<A, E>) => Effect.Effect<A, E | VmmUnavailable>
  /** Resumes a guest that a rotation left paused, if it is. */
  readonly resume: Effect.Effect<void>
  /** Stops watching the process, which runs on. */
  readonly detach: Effect.Effect<void>
}

/** A process found in /proc that is a VMM of this user and names a VM's id. */
export interface FoundProcess {
  /** In lower case. */
  readonly id: string
  readonly vmm: VmmName
  readonly process: HostProcess
}

/** Runs VMs as processes of this host, which outlive nexusd. */
export class Vmm extends Context.Tag("nexus/Vmm")<
  Vmm,
  {
    /** The VMM that `start` would use. Fails with what to install. */
    readonly available: Effect.Effect<VmmName, VmmUnavailable>
    /**
     * Starts a VM and returns once its guest runs. The process names the VM's id from its beginning. On failure or
     * interruption there is no process left.
     */
    readonly start: (spec: VmSpec) => Effect.Effect<VmmProcess, StartFailed | VmmUnavailable>
    /** All VMM processes of this user, dead ones (state `Z`) left out. One look through /proc. */
    readonly processes: Effect.Effect<ReadonlyArray<FoundProcess>>
    /** Watches a process that was found. Never waits for its socket: a stopped one accepts and does not answer. */
    readonly attach: (found: FoundProcess, files: VmFiles) => Effect.Effect<VmmProcess>
    /** How a VM ended that nobody watched, by its VMM's own log: `stopped` if that says so, else `crashed`. */
    readonly endOf: (vmm: VmmName, files: VmFiles) => Effect.Effect<VmEnd>
  }
>() {}
