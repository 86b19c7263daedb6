import { spawnSync } from "node:child_process"
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { basename, join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { expect, it } from "vitest"
import type { Vm } from "../../src/domain/Vm.js"
import { startDaemon } from "../support/Daemon.js"
import { type Home, makeHome } from "../support/Home.js"
import { call } from "../support/HttpJson.js"
import { start } from "../support/Process.js"
import { programs } from "../support/Programs.js"
import { withDatabase } from "../support/Sqlite.js"
import { createVm, listVms } from "../support/VmCalls.js"
import { report, trials } from "./Report.js"

// This traces daemons with strace(1).
const noStrace = spawnSync("strace", ["-V"]).status !== 0

type AtEnd = (dispose: () => Promise<void>) => void

/** Starts a daemon under strace, which writes down every sync with the file's path. */
const startTraced = (home: Home, atEnd: AtEnd, more: ReadonlyArray<string> = []) => {
  const trace = join(home.path, "trace")
  const pidFile = join(home.path, "pid")
  const nexusd = ["sh", "-c", 'echo $$ > "$0"; exec "$@"', pidFile, process.execPath, programs.nexusd]
  const running = start(home, "strace", ["-f", "-y", "-o", trace, "-e", "trace=fsync,fdatasync", ...more, ...nexusd], {
    env: { NEXUS_API_LISTEN: "127.0.0.1:0" }
  })
  const signal = (name: NodeJS.Signals) => process.kill(Number(readFileSync(pidFile, "utf8")), name)
  let ended = false
  running.ended.then(() => {
    ended = true
  })
  // Without strace the daemon would go on.
  atEnd(async () => {
    if (!ended) signal("SIGKILL")
    await running.ended
  })
  return {
    ...running,
    signal,
    hasEnded: () => ended,
    trace: () => (existsSync(trace) ? readFileSync(trace, "latin1") : ""),
    /** Where it listens, once it does. */
    listening: async () => {
      for (;;) {
        const url = /listening on (http:\/\/[^\s",]+)/.exec(running.said.stderr)?.[1]
        if (url !== undefined) return { url }
        if (ended) throw new Error(`nexusd ended: ${running.said.stderr}`)
        await sleep(5)
      }
    }
  }
}

/** What became of each name; one that is in flight is missing here. */
type Acknowledged = Map<string, Vm | "gone">

/** The two files whose syncs count. SQLite rebuilds the -shm file from the log. */
interface Disk {
  readonly db: Buffer
  readonly wal: Buffer
}

const read = (path: string) => (existsSync(path) ? readFileSync(path) : Buffer.alloc(0))
const readLive = (path: string): Disk => ({ db: read(path), wal: read(`${path}-wal`) })

const write = (path: string, { db, wal }: Disk) => {
  rmSync(`${path}-shm`, { force: true })
  writeFileSync(path, db)
  writeFileSync(`${path}-wal`, wal)
}

/** Opens a simulated disk after the power loss; returns what is wrong. */
const afterPowerLoss = (folder: string, disk: Disk, acknowledged: Acknowledged, inFlight: ReadonlySet<string>) => {
  const path = join(folder, "nexus.db")
  write(path, disk)
  return withDatabase(path, (database) => {
    const wrong: Array<string> = []
    const integrity = JSON.stringify(database.prepare("PRAGMA integrity_check").all())
    if (integrity !== '[{"integrity_check":"ok"}]') wrong.push(integrity)
    const found = new Map(
      database
        .prepare("SELECT * FROM vms")
        .all()
        .map((row) => [row["name"], row])
    )
    for (const [name, vm] of acknowledged) {
      const row = found.get(name)
      if (vm === "gone" && row !== undefined) wrong.push(`the deleted ${name} is back`)
      if (vm === "gone" || (row === undefined && inFlight.has(name))) continue
      if (row?.["id"] !== vm.id || row["cid"] !== vm.cid) wrong.push(`the acknowledged ${name} is ${row?.["id"]}`)
    }
    for (const name of found.keys()) {
      if (!acknowledged.has(String(name)) && !inFlight.has(String(name))) wrong.push(`${name} came from nowhere`)
    }
    return wrong
  })
}

/** Of the writes since the last sync, only those before a random point in the file were done, and the last in part. */
const torn = (synced: Buffer, live: Buffer): Buffer => {
  let first = 0
  while (first < live.length && live[first] === synced[first]) first++
  const cut = first + Math.floor(Math.random() * (live.length - first + 1))
  return Buffer.concat([live.subarray(0, cut), synced.subarray(cut)])
}

/** Of the writes since the last sync, each sector was done or not, as a disk does that reorders them. */
const shuffled = (synced: Buffer, live: Buffer): Buffer => {
  const mixed = Buffer.alloc(Math.random() < 0.5 ? live.length : Math.max(live.length, synced.length))
  synced.copy(mixed)
  for (let at = 0; at < live.length; at += 512) if (Math.random() < 0.5) live.copy(mixed, at, at, at + 512)
  return mixed
}

const both = (disk: Disk, live: Disk, mix: (synced: Buffer, live: Buffer) => Buffer): Disk => ({
  db: mix(disk.db, live.db),
  wal: mix(disk.wal, live.wal)
})

it.skipIf(noStrace)(
  "nexusd syncs before every acknowledgement (strace)",
  { timeout: 120_000 },
  async ({ onTestFinished }) => {
    const creates = trials(1_000, 50)
    const home = makeHome(onTestFinished)
    const traced = startTraced(home, onTestFinished)
    const daemon = await traced.listening()
    const synced = () => traced.trace().match(/= 0$/gm)?.length ?? 0
    const before = synced()
    for (let at = 1; at <= creates; at++) {
      await createVm(daemon, `vm-${at}`)
      // strace writes a call down before it lets the daemon go on.
      if (at % 10 === 0) expect(synced() - before, `syncs after ${at} acknowledgements`).toBeGreaterThanOrEqual(at)
    }
    const syncs = synced() - before
    traced.signal("SIGTERM")
    await traced.ended
    report({
      promise: "6. acknowledged means kept",
      trials: `${creates} sequential creates under strace`,
      asserted: "no fewer fsync and fdatasync calls than acknowledgements, at any time",
      result: `${syncs} syncs`
    })
  }
)

// The model: a disk keeps, of each file, what the file held when its last sync returned, and of later writes any part or
// nothing. The daemon is stopped (SIGSTOP) as a sync returns, before it can act on it; what it has acknowledged by then
// must be on the disk whether this sync's writes reached it not at all, in part or wholly. What the model leaves out: a
// disk that lies about syncs, one that damages what it isn't writing, and a folder that forgets a file, since both files
// are there from the start.
it.skipIf(noStrace)(
  "nexusd keeps all it acknowledged when the power fails (strace)",
  { timeout: 300_000 },
  async (test) => {
    const samples = trials(200, 5)
    const home = makeHome(test.onTestFinished)
    const path = join(home.path, "state/nexus/nexus.db")
    const folder = join(home.path, "disk")
    mkdirSync(folder)
    const acknowledged: Acknowledged = new Map()
    const inFlight = new Set<string>()

    // A log just short of the 1,000 pages at which SQLite merges it into the database, which then happens as we watch.
    const first = await startDaemon(home)
    for (let at = 1; statSync(`${path}-wal`).size < 975 * 4_120; at++) {
      acknowledged.set(`old-${at}`, await createVm(first, `old-${at}`))
    }
    await first.stop("SIGKILL")

    let disk = readLive(path)
    const stops = { log: 0, database: 0, states: 0 }
    let sinceSync = 0
    const powerFails = (how: string, state: Disk) => {
      stops.states++
      const wrong = afterPowerLoss(folder, state, acknowledged, inFlight)
      expect(wrong, `power lost at sync ${stops.log + stops.database}, ${how}`).toEqual([])
    }
    const onSync = (file: string) => {
      const live = readLive(path)
      powerFails("no unsynced write done", disk)
      powerFails("unsynced writes cut off", both(disk, live, torn))
      powerFails("unsynced writes done in part", both(disk, live, shuffled))
      if (file === basename(path)) {
        stops.database++
        disk = { ...disk, db: live.db }
      } else if (file === `${basename(path)}-wal`) {
        stops.log++
        disk = { ...disk, wal: live.wal }
      }
      powerFails("synced writes done", disk)
      sinceSync = 0
    }

    const traced = startTraced(home, test.onTestFinished, ["-e", "inject=fsync,fdatasync:signal=SIGSTOP"])
    /** Looks on at every sync until the daemon has ended. */
    const watch = async () => {
      const files = new Map<string, string>()
      for (let seen = 0; !traced.hasEnded(); await sleep(1)) {
        const lines = traced.trace().split("\n").slice(0, -1)
        for (const line of lines.slice(seen)) {
          const [, thread = "", what = ""] = /^(\d+) +(.*)$/.exec(line) ?? []
          const file = /^f(?:data)?sync\(\d+<(.*)>/.exec(what)?.[1]
          if (file !== undefined) files.set(thread, basename(file))
          const synced = files.get(thread)
          if (synced === undefined || what !== "--- stopped by SIGSTOP ---") continue
          files.delete(thread)
          // What it has sent arrives meanwhile.
          await sleep(5)
          onSync(synced)
          traced.signal("SIGCONT")
        }
        seen = lines.length
      }
    }
    const watching = watch()

    const client = async (daemon: { readonly url: string }, who: number) => {
      for (let at = 1; stops.log < samples || stops.database === 0; at++) {
        if (sinceSync > 100) throw new Error(`${sinceSync} requests were acknowledged without a sync`)
        const old = at % 3 === 0 ? `vm-${who}-${at - 1}` : undefined
        const name = old ?? `vm-${who}-${at}`
        inFlight.add(name)
        if (old === undefined) acknowledged.set(name, await createVm(daemon, name))
        else {
          const { status } = await call(daemon, "DELETE", `/v1/vms/${name}`)
          expect(status).toBe(204)
          acknowledged.set(name, "gone")
        }
        inFlight.delete(name)
        sinceSync++
      }
    }
    const load = async () => {
      const daemon = await traced.listening()
      await Promise.all([1, 2, 3, 4].map((who) => client(daemon, who)))
      powerFails("all at rest", disk)
      traced.signal("SIGKILL")
    }
    await Promise.all([load(), watching])

    write(path, disk)
    const list = new Map((await listVms(await startDaemon(home))).map((vm) => [vm.name, vm]))
    for (const [name, vm] of acknowledged) expect(list.get(name)?.id).toBe(vm === "gone" ? undefined : vm.id)
    report({
      promise: "6. acknowledged means kept",
      trials: `power lost at each of ${stops.log} syncs of the log and ${stops.database} of the database`,
      asserted:
        "with unsynced writes dropped, cut off or done in part: nothing acknowledged missing, integrity_check ok",
      result: `${stops.states} states of the disk, 0 lost of ${acknowledged.size}`
    })
  }
)
