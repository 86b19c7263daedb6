import type { Home } from "./Home.js"
import { type Options, type Result, type Running, start } from "./Process.js"
import { programs } from "./Programs.js"

/** Starts nexusctl. */
export const startCli = (home: Home, args: ReadonlyArray<string>, options?: Options): Running =>
  start(home, process.execPath, [programs.nexusctl, ...args], options)

/** Runs nexusctl to its end. */
export const runCli = (home: Home, args: ReadonlyArray<string>, options?: Options): Promise<Result> =>
  startCli(home, args, options).ended

/** The result of a run that printed this and succeeded. */
export const printed = (stdout: string): Result => ({ code: 0, stdout, stderr: "" })

/** The result of a run that failed with this message. */
export const failed = (code: number, stderr: string): Result => ({ code, stdout: "", stderr })
