import * as Schema from "effect/Schema"
import { literals, wholeNumber } from "./Schemas.js"
import type { Vm } from "./Vm.js"

/** The programs that run a VM (virtual machine monitors). */
export const VmmName = literals(["firecracker", "qemu"], "The program that runs the VM")
export type VmmName = typeof VmmName.Type

/**
 * A process on this host. A pid alone is reused; `start_time` is field 22 of `/proc/PID/stat` (proc_pid_stat(5)), in clock
 * ticks since the boot.
 */
export const HostProcess = Schema.Struct({
  pid: wholeNumber("Process id"),
  start_time: wholeNumber("Clock ticks between the boot and the process's start")
})
export type HostProcess = typeof HostProcess.Type

/** A drive's file as the host's kernel knows it, whatever path leads to it. */
export const DriveIdentity = Schema.Struct({
  path: Schema.String,
  /** `file:DEVICE:INODE` of a regular file, `block:DEVICE` of a block device (st_rdev). */
  identity: Schema.String,
  is_writable: Schema.Boolean
})
export type DriveIdentity = typeof DriveIdentity.Type

/**
 * What is under way with a VM: from the claim of its start to its end. A store keeps it in table `settings` under
 * `vm.run.<id>`, writes it in the transaction of the record's state, and never copies it to another database.
 */
export const VmRun = Schema.Struct({
  /** Given at the claim, so that the end of one run never ends another. */
  run_id: Schema.String,
  phase: Schema.Literal("starting", "running", "stopping"),
  vmm: VmmName,
  /** The host whose daemon runs the VM (setting `vm.host`). */
  host: Schema.String,
  /** `/proc/sys/kernel/random/boot_id`. */
  boot_id: Schema.String,
  /** `/proc/self/ns/pid`: pids of another namespace can't be looked up. */
  pid_namespace: Schema.String,
  /** The daemon that started or adopted the VM. */
  daemon: HostProcess,
  /** The VMM, once the guest runs. */
  process: Schema.optionalWith(HostProcess, { exact: true }),
  drives: Schema.Array(DriveIdentity)
})
export type VmRun = typeof VmRun.Type

/** The daemon that supervises a run. */
export type RunSupervisor = Pick<VmRun, "host" | "boot_id" | "pid_namespace" | "daemon">

/** A record and its run, from one transaction. */
export interface VmWithRun {
  readonly vm: Vm
  readonly run: VmRun | undefined
}

/** The columns of a record that a change may set; an `undefined` value clears the column. */
type Settable = Omit<Vm, "id" | "cid" | "created_at" | "updated_at" | "vmm">

/** A change of a record and its run. The store sets `updated_at`. */
export interface VmChange {
  readonly set: { readonly [K in keyof Settable]?: Settable[K] | undefined }
  /** The run after the change; `undefined` removes it. */
  readonly run: VmRun | undefined
}
