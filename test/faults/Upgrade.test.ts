import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, watch } from "node:fs"
import { dirname, join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { expect, it, onTestFinished } from "vitest"
import { startDaemon } from "../support/Daemon.js"
import { type Home, makeHome } from "../support/Home.js"
import { type Running, start } from "../support/Process.js"
import { programs } from "../support/Programs.js"
import { withDatabase } from "../support/Sqlite.js"
import { listVms } from "../support/VmCalls.js"
import { isFull, report, trials } from "./Report.js"

const rounds = trials(50, 6)
const time = isFull ? 300_000 : 60_000
/** Enough rows that each step of an upgrade or a copy takes a while. */
const rows = 20_000

const begin = (home: Home, ...args: ReadonlyArray<string>): Running =>
  start(home, process.execPath, [programs.nexusd, ...args], { env: { NEXUS_API_LISTEN: "127.0.0.1:0" } })

/** The first sign, in a folder, that a process is at work. */
const signIn = (folder: string): Promise<void> =>
  new Promise((resolve) => {
    const watcher = watch(folder, () => {
      watcher.close()
      resolve()
    })
    onTestFinished(() => watcher.close())
  })

interface Undisturbed {
  readonly needed: number
  readonly untilSign: number
}

/** How long a process takes that is left alone, and after which time it begins to change a folder. */
const measure = async (folder: string, run: () => Promise<unknown>): Promise<Undisturbed> => {
  const began = performance.now()
  const sign = signIn(folder).then(() => performance.now() - began)
  await run()
  const needed = performance.now() - began
  return { needed, untilSign: await sign }
}

/** When to kill: every other moment is counted from the first sign, since most of the time goes by before that. */
const moments = ({ needed, untilSign }: Undisturbed) =>
  Array.from({ length: rounds }, (_, n) => {
    const isAtWork = n % 2 === 1
    const span = isAtWork ? needed - untilSign : needed
    return { isAtWork, ms: ((n + Math.random()) / rounds) * span * 1.1 }
  })
type Moment = ReturnType<typeof moments>[number]

/** Starts a process and kills it; says when. */
const killAt = async ({ isAtWork, ms }: Moment, folder: string, launch: () => Running): Promise<string> => {
  const sign = isAtWork ? signIn(folder) : undefined
  const { child, ended } = launch()
  if (sign !== undefined) await Promise.race([sign, ended])
  await sleep(ms)
  child.kill("SIGKILL")
  await ended
  const found = readdirSync(folder).join(" ")
  return `killed ${ms.toFixed(1)} ms after its ${isAtWork ? "first sign" : "start"}, which left ${found}`
}

/** What a file holds: its version and its rows, looked at as a copy, so that the next start meets what the kill left. */
const look = (home: Home, path: string) => {
  const copy = join(home.path, "looked-at", "nexus.db")
  rmSync(dirname(copy), { recursive: true, force: true })
  mkdirSync(dirname(copy), { recursive: true })
  for (const part of ["", "-wal", "-journal"]) if (existsSync(path + part)) copyFileSync(path + part, copy + part)
  return withDatabase(copy, (database) => {
    const [integrity] = database.prepare("PRAGMA integrity_check").all()
    const tables = database
      .prepare("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
      .all()
      .map(({ name }) => name)
    const first = (table: string, columns: string, condition = "true") =>
      tables.includes(table)
        ? database.prepare(`SELECT ${columns} FROM ${table} WHERE ${condition}`).all()[0]
        : undefined
    // nexusd keeps a setting of its own.
    const settings = first("settings", "count(*) AS n, coalesce(sum(length(value)), 0) AS bytes", "key LIKE 'key %'")
    return {
      integrity: integrity?.["integrity_check"],
      version: first("schema_meta", "value")?.["value"],
      tables: tables.join(),
      rows: settings?.["n"],
      bytes: settings?.["bytes"],
      vms: first("vms", "count(*) AS n")?.["n"] ?? 0
    }
  })
}

const fill = (table: string) => `
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rows})
  ${table}
`
const settingsRows = fill("INSERT INTO settings SELECT 'key ' || i, hex(zeroblob(30)), 'string' FROM n")

const old = { integrity: "ok", version: "1", tables: "hosts,schema_meta,settings", rows, bytes: rows * 60, vms: 0 }
const fresh = { integrity: "ok", version: "2", tables: "schema_meta,settings,vms", rows: 0, bytes: 0, vms: 0 }

const makeOld = (path: string) =>
  withDatabase(path, (database) =>
    database.exec(`
      CREATE TABLE schema_meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
      CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL, type TEXT NOT NULL);
      CREATE TABLE hosts (id INTEGER PRIMARY KEY, name TEXT);
      INSERT INTO schema_meta VALUES ('version', '1');
      ${settingsRows}
    `)
  )

/** A version 2 database with so many settings, and these many VMs, by SQLite alone. */
const makeNew = (path: string, template: string, vms: number) => {
  copyFileSync(template, path)
  withDatabase(path, (database) =>
    database.exec(`
      ${settingsRows};
      WITH RECURSIVE n(i) AS (SELECT 3 UNION ALL SELECT i + 1 FROM n WHERE i < ${vms + 2})
      INSERT INTO vms (id, name, role, state, cid) SELECT 'id-' || i, 'vm-' || i, 'work', 'created', i FROM n;
    `)
  )
  return { ...fresh, rows, bytes: rows * 60, vms }
}

const template = async (home: Home): Promise<string> => {
  const path = join(home.path, "template.db")
  await (await startDaemon(home, { args: ["--db", path] })).stop()
  return path
}

it(`an upgrade killed at ${rounds} moments leaves the old database or the new one`, { timeout: time }, async () => {
  const home = makeHome(onTestFinished)
  const folder = join(home.path, "state/nexus")
  const path = join(folder, "nexus.db")
  makeOld(join(home.path, "old.db"))
  const lay = () => {
    rmSync(folder, { recursive: true, force: true })
    mkdirSync(folder, { recursive: true })
    copyFileSync(join(home.path, "old.db"), path)
  }
  const kept = () => readdirSync(folder).filter((name) => name.endsWith(".bak"))

  lay()
  const undisturbed = await measure(folder, async () => (await startDaemon(home)).stop("SIGKILL"))

  const seen = { old: 0, new: 0, keptTwice: 0 }
  for (const moment of moments(undisturbed)) {
    lay()
    const say = await killAt(moment, folder, () => begin(home))
    const left = look(home, path)
    const wasOld = left.version === "1"
    seen[wasOld ? "old" : "new"]++
    expect(left, say).toEqual(wasOld ? old : fresh)
    // What is called a .bak is whole, and there is one before the old database goes.
    for (const name of kept()) expect(look(home, join(folder, name)), `${say}, ${name}`).toEqual(old)
    if (!wasOld) expect(kept(), say).toHaveLength(1)
    if (wasOld && kept().length > 0) seen.keptTwice++

    const daemon = await startDaemon(home)
    expect(await listVms(daemon), say).toEqual([])
    await daemon.stop()
    expect(look(home, path), say).toEqual(fresh)
    expect(kept(), `${say}; after the next start`).toHaveLength(1)
    for (const name of kept()) expect(look(home, join(folder, name)), `${say}, ${name}`).toEqual(old)
  }
  report({
    promise: "7. damage and shortage",
    trials: `${rounds} upgrades from version 1, killed at moments spread over ${undisturbed.needed.toFixed(0)} ms`,
    asserted: "version 1 whole, or version 2 whole beside one whole .bak; the next start ends with one .bak",
    result: `${seen.old} old, ${seen.new} new, 0 between; ${seen.keptTwice} killed between copy and commit`
  })
})

it("an upgrade killed between its copy and its commit keeps the old database once", { timeout: time }, async () => {
  const home = makeHome(onTestFinished)
  const folder = join(home.path, "state/nexus")
  makeOld(join(folder, "nexus.db"))
  // What such a kill leaves: the copy has its name, and the database is as it was. The next start may come at once.
  for (let ahead = -1; ahead < 4; ahead++) {
    const stamp = new Date(Date.now() + ahead * 1000).toISOString().replace(/[-:]|\.\d+/g, "")
    copyFileSync(join(folder, "nexus.db"), join(folder, `nexus.db.v1-${stamp}.bak`))
  }
  const daemon = await startDaemon(home)
  expect(await listVms(daemon)).toEqual([])
})

it(`a restore killed at ${rounds} moments leaves the old database or the new one`, { timeout: time }, async () => {
  const home = makeHome(onTestFinished)
  const folder = join(home.path, "state/nexus")
  const path = join(folder, "nexus.db")
  const [before, backup] = [join(home.path, "before.db"), join(home.path, "backup.db")]
  const empty = await template(home)
  const [mine, theirs] = [makeNew(before, empty, 40), makeNew(backup, empty, 70)]
  const lay = () => {
    rmSync(folder, { recursive: true, force: true })
    mkdirSync(folder, { recursive: true })
    copyFileSync(before, path)
  }
  lay()
  const undisturbed = await measure(folder, () => begin(home, "restore", backup).ended)

  const seen = { old: 0, new: 0 }
  const bytes = readFileSync(backup)
  for (const moment of moments(undisturbed)) {
    lay()
    const say = await killAt(moment, folder, () => begin(home, "restore", backup))
    const left = look(home, path)
    const wasOld = left.vms === mine.vms
    seen[wasOld ? "old" : "new"]++
    expect(left, say).toEqual(wasOld ? mine : theirs)
    const kept = () => readdirSync(folder).filter((name) => name.endsWith(".bak"))
    for (const name of kept()) expect(look(home, join(folder, name)), `${say}, ${name}`).toEqual(mine)
    if (!wasOld) expect(kept(), say).toHaveLength(1)
    expect(readFileSync(backup).equals(bytes), say).toBe(true)

    const daemon = await startDaemon(home)
    expect(await listVms(daemon), say).toHaveLength(Number(left.vms))
    await daemon.stop()
    if (!wasOld) continue
    expect(await begin(home, "restore", backup).ended, say).toMatchObject({ code: 0, stderr: "" })
    expect(look(home, path), say).toEqual(theirs)
  }
  report({
    promise: "8. backup",
    trials: `${rounds} restores, killed at moments spread over ${undisturbed.needed.toFixed(0)} ms`,
    asserted: "the old database whole or the new one whole, every .bak whole; it opens, and a restore goes through",
    result: `${seen.old} old, ${seen.new} new, 0 between`
  })
})

it(`a backup killed at ${rounds} moments has its final name only when complete`, { timeout: time }, async () => {
  const home = makeHome(onTestFinished)
  const [source, backup] = [join(home.path, "source.db"), join(home.path, "backup", "nexus.db")]
  const whole = makeNew(source, await template(home), 50)
  const run = () => begin(home, "--db", source, "backup", backup)
  mkdirSync(dirname(backup))
  const undisturbed = await measure(dirname(backup), () => run().ended)

  let finished = 0
  for (const moment of moments(undisturbed)) {
    rmSync(backup, { force: true })
    const say = await killAt(moment, dirname(backup), run)
    expect(look(home, source), say).toEqual(whole)
    if (existsSync(backup)) {
      finished++
      expect(look(home, backup), say).toEqual(whole)
    } else expect(await run().ended, say).toMatchObject({ code: 0, stderr: "" })
    expect(readdirSync(dirname(backup)).filter((name) => name === "nexus.db")).toHaveLength(1)
  }
  report({
    promise: "8. backup",
    trials: `${rounds} backups, killed at moments spread over ${undisturbed.needed.toFixed(0)} ms`,
    asserted: "a file under the final name is whole, else none is there and the next backup goes through",
    result: `${finished} finished, ${rounds - finished} not there, 0 partial`
  })
})
