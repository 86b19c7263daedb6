import { spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { join } from "node:path"

/** The folder of all databases. Not /tmp, which may be memory, where durable writes are free. */
export const folder = mkdtempSync(join(process.env["TMPDIR"] ?? "/var/tmp", "nexus-bench-"))

/** @type {Set<import("node:child_process").ChildProcess>} */
const living = new Set()

// An aborted run leaves neither processes nor files.
process.on("exit", () => {
  for (const child of living) child.kill("SIGKILL")
  rmSync(folder, { recursive: true, force: true, maxRetries: 10 })
})
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => process.exit(130))

/** The environment of children, without the user's settings. */
export const environment = {
  PATH: process.env["PATH"],
  HOME: folder,
  XDG_CONFIG_HOME: join(folder, "config"),
  XDG_STATE_HOME: join(folder, "state")
}

/**
 * Starts a script under this Node.js.
 *
 * @param {ReadonlyArray<string>} args
 * @param {import("node:child_process").SpawnOptions} options
 */
export const startNode = (args, options) => {
  const child = spawn(process.execPath, args, { cwd: folder, ...options })
  living.add(child)
  child.once("exit", () => living.delete(child))
  return child
}
