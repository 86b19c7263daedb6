import type { Environment, Home } from "./Home.js"
import { type Result, type Running, start } from "./Process.js"
import { programs } from "./Programs.js"

export interface DaemonOptions {
  readonly args?: ReadonlyArray<string>
  readonly env?: Environment
  /** The text of its nexus.yaml. */
  readonly config?: string
}

const launch = (home: Home, { args = [], config, env }: DaemonOptions): Running => {
  if (config !== undefined) home.write("config/nexus/nexus.yaml", config)
  return start(home, process.execPath, [programs.nexusd, ...args], { env: { NEXUS_API_LISTEN: "127.0.0.1:0", ...env } })
}

/** A daemon that listens. */
export interface Daemon extends Running {
  /** `127.0.0.1:43210`, or `unix:/PATH`. */
  readonly address: string
  /** Of a TCP address. */
  readonly port: number
  /** `http://127.0.0.1:43210`, of a TCP address. */
  readonly url: string
  /** The lines of its log so far. */
  readonly log: () => ReadonlyArray<string>
  /** Sends a signal and waits for the end. */
  readonly stop: (signal?: NodeJS.Signals) => Promise<Result>
}

const addressIn = (log: string): string | undefined => /listening on (?:http:\/\/)?([^\s",]+)/.exec(log)?.[1]

/** Waits until a nexusd logs its address. */
export const listening = async (running: Running): Promise<Daemon> => {
  const address = await new Promise<string>((resolve, reject) => {
    running.child.stderr?.on("data", () => {
      const found = addressIn(running.said.stderr)
      if (found !== undefined) resolve(found)
    })
    running.ended.then(({ code, stderr }) => reject(new Error(`nexusd ended with ${code}: ${stderr}`)), reject)
  })
  return {
    ...running,
    address,
    port: Number(address.slice(address.lastIndexOf(":") + 1)),
    url: `http://${address}`,
    log: () => running.said.stderr.split("\n").filter((line) => line !== ""),
    stop: (signal = "SIGTERM") => {
      running.child.kill(signal)
      return running.ended
    }
  }
}

/** Starts nexusd, on a free port by default, and waits until it logs its address. */
export const startDaemon = (home: Home, options: DaemonOptions = {}): Promise<Daemon> =>
  listening(launch(home, options))

/** Runs nexusd to its end. Fails if it listens instead. */
export const runDaemon = async (home: Home, options: DaemonOptions = {}): Promise<Result> => {
  const running = launch(home, options)
  running.child.stderr?.on("data", () => {
    if (addressIn(running.said.stderr) !== undefined) running.child.kill("SIGKILL")
  })
  const result = await running.ended
  if (addressIn(result.stderr) !== undefined) throw new Error(`nexusd started: ${result.stderr}`)
  return result
}
