import { isDeepStrictEqual } from "node:util"
import { listRequest, readyRequest } from "./requests.mjs"
import { seed } from "./seed.mjs"
import { fetchText, startNexusd, startRaw } from "./servers.mjs"
import { alternate, figure, median, spread } from "./statistics.mjs"

/**
 * The time of a list in the server: until a client has the last byte, less the time of as many ready-made bytes. The
 * baseline reads the rows and runs JSON.stringify.
 *
 * @param {import("./scale.mjs").Scale["list"]["sizes"][number]} size
 * @param {import("./generator.mjs").Generator} generator
 * @returns {Promise<import("./row.mjs").Row>}
 */
const measureSize = async ({ count, records, rounds, warm }, generator) => {
  const database = seed(records)
  const nexusd = await startNexusd(database)
  const raw = await startRaw(database)

  const sent = await fetchText(nexusd.port, "/v1/vms")
  const same = isDeepStrictEqual(
    JSON.parse(sent),
    JSON.parse(await fetchText(raw.port, "/v1/vms"), (_, value) => value ?? undefined)
  )
  if (!same) throw new Error(`the list of ${records} records is not what the database holds`)

  /**
   * @param {number} port
   * @param {string} request
   */
  const wait = async (port, request) => {
    const outcome = await generator.run({ port, connections: 1, requests: [request], status: 200, count })
    return outcome.median
  }
  /** @type {Array<number>} */
  const stringifyAlone = []
  const contenders = {
    nexus: () => wait(nexusd.port, listRequest),
    ready: () => wait(raw.port, readyRequest(Buffer.byteLength(sent))),
    stringify: async () => {
      /** @type {{ read: number, stringify: number }} */
      const { read, stringify } = JSON.parse(await fetchText(raw.port, "/stringify"))
      stringifyAlone.push(stringify)
      return read + stringify
    },
    raw: () => wait(raw.port, listRequest)
  }
  await alternate(warm, contenders)
  stringifyAlone.length = 0
  const times = await alternate(rounds, contenders)
  await nexusd.stop()
  await raw.stop()

  const inServer = times.nexus.map((millis, round) => millis - (times.ready[round] ?? 0))
  return {
    path: `list of ${records.toLocaleString("en")} records, time in the server`,
    nexus: `${figure(median(inServer))} ms`,
    against: `rows read and JSON.stringify ${figure(median(times.stringify))} ms`,
    value: median(inServer) / median(times.stringify),
    goal: { atMost: 0.5 },
    details:
      `The ratio went ${spread(inServer, times.stringify)}. JSON.stringify alone takes ` +
      `${figure(median(stringifyAlone))} ms. To its last byte a client waits ${figure(median(times.nexus))} ms for ` +
      `nexusd, ${figure(median(times.raw))} ms for the raw server and ${figure(median(times.ready))} ms for as many ` +
      `ready-made bytes (${figure(Buffer.byteLength(sent) / 1e6)} MB).`
  }
}

/**
 * @param {import("./scale.mjs").Scale} scale
 * @param {import("./generator.mjs").Generator} generator
 * @returns {Promise<ReadonlyArray<import("./row.mjs").Row>>}
 */
export const measureList = async ({ list: { sizes } }, generator) => {
  const rows = []
  for (const size of sizes) rows.push(await measureSize(size, generator))
  return rows
}
