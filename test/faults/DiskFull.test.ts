import { spawnSync } from "node:child_process"
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { describe, expect, it, onTestFinished } from "vitest"
import { type Daemon, runDaemon, startDaemon } from "../support/Daemon.js"
import { type Home, makeHome } from "../support/Home.js"
import { call } from "../support/HttpJson.js"
import { start } from "../support/Process.js"
import { programs } from "../support/Programs.js"
import { withDatabase } from "../support/Sqlite.js"
import { createVm, listVms } from "../support/VmCalls.js"
import { isFull, report, trials } from "./Report.js"

const rounds = trials(100, 3)
const promise = "7. damage and shortage"

const run = (command: string, ...args: ReadonlyArray<string>): boolean => spawnSync(command, args).status === 0
const mount = (path: string, size: string) => run("mount", "-t", "tmpfs", "-o", `size=${size}`, "tmpfs", path)
const canMount = (() => {
  const path = mkdtempSync(join(tmpdir(), "nexus-mount-"))
  const isMounted = mount(path, "1m") && run("umount", path)
  rmdirSync(path)
  return isMounted
})()
const canLimit = run("prlimit", "--version")

/** Skipped by name, and counted. */
const itNeeds = (isThere: boolean, what: string) => (name: string, body: () => Promise<void>) => {
  if (!isThere) report({ promise, trials: name, asserted: "skipped", result: `skipped: needs ${what}` })
  it.skipIf(!isThere)(isThere ? name : `${name} (needs ${what})`, { timeout: isFull ? 600_000 : 60_000 }, body)
}
const onDisk = itNeeds(canMount, "the right to mount a tmpfs")

const disk = (home: Home, size: string): string => {
  const path = join(home.path, "disk")
  mkdirSync(path)
  expect(mount(path, size)).toBe(true)
  onTestFinished(() => void run("umount", "-l", path))
  return path
}
const freeOn = (path: string): number => {
  const { bavail, bsize } = statfsSync(path)
  return bavail * bsize
}

/** Creates on four lines until one is refused; returns the acknowledged names. */
const createUntilFull = async (daemon: Daemon, prefix: string): Promise<ReadonlyArray<string>> => {
  const acknowledged: Array<string> = []
  let isFull = false
  const lines = [0, 1, 2, 3].map(async (line) => {
    for (let n = 0; !isFull && n < 1000; n++) {
      const name = `${prefix}-${line}-${n}`
      const { body, status } = await call(daemon, "POST", "/v1/vms", { name })
      if (status === 201) acknowledged.push(name)
      else {
        expect({ status, body }).toMatchObject({ status: 503, body: { error: "no space is left for the database" } })
        isFull = true
      }
    }
  })
  await Promise.all(lines)
  expect(isFull).toBe(true)
  return acknowledged
}
const nexusd = (home: Home, args: ReadonlyArray<string>, env: Readonly<Record<string, string>> = {}) =>
  start(home, process.execPath, [programs.nexusd, ...args], { env }).ended
const namesOf = async (daemon: Daemon) => (await listVms(daemon)).map(({ name }) => name).sort()
const integrity = (path: string) =>
  withDatabase(path, (database) => database.prepare("PRAGMA integrity_check").all()[0]?.["integrity_check"])

const healthOf = async (daemon: Daemon) => (await call(daemon, "GET", "/v1/health")).status

/** Reads of every kind are answered. */
const expectReads = async (daemon: Daemon, names: ReadonlyArray<string>, say: string) => {
  expect(await namesOf(daemon), say).toEqual(Array.from(names).sort())
  expect(await call(daemon, "GET", `/v1/vms/${names[0]}`), say).toMatchObject({ status: 200, body: { name: names[0] } })
}

