import { setTimeout } from "node:timers/promises"
import { memory } from "./proc.mjs"
import { getRequests } from "./requests.mjs"
import { seed } from "./seed.mjs"
import { startNexusd, startRaw } from "./servers.mjs"
import { alternate, figure, median, spread } from "./statistics.mjs"

const records = 1_000

/** @param {number} bytes */
const mebibytes = (bytes) => `${figure(bytes / 1024 / 1024)} MiB`

/**
 * @param {import("./scale.mjs").Scale} scale
 * @param {import("./generator.mjs").Generator} generator
 * @returns {Promise<ReadonlyArray<import("./row.mjs").Row>>}
 */
export const measureMemory = async (scale, generator) => {
  const { gets, rounds, settle } = scale.memory
  const database = { nexus: seed(records), raw: seed(records) }
  /** @param {Promise<import("./servers.mjs").Server>} starting */
  const take = async (starting) => {
    const { pid, port, stop } = await starting
    await setTimeout(settle)
    const idle = memory(pid)
    await generator.run({ port, connections: 32, requests: getRequests(records), status: 200, count: gets })
    const used = memory(pid)
    await stop()
    return { idle, used }
  }
  const taken = await alternate(rounds, {
    nexus: () => take(startNexusd(database.nexus)),
    raw: () => take(startRaw(database.raw))
  })
  /**
   * @param {"idle" | "used"} when
   * @param {string} path
   * @param {number} atMost
   */
  const row = (when, path, atMost) => {
    const nexus = taken.nexus.map((sizes) => sizes[when])
    const raw = taken.raw.map((sizes) => sizes[when])
    return {
      path,
      nexus: mebibytes(median(nexus)),
      against: `raw server ${mebibytes(median(raw))}`,
      value: median(nexus) / median(raw),
      goal: { atMost },
      shows: `The ratio went ${spread(nexus, raw)}.`
    }
  }
  return [
    row("idle", "memory (RSS) of the idle daemon", 1.5),
    row("used", `memory (RSS) after ${gets.toLocaleString("en")} GETs`, 1.6)
  ]
}
