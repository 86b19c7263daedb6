import { execFileSync } from "node:child_process"
import { randomUUID } from "node:crypto"
import { existsSync, readFileSync, rmSync } from "node:fs"
import { request } from "node:http"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { drive } from "./drive.mjs"
import { cpuTime, memory } from "./proc.mjs"
import { environment, folder } from "./processes.mjs"
import { startRawVm } from "./raw-vm.mjs"
import { createRequests, getRequests } from "./requests.mjs"
import { seed } from "./seed.mjs"
import { fetchText, startNexusd } from "./servers.mjs"
import { alternate, figure, median, spread } from "./statistics.mjs"

const kernel = fileURLToPath(new URL("../test/guest/guest.elf", import.meta.url))
/** The guest prints its line and halts: it costs no CPU from then on. */
const guest = { kernel, bootArgs: "guest=deaf", memory: 128 }
const settings = {
  NEXUS_VM_VMM: "firecracker",
  NEXUS_VM_KERNEL_IMAGE: kernel,
  NEXUS_VM_BOOT_ARGS: guest.bootArgs
}
const vms = join(environment.XDG_STATE_HOME, "nexus", "vms")

/** Whether this machine runs the guest under Firecracker. */
export const hasFirecracker = () => {
  try {
    execFileSync("firecracker", ["--version"], { stdio: "ignore" })
    return existsSync("/dev/kvm")
  } catch {
    return false
  }
}

const killAll = () => {
  try {
    execFileSync("pkill", ["-KILL", "-f", `firecracker.*${folder}`])
  } catch {
    // None was left.
  }
}

/**
 * @param {number} port
 * @param {string} path
 * @param {object} [body]
 * @returns {Promise<unknown>}
 */
const post = (port, path, body) =>
  new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { "content-type": "application/json" }
    const sent = request({ port, path, method: "POST", agent: false, headers }, (response) => {
      let text = ""
      response.setEncoding("utf8").on("data", (part) => {
        text += part
      })
      response.once("end", () =>
        response.statusCode === 200 ? resolve(JSON.parse(text)) : reject(new Error(`${path}: ${text}`))
      )
    })
    sent.once("error", reject)
    sent.end(body === undefined ? undefined : JSON.stringify(body))
  })

/**
 * @param {number} port
 * @param {string} query
 * @returns {Promise<Array<string>>}
 */
const listIds = async (port, query = "") => {
  const list = JSON.parse(await fetchText(port, `/v1/vms${query}`))
  return list.map((/** @type {{ id: string }} */ { id }) => id)
}

/** @param {string} log */
const awaitFirstLine = async (log) => {
  for (;;) {
    if (existsSync(log) && readFileSync(log, "latin1").includes("\n")) return
    await sleep(1)
  }
}

/** @param {() => Promise<unknown>} work */
const timed = async (work) => {
  const begun = performance.now()
  await work()
  return performance.now() - begun
}

/**
 * Starts one VM by its name through the API, and waits for the guest's first line.
 *
 * @param {import("./servers.mjs").Server} server
 * @param {string} id
 */
const startVm = async ({ port }, id) => {
  const log = join(vms, id, "console.log")
  rmSync(log, { force: true })
  await Promise.all([post(port, `/v1/vms/${id}/start`), awaitFirstLine(log)])
}

let raw = 0
const startRaw = async () => {
  const own = join(folder, `raw-${++raw}`)
  await startRawVm(own, { ...guest, id: randomUUID(), cid: 3 })
  await awaitFirstLine(join(own, "console.log"))
}

/** @param {import("./scale.mjs").Scale["vms"]} scale */
const measureStarts = async ({ rounds, together, warm }) => {
  const server = await startNexusd(seed(together), [], settings)
  const ids = await listIds(server.port)
  const [one = ""] = ids
  const times = await alternate(warm + rounds, {
    nexus: async () => {
      const time = await timed(() => startVm(server, one))
      await post(server.port, `/v1/vms/${one}/stop`, { force: true })
      return time
    },
    raw: async () => {
      const time = await timed(startRaw)
      killAll()
      return time
    }
  })
  const [nexus, bare] = [times.nexus.slice(warm), times.raw.slice(warm)]
  const all = await alternate(1, {
    nexus: () =>
      timed(async () => {
        await Promise.all(ids.map((id) => post(server.port, `/v1/vms/${id}/start`)))
        for (const id of ids) await awaitFirstLine(join(vms, id, "console.log"))
      }),
    raw: () =>
      timed(async () => {
        for (const _ of ids) await startRaw()
      })
  })
  killAll()
  await server.stop()
  return [
    {
      path: "`POST start` to the guest's first line",
      nexus: `${figure(median(nexus))} ms`,
      against: `bare script ${figure(median(bare))} ms`,
      value: median(nexus) / median(bare),
      goal: { atMost: 1.6 },
      details: `The ratio went ${spread(nexus, bare)}.`
    },
    {
      path: `${together} VMs started at once`,
      nexus: `${figure(median(all.nexus) / 1000)} s`,
      against: `bare script, one after the other, ${figure(median(all.raw) / 1000)} s`,
      value: median(all.nexus) / median(all.raw),
      goal: { atMost: 1 },
      details: "Measured once."
    }
  ]
}