describe("a full disk", () => {
  onDisk(`${rounds} times over, loses nothing, and serves again when there is space`, async () => {
    const home = makeHome(onTestFinished)
    const folder = disk(home, "2m")
    const ballast = join(folder, "ballast")
    let acknowledgements = 0
    for (let round = 0; round < rounds; round++) {
      const path = join(folder, `nexus-${round}`, "nexus.db")
      const options = { args: ["--db", path] }
      const daemon = await startDaemon(home, options)
      const first = await createVm(daemon, "first")
      const left = 32_768 + Math.floor(Math.random() * 700_000)
      const say = `round ${round}, ${left} bytes left`
      writeFileSync(ballast, Buffer.alloc(freeOn(folder) - left, 0xa5))
      const names = ["first", ...(await createUntilFull(daemon, "full"))]
      await expectReads(daemon, names, say)
      expect((await call(daemon, "DELETE", "/v1/vms/missing")).status, say).toBe(404)
      // A checkpoint may have freed space by now: health says whether a create succeeds.
      for (let n = 0; n < 5; n++) {
        const health = await healthOf(daemon)
        const { status } = await call(daemon, "POST", "/v1/vms", { name: `probe-${n}` })
        expect([health, status], say).toEqual(status === 201 ? [200, 201] : [503, 503])
        if (status === 201) names.push(`probe-${n}`)
      }

      const isKilled = round % 2 === 1
      if (isKilled) await daemon.stop("SIGKILL")
      rmSync(ballast)
      const next = isKilled ? await startDaemon(home, options) : daemon
      await expectReads(next, names, say)
      expect(await healthOf(next), say).toBe(200)
      await createVm(next, "after")
      expect((await call(next, "DELETE", `/v1/vms/${first.id}`)).status, say).toBe(204)
      const kept = [...names.slice(1), "after"].sort()
      expect(await namesOf(next), say).toEqual(kept)
      expect((await next.stop()).code, say).toBe(0)
      expect(integrity(path), say).toBe("ok")
      const again = await startDaemon(home, options)
      expect(await namesOf(again), say).toEqual(kept)
      await again.stop()
      rmSync(dirname(path), { recursive: true })
      acknowledgements += names.length
    }
    report({
      promise,
      trials: `${rounds} times a full disk, every other one with kill -9 while it is full`,
      asserted:
        "503 in JSON, reads go on, health says whether writes do, list equals what was acknowledged, writes work once there is space, sound",
      result: `${acknowledgements} acknowledged, 0 lost`
    })
  })

  onDisk("is not of the daemon's own making: its log gives way to records", async () => {
    const home = makeHome(onTestFinished)
    const folder = disk(home, "5m")
    const daemon = await startDaemon(home, { args: ["--db", join(folder, "db", "nexus.db")] })
    const reserve = join(folder, "reserve")
    writeFileSync(reserve, Buffer.alloc(262_144))
    const names = await createUntilFull(daemon, "own")
    await expectReads(daemon, names, "full")
    rmSync(reserve)
    // 50 records are some 20 KB.
    for (let n = 0; n < 50; n++) await createVm(daemon, `after-${n}`)
    expect(names.length).toBeGreaterThan(500)
  })

  onDisk("at the start is one clear line, and the file is as it was", async () => {
    const home = makeHome(onTestFinished)
    const folder = disk(home, "1m")
    const path = join(folder, "nexus.db")
    writeFileSync(join(folder, "ballast"), Buffer.alloc(freeOn(folder)))
    const { code, stderr } = await runDaemon(home, { args: ["--db", path] })
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(/^Error: [^\n]*nexus\.db[^\n]*\n$/) })
    // An empty file that was there is not ours yet.
    rmSync(path, { force: true })
    writeFileSync(path, "", { mode: 0o644 })
    expect((await runDaemon(home, { args: ["--db", path] })).code).toBe(1)
    expect(readdirSync(folder).sort()).toEqual(["ballast", "nexus.db"])
    expect([(statSync(path).mode & 0o777).toString(8), statSync(path).size]).toEqual(["644", 0])
    rmSync(join(folder, "ballast"))
    await createVm(await startDaemon(home, { args: ["--db", path] }), "web")
  })

  onDisk("fails a backup in one line, and leaves nothing of it", async () => {
    const home = makeHome(onTestFinished)
    const folder = disk(home, "1m")
    await createVm(await startDaemon(home), "web")
    writeFileSync(join(folder, "ballast"), Buffer.alloc(freeOn(folder) - 8192))
    const { code, stderr } = await nexusd(home, ["backup", join(folder, "backup.db")])
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringMatching(/^Error: [^\n]*backup\.db[^\n]*full[^\n]*\n$/)
    })
    expect(readdirSync(folder)).toEqual(["ballast"])
  })

  onDisk("where a copy is to be checked is one clear line", async () => {
    const home = makeHome(onTestFinished)
    const folder = disk(home, "1m")
    const daemon = await startDaemon(home)
    await createVm(daemon, "web")
    await daemon.stop("SIGKILL")
    // Without its index the log is read from a copy.
    rmSync(join(home.path, "state/nexus/nexus.db-shm"))
    writeFileSync(join(folder, "ballast"), Buffer.alloc(freeOn(folder) - 4096))
    const { code, stderr } = await nexusd(home, ["check"], { TMPDIR: folder })
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringMatching(/^Error: [^\n]*nexus\.db[^\n]*ENOSPC[^\n]*\n$/)
    })
    expect(stderr).toContain(folder)
    expect(readdirSync(folder)).toEqual(["ballast"])
  })
})

