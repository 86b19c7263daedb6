import { memory, watchPeak } from "./proc.mjs"
import { getRequests, listRequest } from "./requests.mjs"
import { seed } from "./seed.mjs"
import { startNexusd, startRaw } from "./servers.mjs"
import { alternate, figure, median } from "./statistics.mjs"

const records = 100_000
const connections = 4

/**
 * Each round starts a new process: after a long list a process keeps the memory for the next one.
 *
 * @param {import("./scale.mjs").Scale} scale
 * @param {import("./generator.mjs").Generator} generator
 * @returns {Promise<ReadonlyArray<import("./row.mjs").Row>>}
 */
export const measureLongList = async ({ longList: { lists, rounds } }, generator) => {
  const database = seed(records)
  /** @param {Promise<import("./servers.mjs").Server>} starting */
  const take = async (starting) => {
    const { pid, port, stop } = await starting
    const gets = { port, connections, requests: getRequests(records), status: 200 }
    const calm = await generator.run({ ...gets, count: 4_000 })
    const before = memory(pid)
    const peak = watchPeak(pid)
    const taken = []
    for (let list = 0; list < lists; list++) taken.push(await generator.run({ ...gets, longRequest: listRequest }))
    const grown = peak() - before
    await stop()
    const bytes = taken[0]?.longAnswer?.bodyBytes ?? Number.NaN
    return {
      bytes,
      growth: grown / bytes,
      longest: Math.max(...taken.map(({ longest }) => longest)),
      calm: calm.longest,
      millis: median(taken.map(({ longAnswer }) => longAnswer?.millis ?? Number.NaN))
    }
  }
  const { nexus, raw } = await alternate(rounds, {
    nexus: () => take(startNexusd(database)),
    raw: () => take(startRaw(database))
  })

  /**
   * @param {typeof nexus} taken
   * @param {"bytes" | "growth" | "calm" | "millis"} what
   */
  const middle = (taken, what) => median(taken.map((one) => one[what]))
  /** @param {typeof nexus} taken */
  const longest = (taken) => Math.max(...taken.map((one) => one.longest))
  /** @param {typeof nexus} taken */
  const growth = (taken) => `${figure((middle(taken, "growth") * middle(taken, "bytes")) / 1e6)} MB`
  const size = `${figure(middle(nexus, "bytes") / 1e6)} MB`
  return [
    {
      path: "list of 100,000 records, growth of memory (RSS)",
      nexus: growth(nexus),
      against: `the response, ${size}`,
      value: middle(nexus, "growth"),
      goal: { atMost: 3 },
      details: `Lists one after the other: ${lists}; the growth is the peak's. The raw server grows by ${growth(raw)}.`
    },
    {
      path: "longest wait of a GET during such a list",
      nexus: `${figure(longest(nexus))} ms`,
      against: `raw server ${figure(longest(raw))} ms`,
      value: longest(nexus),
      unit: " ms",
      goal: { atMost: 50 },
      details:
        `Lists sent: ${rounds * lists}; without a list the longest wait is ` +
        `${figure(middle(nexus, "calm"))} ms. The list takes ${figure(middle(nexus, "millis"))} ms during these GETs, ` +
        `the raw server's ${figure(middle(raw, "millis"))} ms.`
    }
  ]
}
