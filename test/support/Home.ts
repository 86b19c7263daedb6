import type { ChildProcess } from "node:child_process"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { killVmms } from "./VmmProcesses.js"

/** A variable that is set to `undefined` is removed. */
export type Environment = Readonly<Record<string, string | undefined>>

/** vitest's `afterAll`, or a test's `onTestFinished`: runs when that ends, however it ends. */
export type AtEnd = (dispose: () => Promise<void>) => void

/** The home folder of a user, and the processes started in it. */
export interface Home {
  readonly path: string
  readonly env: Environment
  readonly children: Set<ChildProcess>
  /** Writes a file under the home folder and returns its path. */
  readonly write: (name: string, content: string | Uint8Array) => string
}

const homes = new Set<Home>()
// An aborted run calls no `atEnd`.
process.on("exit", () => {
  for (const { children, path } of homes) {
    for (const child of children) child.kill("SIGKILL")
    killVmms({ path })
    rmSync(path, { recursive: true, force: true })
  }
})

const kill = (child: ChildProcess) =>
  new Promise((resolve) => {
    child.once("close", resolve)
    child.kill("SIGKILL")
  })

/** Makes a home in a temporary folder. At the end its processes and VMs are killed and the folder is removed. */
export const makeHome = (atEnd: AtEnd): Home => {
  const path = mkdtempSync(join(tmpdir(), "nexus-home-"))
  const home: Home = {
    path,
    children: new Set(),
    env: {
      PATH: process.env["PATH"],
      LANG: "C.UTF-8",
      TZ: "UTC",
      HOME: path,
      XDG_CONFIG_HOME: join(path, "config"),
      XDG_STATE_HOME: join(path, "state")
    },
    write: (name, content) => {
      const file = join(path, name)
      mkdirSync(dirname(file), { recursive: true })
      writeFileSync(file, content)
      return file
    }
  }
  homes.add(home)
  atEnd(async () => {
    await Promise.all(Array.from(home.children, kill))
    killVmms(home)
    rmSync(path, { recursive: true, force: true, maxRetries: 5 })
    homes.delete(home)
  })
  return home
}