describe("a database that can't be written", () => {
  const readOnlyPlaces: ReadonlyArray<readonly [what: string, bind: (path: string) => string]> = [
    ["file", (path) => path],
    ["folder", dirname]
  ]
  for (const [what, place] of readOnlyPlaces) {
    onDisk(`in a read-only ${what} is one clear line at the start, and nothing is changed`, async () => {
      const home = makeHome(onTestFinished)
      const path = join(home.path, "db", "nexus.db")
      const first = await startDaemon(home, { args: ["--db", path] })
      await createVm(first, "web")
      await first.stop()
      const before = readFileSync(path)
      const bound = place(path)
      expect(run("mount", "--bind", bound, bound)).toBe(true)
      onTestFinished(() => void run("umount", "-l", bound))
      expect(run("mount", "-o", "remount,bind,ro", bound)).toBe(true)
      const { code, stderr } = await runDaemon(home, { args: ["--db", path] })
      expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(/^Error: [^\n]*nexus\.db[^\n]*\n$/) })
      expect(stderr).toMatch(/read-only|permi/i)
      expect(readFileSync(path).equals(before)).toBe(true)
      expect(readdirSync(dirname(path)).filter((name) => !/-(shm|wal)$/.test(name))).toEqual(["nexus.db"])
      expect(await start(home, process.execPath, [programs.nexusd, "check", "--db", path]).ended).toMatchObject({
        code: 0,
        stdout: expect.stringContaining("(1 VMs)")
      })
      run("umount", bound)
      expect(await namesOf(await startDaemon(home, { args: ["--db", path] }))).toEqual(["web"])
    })
  }

  onDisk("in a folder that can't be made is one clear line", async () => {
    const home = makeHome(onTestFinished)
    const folder = disk(home, "1m")
    expect(run("mount", "-o", "remount,ro", folder)).toBe(true)
    const { code, stderr } = await runDaemon(home, { args: ["--db", join(folder, "new", "nexus.db")] })
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(/^Error: [^\n]*nexus\.db[^\n]*\n$/) })
  })

  // The kernel remounts nothing read-only while a file on it is open for writing; a limit refuses the same writes.
  itNeeds(canLimit, "prlimit")("any more serves reads, refuses changes with 503, and recovers", async () => {
    const home = makeHome(onTestFinished)
    const daemon = await startDaemon(home)
    const names: Array<string> = []
    for (let round = 0; round < trials(20, 3); round++) {
      names.push((await createVm(daemon, `before-${round}`)).name)
      expect(run("prlimit", "--pid", String(daemon.child.pid), "--fsize=1024:unlimited")).toBe(true)
      for (let n = 0; n < 3; n++) {
        expect(await call(daemon, "POST", "/v1/vms", { name: `no-${n}` })).toMatchObject({
          status: 503,
          body: { error: expect.any(String) }
        })
        expect((await call(daemon, "DELETE", `/v1/vms/${names[0]}`)).status).toBe(503)
        await expectReads(daemon, names, "refused")
        expect(await healthOf(daemon)).toBe(503)
      }
      expect(run("prlimit", "--pid", String(daemon.child.pid), "--fsize=unlimited:unlimited")).toBe(true)
      expect(await healthOf(daemon)).toBe(200)
      names.push((await createVm(daemon, `after-${round}`)).name)
    }
    await daemon.stop("SIGKILL")
    expect(await namesOf(await startDaemon(home))).toEqual(names.sort())
    report({
      promise,
      trials: `${trials(20, 3)} times every write of a running daemon refused by the kernel`,
      asserted: "reads go on, changes and health are 503, and both are well again without a restart",
      result: `${names.length} acknowledged, 0 lost`
    })
  })
})
