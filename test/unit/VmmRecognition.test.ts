import { type ChildProcess, spawn } from "node:child_process"
import { chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, readlinkSync, rmSync, unlinkSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest"
import type { VmmName } from "../../src/domain/VmRun.js"
import { hostProcess, isRunning, parseStat, thisProcess } from "../../src/services/vmm/HostProcesses.js"
import type { FoundProcess } from "../../src/services/vmm/Vmm.js"
import { vmmRecognition } from "../../src/services/vmm/VmmRecognition.js"
import { signalKill } from "../../src/services/vmm/WatchedProcess.js"

const id = "5a0d5b3e-0a57-4c2e-9c4e-2f7c39a3a1de"
const otherId = "00000000-0000-4000-8000-000000000000"

const pause = () => new Promise((resolve) => setTimeout(resolve, 5))

describe("recognition of VMMs", () => {
  let folder = ""
  const children = new Set<ChildProcess>()

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "nexus-recognition-"))
    chmodSync(folder, 0o755)
  })
  afterEach(() => {
    for (const child of children) child.kill("SIGKILL")
    children.clear()
  })
  afterAll(() => rmSync(folder, { recursive: true }))

  /** A shell under another name: it waits for input, whatever arguments follow. */
  const executable = (name: string) => {
    const path = join(folder, name)
    mkdirSync(join(path, ".."), { recursive: true })
    if (!existsSync(path)) copyFileSync("/bin/bash", path)
    return path
  }

  const run = (path: string, args: ReadonlyArray<string>, options: { argv0?: string; uid?: number } = {}) =>
    new Promise<number>((resolve, reject) => {
      const child = spawn(path, ["-c", "echo; read", ...args], { ...options, stdio: ["pipe", "pipe", "ignore"] })
      children.add(child)
      child.once("error", reject)
      child.stdout.once("data", () => resolve(child.pid ?? 0))
    })

  const recognition = (programs = {}) => vmmRecognition({ firecracker: "none", qemu: "none", ...programs })
  const find = (pid: number, programs = {}) =>
    recognition(programs)
      .scan()
      .find(({ process }) => process.pid === pid)

  const expected = (vmm: VmmName, pid: number): FoundProcess => ({
    id,
    vmm,
    process: { pid, start_time: expect.any(Number) }
  })

  it("a VMM is recognised by its executable and its id, in any case", async () => {
    const firecracker = await run(executable("firecracker"), ["--id", id.toUpperCase(), "--api-sock", "/x"])
    expect(find(firecracker)).toEqual(expected("firecracker", firecracker))
    const release = await run(executable("firecracker-v1.16.1-x86_64"), ["--id", id])
    expect(find(release)).toEqual(expected("firecracker", release))
    const qemu = await run(executable("qemu-system-x86_64"), ["-uuid", id])
    expect(find(qemu)).toEqual(expected("qemu", qemu))
  })

  it("a configured program is recognised under any name", async () => {
    const path = executable("my vmm")
    const pid = await run(path, ["--id", id])
    expect(find(pid)).toBeUndefined()
    expect(find(pid, { firecracker: path })).toEqual(expected("firecracker", pid))
  })

  it("a VMM whose program was replaced is recognised", async () => {
    const path = executable("upgraded/firecracker")
    const pid = await run(path, ["--id", id])
    unlinkSync(path)
    expect(find(pid)).toEqual(expected("firecracker", pid))
  })

  it("another executable is not, whatever its command line says", async () => {
    expect(find(await run(executable("shell"), ["--id", id], { argv0: "firecracker" }))).toBeUndefined()
  })

  it("a VMM without an id, or with one that is not a record's, is not", async () => {
    const path = executable("firecracker")
    for (const args of [[], ["--id"], ["--id", "anonymous-instance"], ["-uuid", id]]) {
      expect(find(await run(path, args))).toBeUndefined()
    }
  })

  it.skipIf(process.getuid?.() !== 0)("a VMM of another user is not", async () => {
    expect(find(await run(executable("firecracker"), ["--id", id], { uid: 65_534 }))).toBeUndefined()
  })

  it("a dead process that its parent does not wait for is not", async () => {
    const path = executable("firecracker")
    // `sleep` replaces the shell, and does not wait for its child.
    const script = `exec 3<&0; "$0" -c read --id ${id} <&3 & echo $!; exec sleep 100`
    const parent = spawn("/bin/bash", ["-c", script, path], { stdio: ["pipe", "pipe", "ignore"] })
    children.add(parent)
    const pid = await new Promise<number>((resolve) =>
      parent.stdout.once("data", (text) => resolve(Number.parseInt(text, 10)))
    )
    while (!readlinkSync(`/proc/${parent.pid}/exe`).endsWith("sleep")) await pause()
    while (find(pid) === undefined) await pause()
    process.kill(pid, "SIGKILL")
    while (hostProcess(pid) !== undefined) await pause()
    expect(() => process.kill(pid, 0)).not.toThrow()
    expect(find(pid)).toBeUndefined()
  })

  it("only the process that was found is killed", async () => {
    const pid = await run(executable("firecracker"), ["--id", id])
    const found = find(pid)
    if (found === undefined) throw new Error("found no process")
    const { start_time } = found.process
    const others: ReadonlyArray<FoundProcess> = [
      { ...found, id: otherId },
      { ...found, vmm: "qemu" },
      { ...found, process: { pid, start_time: start_time + 1 } },
      { ...found, process: { ...found.process, pid: process.pid } }
    ]
    for (const other of others) {
      expect(recognition().isStill(other)).toBe(false)
      signalKill(recognition(), other)
    }
    expect(isRunning(found.process)).toBe(true)
    signalKill(recognition(), found)
    while (isRunning(found.process)) await pause()
    expect(recognition().isStill(found)).toBe(false)
  })
})

describe("/proc/PID/stat", () => {
  it("a command's name may hold spaces and parentheses", () => {
    const rest = Array.from({ length: 50 }, (_, index) => index + 4).join(" ")
    expect(parseStat(`7 (a) R (b)) S ${rest}\n`)).toEqual({ state: "S", startTime: 22 })
  })

  it("this process runs; with another start time it is another one", () => {
    const self = thisProcess()
    expect(hostProcess(process.pid)).toEqual(self)
    expect(isRunning(self)).toBe(true)
    expect(isRunning({ ...self, start_time: self.start_time + 1 })).toBe(false)
  })
})
