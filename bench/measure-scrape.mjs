import { createRequests, getRequests, pageRequest } from "./requests.mjs"
import { seed } from "./seed.mjs"
import { startNexusd } from "./servers.mjs"
import { figure, median } from "./statistics.mjs"

const records = 100_000
const connections = 4
const scrape = pageRequest("/metrics")

/**
 * Scrapes while GETs go on: after a commit, so that the records are counted, and again without one.
 *
 * @param {import("./scale.mjs").Scale} scale
 * @param {import("./generator.mjs").Generator} generator
 * @returns {Promise<ReadonlyArray<import("./row.mjs").Row>>}
 */
export const measureScrape = async ({ scrape: { rounds } }, generator) => {
  const { port, stop } = await startNexusd(seed(records))
  const gets = { port, connections, requests: getRequests(records), status: 200 }
  const first = await generator.run({ ...gets, longRequest: scrape })
  const calm = await generator.run({ ...gets, count: 4_000 })
  const counted = []
  const known = []
  for (let round = 0; round < rounds; round++) {
    await generator.run({ port, connections: 1, requests: createRequests(1).creates, status: 201 })
    counted.push(await generator.run({ ...gets, longRequest: scrape }))
    known.push(await generator.run({ ...gets, longRequest: scrape }))
  }
  await stop()

  /** @param {ReadonlyArray<import("./load.mjs").Outcome>} outcomes */
  const millis = (outcomes) => median(outcomes.map(({ longAnswer }) => longAnswer?.millis ?? Number.NaN))
  const longest = Math.max(...counted.map(({ longest }) => longest))
  return [
    {
      path: "`GET /metrics` with 100,000 records, after a commit",
      nexus: `${figure(millis(counted))} ms`,
      against: "",
      value: millis(counted),
      unit: " ms",
      details:
        `During GETs over ${connections} connections. Without a commit in between it takes ${figure(millis(known))} ms. The first ` +
        `one, which loads the exporter, took ${figure(millis([first]))} ms.`
    },
    {
      path: "longest wait of a GET during such a scrape",
      nexus: `${figure(longest)} ms`,
      against: "",
      value: longest,
      unit: " ms",
      goal: { atMost: 50 },
      details: `Scrapes: ${rounds}; without one the longest wait is ${figure(calm.longest)} ms.`
    }
  ]
}