/** Clients that start VMs at once: fewer than the connections that nexusd accepts. */
const starters = 64

/** @param {import("./scale.mjs").Scale["vms"]} scale */
const measureRunning = async ({ idleMillis, idleRounds, running }) => {
  const database = seed(running)
  const server = await startNexusd(database, [], settings)
  await sleep(2_000)
  const before = memory(server.pid)
  const ids = (await listIds(server.port)).values()
  await Promise.all(
    Array.from({ length: starters }, async () => {
      for (const id of ids) await post(server.port, `/v1/vms/${id}/start`)
    })
  )
  await sleep(5_000)
  const each = (memory(server.pid) - before) / running / 1024
  // V8 collects what the starts have left some time after them.
  const { idle } = await alternate(idleRounds, {
    idle: async () => {
      const used = cpuTime(server.pid)
      await sleep(idleMillis)
      return ((cpuTime(server.pid) - used) / idleMillis) * 100
    }
  })
  await server.stop()
  const again = await startNexusd(database, [], settings)
  const { readyAfter } = again
  const adopted = await listIds(again.port, "?state=running")
  if (adopted.length !== running) throw new Error(`${adopted.length} of ${running} VMs were adopted`)
  killAll()
  await again.stop()
  const count = running.toLocaleString("en")
  return [
    {
      path: `CPU of the idle daemon, ${count} VMs running`,
      nexus: `${figure(median(idle))}%`,
      against: "one core",
      value: median(idle),
      unit: "%",
      goal: { atMost: 0.5 },
      details: `${idleRounds} times ${idleMillis / 1000} s, one after the other; the highest is ${figure(Math.max(...idle))}%.`
    },
    {
      path: `memory (RSS) for each of ${count} running VMs`,
      nexus: `${figure(each)} KiB`,
      against: "the daemon before they were started",
      value: each,
      unit: " KiB",
      goal: { atMost: 100 },
      details: "Five seconds after the last start."
    },
    {
      path: `restart to ready, ${count} VMs adopted`,
      nexus: `${figure(readyAfter / 1000)} s`,
      against: "",
      value: readyAfter / 1000,
      unit: " s",
      goal: { atMost: 2 },
      details: "From the start of the process to its first answer."
    }
  ]
}

/**
 * @param {import("./scale.mjs").Scale["vms"]} scale
 * @param {import("./generator.mjs").Generator} generator
 */
const measureCalls = async ({ callRounds, creates, gets, beside }, generator) => {
  const servers = {
    running: await startNexusd(seed(1_000), [], settings),
    none: await startNexusd(seed(1_000), [], settings)
  }
  const ids = (await listIds(servers.running.port)).slice(0, beside)
  await Promise.all(ids.map((id) => post(servers.running.port, `/v1/vms/${id}/start`)))
  /** @param {import("./servers.mjs").Server} server */
  const get = (server) =>
    drive(generator, server, { connections: 32, requests: getRequests(1_000), status: 200, count: gets })
  /** @param {import("./servers.mjs").Server} server */
  const create = (server) =>
    drive(generator, server, { connections: 32, requests: createRequests(creates).creates, status: 201 })
  for (const server of Object.values(servers)) {
    await get(server)
    await create(server)
  }
  const contenders = { running: () => get(servers.running), none: () => get(servers.none) }
  const got = await alternate(callRounds, contenders)
  const made = await alternate(callRounds, {
    running: () => create(servers.running),
    none: () => create(servers.none)
  })
  killAll()
  for (const { stop } of Object.values(servers)) await stop()
  /**
   * @param {string} path
   * @param {typeof got} measured
   */
  const row = (path, measured) => {
    const rates = {
      running: measured.running.map(({ rate }) => rate),
      none: measured.none.map(({ rate }) => rate)
    }
    return {
      path: `${path}, ${beside} VMs running`,
      nexus: `${figure(median(rates.running))}/s`,
      against: `the same daemon with none, ${figure(median(rates.none))}/s`,
      value: median(rates.running) / median(rates.none),
      goal: { atLeast: 0.9 },
      details: `The ratio went ${spread(rates.running, rates.none)}.`
    }
  }
  return [row("GET", got), row("durable create", made)]
}

/**
 * VMs under Firecracker.
 *
 * @param {import("./scale.mjs").Scale} scale
 * @param {import("./generator.mjs").Generator} generator
 * @returns {Promise<ReadonlyArray<import("./row.mjs").Row>>}
 */
export const measureVms = async ({ vms: scale }, generator) => {
  try {
    const rows = [
      ...(await measureStarts(scale)),
      ...(await measureRunning(scale)),
      ...(await measureCalls(scale, generator))
    ]
    return rows
  } finally {
    killAll()
    rmSync(vms, { recursive: true, force: true })
  }
}
