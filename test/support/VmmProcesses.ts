import { readdirSync, readFileSync } from "node:fs"
import type { Home } from "./Home.js"

/** A VMM process that was started in a home. */
export interface VmmProcess {
  readonly pid: number
  /** Its arguments, the program's name first. */
  readonly args: ReadonlyArray<string>
  /** The id of its VM. */
  readonly id: string
}

const argsOf = (pid: string): ReadonlyArray<string> => {
  try {
    // The state of a process that is dead and not reaped is Z; its command line is empty.
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0")
  } catch {
    return []
  }
}

/**
 * The VMMs of a home, also those whose nexusd is gone: their command line has the path of a socket under the home. Read from
 * /proc by other means than nexusd's.
 */
export const vmmProcesses = ({ path }: Pick<Home, "path">): ReadonlyArray<VmmProcess> =>
  readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => ({ pid: Number(pid), args: argsOf(pid) }))
    .filter(({ args }) => args.some((arg) => arg.includes(`${path}/`)))
    .flatMap(({ args, pid }) => {
      const id = args[args.findIndex((arg) => arg === "--id" || arg === "-uuid") + 1]
      return args.includes("--id") || args.includes("-uuid") ? [{ pid, args, id: id ?? "" }] : []
    })

/** Kills the VMMs of a home. */
export const killVmms = (home: Pick<Home, "path">): void => {
  for (const { pid } of vmmProcesses(home)) {
    try {
      process.kill(pid, "SIGKILL")
    } catch {
      // It has ended meanwhile.
    }
  }
}
