import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { Vm } from "../domain/Vm.js"
import { type DriveIdentity, type RunSupervisor, VmRun, type VmWithRun } from "../domain/VmRun.js"
import { toVm } from "./VmRow.js"

/** Keys of the runs in table `settings`. */
const prefix = "vm.run."

/** The key of the UUID that names a database. */
export const databaseIdKey = "database.id"

/** The key of a VM's run. */
export const runKey = (id: string) => prefix + id

/** SQL condition: a row of `settings` is a run. A range, which an index finds; `/` follows `.` in every byte order. */
export const isRun = `key >= '${prefix}' AND key < '${prefix.slice(0, -1)}/'`
/** SQL expression: the id of the record whose run a row of `settings` is. */
export const runId = `substr(key, ${prefix.length + 1})`
/** SQL query: the ids of the records whose runs meet a condition on `value`. */
export const runIdsWhere = (condition: string): string =>
  `SELECT ${runId} FROM settings WHERE ${isRun} AND (${condition})`
/** SQL query: the ids of the records that have a run, or whose state is `running`. */
export const runningIds = `SELECT id FROM vms WHERE state = 'running' UNION ${runIdsWhere("true")}`
/** SQL expression: the run of a row of `vms`, or NULL. */
export const runValue = `(SELECT value FROM settings WHERE key = '${prefix}' || vms.id)`

// A newer nexusd's fields are kept.
const decode = Schema.decodeUnknownOption(Schema.parseJson(VmRun), { onExcessProperty: "preserve" })

/**
 * A run that this version can't read. It blocks every change of its VM, as a run of another host: only `loseHost` ends it.
 * Failing would keep all other VMs from being started.
 */
const unreadable = (id: string): VmRun => ({
  run_id: "",
  phase: "starting",
  vmm: "firecracker",
  host: `unknown, since nexusd can't read the setting ${runKey(id)}`,
  boot_id: "",
  pid_namespace: "",
  daemon: { pid: 0, start_time: 0 },
  drives: []
})

/** The text that a run with this drive contains. */
export const driveText = ({ identity }: DriveIdentity): string => JSON.stringify(identity)

/** The text that the runs of that daemon contain: the fields stand in the order of `VmRun`. */
export const supervisorText = ({ boot_id, daemon, host, pid_namespace }: RunSupervisor): string =>
  JSON.stringify({ host, boot_id, pid_namespace, daemon }).slice(1, -1)

export const encodeRun = (run: VmRun): string => JSON.stringify(run)

/** Reads the run of a record from its row. */
export const decodeRun = (id: string, value: unknown): VmRun | undefined =>
  value === null || value === undefined ? undefined : Option.getOrElse(decode(value), () => unreadable(id))

/** A record, which shows its VMM while it runs, and its run. */
export const withRun = (vm: Vm, run: VmRun | undefined): VmWithRun => ({
  vm: toVm({ ...vm, vmm: vm.state === "running" ? run?.vmm : undefined }),
  run
})
