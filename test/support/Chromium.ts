import { spawn, spawnSync } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { AtEnd } from "./Home.js"

export const hasChromium = spawnSync("chromium", ["--version"]).status === 0

const flags = [
  "headless",
  "no-sandbox",
  "no-proxy-server",
  "disable-gpu",
  "disable-quic",
  "no-first-run",
  "disable-background-networking",
  "disable-component-update",
  "disable-sync",
  "enable-logging=stderr",
  // The name of a page whose owner points it at this machine: DNS rebinding.
  "host-resolver-rules=MAP evil.example 127.0.0.1"
]

/** Opens a page in a browser of its own, which runs until it is stopped; with `dump-dom` it prints the page and ends. */
export const openPage = (url: string, atEnd: AtEnd, ...more: ReadonlyArray<string>) => {
  const profile = mkdtempSync(join(tmpdir(), "nexus-chromium-"))
  const options = [...flags, ...more, `user-data-dir=${profile}`].map((flag) => `--${flag}`)
  const child = spawn("chromium", [...options, url], {
    // A group of its own, so that the processes it starts end with it.
    detached: true,
    env: { PATH: process.env["PATH"], HOME: profile, TMPDIR: profile },
    stdio: ["ignore", "pipe", "pipe"]
  })
  const said = { stdout: "", stderr: "" }
  for (const name of ["stdout", "stderr"] as const) {
    child[name].setEncoding("utf8").on("data", (text: string) => {
      said[name] += text
    })
  }
  const ended = new Promise<typeof said>((resolve) => child.once("close", () => resolve(said)))
  const stop = async () => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL")
    } catch {
      // It has ended by itself.
    }
    await ended
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 })
  }
  atEnd(stop)
  return { ended, stop }
}
