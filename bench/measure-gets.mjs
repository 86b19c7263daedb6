import { cpuTime } from "./proc.mjs"
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
  const ask = async ({ pid, port }) => {
    const before = cpuTime(pid)
    const outcome = await generator.run({ ...gets, port, millis })
    const cpu = ((cpuTime(pid) - before) / outcome.answers) * 1000
    return { rate: (outcome.answers / outcome.millis) * 1000, cpu, busy: outcome.busy }
  }
  for (const { port } of Object.values(servers)) await generator.run({ ...gets, port, count: warm })
  const asked = await alternate(rounds, { nexus: () => ask(servers.nexus), raw: () => ask(servers.raw) })
  for (const { stop } of Object.values(servers)) await stop()
  const where =
    profiled === 0
      ? undefined
      : await profile(seed(records), ({ port }) => generator.run({ ...gets, port, count: profiled }))

  /** @param {"nexus" | "raw"} who */
  const rates = (who) => asked[who].map(({ rate }) => rate)
  /** @param {"nexus" | "raw"} who */
  const cpu = (who) => median(asked[who].map(({ cpu }) => cpu))
  const busy = Math.round(100 * median(asked.raw.map(({ busy }) => busy)))
  return [
    {
      path: `GET by name, ${connections} connections`,
      nexus: `${figure(median(rates("nexus")))}/s`,
      against: `raw server ${figure(median(rates("raw")))}/s`,
      value: median(rates("nexus")) / median(rates("raw")),
      goal: { atLeast: 0.25 },
      shows:
        `The ratio went ${spread(rates("nexus"), rates("raw"))}. A GET costs nexusd ${figure(cpu("nexus"))} µs of ` +
        `computing and the raw server ${figure(cpu("raw"))} µs; 0.5 would leave nexusd ${figure(2 * cpu("raw"))} µs. ` +
        `Beside the raw server, the load generator computed ${busy}% of the time.` +
        (where === undefined ? "" : ` nexusd's time goes to: ${where}.`)
    }
  ]
}
