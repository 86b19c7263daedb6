import { drive } from "./drive.mjs"
import { profile } from "./profile.mjs"
import { getRequests } from "./requests.mjs"
import { seed } from "./seed.mjs"
import { startNexusd, startRaw } from "./servers.mjs"
import { alternate, figure, median, spread } from "./statistics.mjs"

const connections = 32
const records = 1_000

/**
 * @param {import("./scale.mjs").Scale} scale
 * @param {import("./generator.mjs").Generator} generator
 * @returns {Promise<ReadonlyArray<import("./row.mjs").Row>>}
 */
export const measureGets = async ({ gets: { millis, profiled, rounds, warm } }, generator) => {
  const servers = { nexus: await startNexusd(seed(records)), raw: await startRaw(seed(records)) }
  const gets = { connections, requests: getRequests(records), status: 200 }
  /** @param {import("./servers.mjs").Server} server */
  const driveGets = (server) => drive(generator, server, { ...gets, millis })
  for (const { port } of Object.values(servers)) await generator.run({ ...gets, port, count: warm })
  const driven = await alternate(rounds, { nexus: () => driveGets(servers.nexus), raw: () => driveGets(servers.raw) })
  for (const { stop } of Object.values(servers)) await stop()
  const where =
    profiled === 0
      ? undefined
      : await profile(seed(records), ({ port }) => generator.run({ ...gets, port, count: profiled }))

  /** @param {"nexus" | "raw"} who */
  const rates = (who) => driven[who].map(({ rate }) => rate)
  /** @param {"nexus" | "raw"} who */
  const cpu = (who) => driven[who].map(({ cpu }) => cpu)
  const busy = Math.round(100 * median(driven.raw.map(({ busy }) => busy)))
  return [
    {
      path: `GET by name, ${connections} connections`,
      nexus: `${figure(median(rates("nexus")))}/s`,
      against: `raw server ${figure(median(rates("raw")))}/s`,
      value: median(rates("nexus")) / median(rates("raw")),
      goal: { atLeast: 0.5 },
      details:
        `The ratio went ${spread(rates("nexus"), rates("raw"))}. Against the raw server, the load generator computed ` +
        `${busy}% of the time.${where === undefined ? "" : ` nexusd's time goes to: ${where}.`}`
    },
    {
      path: "GET by name, CPU",
      nexus: `${figure(median(cpu("nexus")))} µs`,
      against: `raw server ${figure(median(cpu("raw")))} µs`,
      value: median(cpu("nexus")) / median(cpu("raw")),
      goal: { atMost: 2.2 },
      details: `The ratio went ${spread(cpu("nexus"), cpu("raw"))}.`
    }
  ]
}
