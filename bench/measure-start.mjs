import { seed } from "./seed.mjs"
import { startNexusd, startRaw } from "./servers.mjs"
import { alternate, figure, median, spread } from "./statistics.mjs"

/**
 * @param {import("./scale.mjs").Scale} scale
 * @returns {Promise<ReadonlyArray<import("./row.mjs").Row>>}
 */
export const measureStart = async ({ start }) => {
  const database = { nexus: seed(3), raw: seed(3) }
  /** @param {Promise<import("./servers.mjs").Server>} starting */
  const time = async (starting) => {
    const { readyAfter, stop } = await starting
    await stop()
    return readyAfter
  }
  const nexus = () => time(startNexusd(database.nexus))
  const raw = () => time(startRaw(database.raw))
  await alternate(1, { nexus, raw })
  const times = await alternate(start.rounds, { nexus, raw })
  return [
    {
      path: "daemon start to its first answered `GET /v1/health`",
      nexus: `${figure(median(times.nexus))} ms`,
      against: `raw server ${figure(median(times.raw))} ms`,
      value: median(times.nexus) / median(times.raw),
      goal: { atMost: 2.4 },
      details: `The ratio went ${spread(times.nexus, times.raw)}.`
    }
  ]
}
