import type { Home } from "./Home.js"
import { type Options, type Result, type Running, start } from "./Process.js"
import { programs } from "./Programs.js"

/** Starts nexusctl. */
export const startCli = (home: Home, args: ReadonlyArray<string>, options?: Options): Running =>
  start(home, process.execPath, [programs.nexusctl, ...args], options)

/** Runs nexusctl to its end. */
export const runCli = (home: Home, args: ReadonlyArray<string>, options?: Options): Promise<Result> =>
  startCli(home, args, options).ended
