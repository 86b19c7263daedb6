import { type ChildProcess, spawn } from "node:child_process"
import type { Environment, Home } from "./Home.js"

/** How a process ended, and all its output. */
export interface Result {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** A process that was started. */
export interface Running {
  readonly child: ChildProcess
  /** Its output so far. */
  readonly said: { readonly stdout: string; readonly stderr: string }
  readonly ended: Promise<Result>
}

export interface Options {
  readonly env?: Environment
  /** What it reads from stdin; `open` leaves stdin to the test. */
  readonly stdin?: "open" | { readonly text: string }
}

/** Starts any program in a home. */
export const start = (home: Home, command: string, args: ReadonlyArray<string>, options: Options = {}): Running => {
  const environment = Object.entries({ ...home.env, ...options.env }).filter(([, value]) => value !== undefined)
  const child = spawn(command, args, { cwd: home.path, env: Object.fromEntries(environment), stdio: "pipe" })
  home.children.add(child)
  const said = { stdout: "", stderr: "" }
  for (const name of ["stdout", "stderr"] as const) {
    child[name].setEncoding("utf8").on("data", (text: string) => {
      said[name] += text
    })
  }
  // A program may end before it has read its input.
  child.stdin.on("error", () => {})
  if (options.stdin !== "open") child.stdin.end(options.stdin?.text ?? "")
  const ended = new Promise<Result>((resolve, reject) => {
    child.once("error", reject)
    child.once("close", (code) => {
      home.children.delete(child)
      resolve({ code, ...said })
    })
  })
  return { child, said, ended }
}

/** Waits until a process has printed what matches. */
export const printedBy = ({ child, ended, said }: Running, stream: "stdout" | "stderr", pattern: RegExp) =>
  new Promise<void>((resolve, reject) => {
    const look = () => {
      if (pattern.test(said[stream])) resolve()
    }
    child[stream]?.on("data", look)
    look()
    ended.then(({ code, stderr }) => reject(new Error(`ended with ${code}: ${stderr}`)), reject)
  })
