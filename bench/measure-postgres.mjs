import { cpus } from "node:os"
import { startGenerator } from "./generator.mjs"
import { startPostgres } from "./postgres.mjs"
import { statementsOf } from "./postgres-statements.mjs"
import { cpuTime } from "./proc.mjs"
import { profile } from "./profile.mjs"
import { createRequests, getRequests } from "./requests.mjs"
import { seed } from "./seed.mjs"
import { seedPostgres } from "./seed-postgres.mjs"
import { startNexusd, startRawPostgres } from "./servers.mjs"
import { alternate, figure, median, spread } from "./statistics.mjs"

const connections = 32
const records = 1_000
const counts = [1, 2, 4]

/** @typedef {import("./servers.mjs").Server} Server */
/** @typedef {{ rate: number, server: number, postgres: number, generator: number, cores: number, machine: number }} Driven */

/** @param {ReadonlyArray<number>} values */
const sum = (values) => values.reduce((total, value) => total + value, 0)

/** Milliseconds of all cores together since boot, and how many of them they computed, for any process. */
const machineTime = () => {
  const times = cpus().map((core) => core.times)
  const all = sum(times.flatMap((one) => Object.values(one)))
  return { all, busy: all - sum(times.map(({ idle }) => idle)) }
}

/**
 * Several daemons on one PostgreSQL against as many raw servers, and one daemon against one on SQLite. The number of
 * clients is the same each time, spread over the servers.
 *
 * @param {import("./scale.mjs").Scale} scale
 * @returns {Promise<ReadonlyArray<import("./row.mjs").Row>>}
 */
