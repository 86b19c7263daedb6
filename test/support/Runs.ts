import type { DriveIdentity, VmRun } from "../../src/domain/VmRun.js"
import type { Started } from "../../src/domain/VmTransition.js"
import { encodeRun, runKey } from "../../src/services/VmRunRow.js"

/** The claim of a start by the daemon of host `here`. */
export const claimOf = (run_id: string, more?: Partial<VmRun>): VmRun => ({
  run_id,
  phase: "starting",
  vmm: "firecracker",
  host: "here",
  boot_id: "boot-1",
  pid_namespace: "pid:[1]",
  daemon: { pid: 1, start_time: 1 },
  drives: [],
  ...more
})

/** A drive, which is known by its path. */
export const drive = (path: string, more?: Partial<DriveIdentity>): DriveIdentity => ({
  path,
  identity: `file:1:${path}`,
  is_writable: true,
  ...more
})

/** A VM that has been started on host `here`. */
export const startedAs = ({ pid = 4711, host = "here" } = {}): Started => ({
  process: { pid, start_time: 99 },
  socket_path: "/run/api.sock",
  uds_path: "/run/vsock.sock",
  console_log_path: "/log/console.log",
  started_at: 1500,
  host
})

const elsewhere = encodeRun(claimOf("elsewhere", { phase: "running", host: "elsewhere" }))

/** SQL that makes a VM one that another host runs. Without a run nexusd would look for its process, and end it. */
export const runElsewhere = (name: string): string => `
  UPDATE vms SET state = 'running' WHERE name = '${name}';
  INSERT INTO settings (key, value, type) SELECT '${runKey("")}' || id, '${elsewhere}', 'json' FROM vms WHERE name = '${name}'
`
