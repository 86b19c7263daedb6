import type { Home } from "./Home.js"
import { type Options, type Running, start } from "./Process.js"
import { programs } from "./Programs.js"

/** Starts a command line of the shell, in which `"$NODE" "$NEXUSCTL"` and `"$NODE" "$NEXUSD"` run the programs. */
export const startShell = (home: Home, line: string, options: Options = {}): Running =>
  start(home, "sh", ["-c", line], {
    ...options,
    env: { NODE: process.execPath, NEXUSCTL: programs.nexusctl, NEXUSD: programs.nexusd, ...options.env }
  })