export const measurePostgres = async ({ postgres: { each, millis, profiled, rounds, warm } }) => {
  const postgres = await startPostgres()
  const most = Math.max(...counts)
  const generators = Array.from({ length: most }, startGenerator)
  const [ours, theirs] = [await seedPostgres(postgres, records), await seedPostgres(postgres, records)]
  const statements = await statementsOf(postgres)
  /** @param {() => Promise<Server>} start */
  const several = (start) => Promise.all(Array.from({ length: most }, start))
  const servers = {
    nexus: await several(() => startNexusd(postgres.url(ours))),
    raw: await several(() => startRawPostgres(postgres.url(theirs), statements)),
    sqlite: [await startNexusd(seed(records))]
  }

  /**
   * @param {ReadonlyArray<Server>} used
   * @param {(clients: number) => Omit<import("./load.mjs").Job, "port" | "connections">} job
   * @returns {Promise<Driven>} with microseconds for each answer, how many cores that kept busy, and how many were busy
   */
  const drive = async (used, job) => {
    const computed = () => ({ server: sum(used.map(({ pid }) => cpuTime(pid))), postgres: postgres.cpu() })
    const before = { ...computed(), machine: machineTime() }
    const outcomes = await Promise.all(
      used.flatMap(({ port }, at) => {
        const clients = connections / used.length
        return generators[at]?.run({ ...job(clients), port, connections: clients }) ?? []
      })
    )
    const after = { ...computed(), machine: machineTime() }
    const answers = sum(outcomes.map((outcome) => outcome.answers))
    const longest = Math.max(...outcomes.map((outcome) => outcome.millis))
    const spent = {
      server: after.server - before.server,
      postgres: after.postgres - before.postgres,
      generator: sum(outcomes.map((outcome) => outcome.busy * outcome.millis))
    }
    return {
      rate: (answers / longest) * 1000,
      server: (spent.server / answers) * 1000,
      postgres: (spent.postgres / answers) * 1000,
      generator: (spent.generator / answers) * 1000,
      cores: sum(Object.values(spent)) / longest,
      machine: (cpus().length * (after.machine.busy - before.machine.busy)) / (after.machine.all - before.machine.all)
    }
  }
  /** @param {number} count */
  const creates = (count) => (/** @type {number} */ clients) => ({
    requests: createRequests(Math.ceil((count * clients) / connections)).creates,
    status: 201
  })
  const gets = () => ({ requests: getRequests(records), status: 200, millis })

  for (const used of [servers.nexus, servers.raw, servers.sqlite]) {
    await drive(used, () => ({ requests: getRequests(records), status: 200, count: warm }))
    if (used !== servers.sqlite) await drive(used, creates(warm))
  }
  const contenders = counts.flatMap((count) => [
    [`nexus creates ${count}`, () => drive(servers.nexus.slice(0, count), creates(each))],
    [`raw creates ${count}`, () => drive(servers.raw.slice(0, count), creates(each))],
    [`nexus gets ${count}`, () => drive(servers.nexus.slice(0, count), gets)],
    [`raw gets ${count}`, () => drive(servers.raw.slice(0, count), gets)]
  ])
  /** @type {Record<string, Array<Driven>>} */
  const driven = await alternate(rounds, {
    ...Object.fromEntries(contenders),
    "sqlite gets": () => drive(servers.sqlite, gets)
  })
  for (const { stop } of Object.values(servers).flat()) await stop()

  /** @type {(what: string) => Promise<string>} */
  const where = async (what) => {
    if (profiled === 0) return ""
    const clients = { ...(what === "creates" ? creates(profiled)(connections) : gets()), connections }
    const parts = await profile(
      postgres.url(ours),
      ({ port }) => generators[0]?.run({ ...clients, port }) ?? Promise.resolve()
    )
    return ` One nexusd's time goes to: ${parts}.`
  }
  const profiles = { creates: await where("creates"), gets: await where("gets") }
  for (const { stop } of generators) stop()
  postgres.stop()

  /** @param {string} who */
  const rates = (who) => (driven[who] ?? []).map(({ rate }) => rate)
  /**
   * @param {string} who
   * @param {"server" | "postgres" | "generator" | "cores" | "machine"} what
   */
  const typical = (who, what) => figure(median((driven[who] ?? []).map((one) => one[what])))
  /** @param {string} who */
  const costs = (who) =>
    `${typical(who, "server")} µs of computing in its Node.js, ${typical(who, "postgres")} µs in PostgreSQL and ` +
    `${typical(who, "generator")} µs in the load generator, which together kept ${typical(who, "cores")} cores busy of ` +
    `the ${cpus().length}, and ${typical(who, "machine")} were busy with whatever the machine did`
  /** @param {number} count */
  const named = (count) => (count === 1 ? "one daemon" : `${count} daemons`)

  const againstRaw = ["creates", "gets"].flatMap((what) =>
    counts.map((count) => {
      const [nexus, other] = [`nexus ${what} ${count}`, `raw ${what} ${count}`]
      return {
        path: `PostgreSQL: ${what}, ${named(count)}`,
        nexus: `${figure(median(rates(nexus)))}/s`,
        against: `as many raw servers on pg ${figure(median(rates(other)))}/s`,
        value: median(rates(nexus)) / median(rates(other)),
        ...(count === 1 && { goal: { atLeast: what === "creates" ? 0.61 : 0.9 } }),
        details:
          `The ratio went ${spread(rates(nexus), rates(other))}. One of these costs Nexus ${costs(nexus)}; ` +
          `the raw servers ${costs(other)}.`
      }
    })
  )
  const [one, all, file] = ["nexus creates 1", `nexus creates ${most}`, "sqlite gets"]
  return [
    ...againstRaw,
    {
      path: `PostgreSQL: creates, ${named(most)}`,
      nexus: `${figure(median(rates(all)))}/s`,
      against: `one daemon ${figure(median(rates(one)))}/s`,
      value: median(rates(all)) / median(rates(one)),
      goal: { atLeast: 1.5 },
      details:
        `The ratio went ${spread(rates(all), rates(one))}. With one daemon a create costs ${costs(one)}; ` +
        `with ${most} it costs ${costs(all)}. Once no core is idle, more daemons bring nothing: the raw servers went from ` +
        `${figure(median(rates("raw creates 1")))}/s to ${figure(median(rates(`raw creates ${most}`)))}/s.${profiles.creates}`
    },
    {
      path: "PostgreSQL: gets, one daemon",
      nexus: `${figure(median(rates("nexus gets 1")))}/s`,
      against: `one daemon on SQLite ${figure(median(rates(file)))}/s`,
      value: median(rates("nexus gets 1")) / median(rates(file)),
      goal: { atLeast: 0.7 },
      details:
        `The ratio went ${spread(rates("nexus gets 1"), rates(file))}. On PostgreSQL a get costs ` +
        `${costs("nexus gets 1")}; on SQLite ${typical(file, "server")} µs of computing in nexusd.${profiles.gets}`
    }
  ]
}
