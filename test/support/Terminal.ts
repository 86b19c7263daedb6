import { existsSync } from "node:fs"
import type { Home } from "./Home.js"
import { type Options, type Running, start } from "./Process.js"

/** util-linux's, which runs a command on a terminal of its own. */
const script = "/usr/bin/script"

/** Whether tests can run a program on a terminal. */
export const hasTerminal = existsSync(script)

/** Starts a Node.js program on a terminal; all it prints is in `stdout`. A shell reads `line`. */
export const startOnTerminal = (home: Home, program: string, line: string, options: Options = {}): Running =>
  start(home, script, ["-q", "-e", "-c", `exec '${process.execPath}' '${program}' ${line}`, "/dev/null"], {
    ...options,
    env: { ...options.env, SHELL: "/bin/sh" }
  })
