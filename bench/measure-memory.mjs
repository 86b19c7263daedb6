import { setTimeout } from "node:timers/promises"
import { memory } from "./proc.mjs"
import { createRequests, getRequests } from "./requests.mjs"
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
  const { createRounds, creates, gets, rounds, settle } = scale.memory
  const database = { nexus: seed(records), raw: seed(records) }
  /** @param {Promise<import("./servers.mjs").Server>} starting */
  const measureGets = async (starting) => {
    const { pid, port, stop } = await starting
    await setTimeout(settle)
    const idle = memory(pid)
    await generator.run({ port, connections: 32, requests: getRequests(records), status: 200, count: gets })
    const used = memory(pid)
    await stop()
    return { idle, used }
  }
  const afterGets = await alternate(rounds, {
    nexus: () => measureGets(startNexusd(database.nexus)),
    raw: () => measureGets(startRaw(database.raw))
  })
  /** @param {Promise<import("./servers.mjs").Server>} starting */
  const measureCreates = async (starting) => {
    const { pid, port, stop } = await starting
    await generator.run({ port, connections: 32, requests: createRequests(creates).creates, status: 201 })
    const used = memory(pid)
    await stop()
    return { used }
  }
  // The raw server batches: one transaction each would take minutes.
  const afterCreates = await alternate(createRounds, {
    nexus: () => measureCreates(startNexusd(seed(0))),
    raw: () => measureCreates(startRaw(seed(0), ["--batch"]))
  })
  /**
   * @param {string} path
   * @param {number} atMost
   * @param {ReadonlyArray<number>} nexus
   * @param {ReadonlyArray<number>} raw
   */
  const row = (path, atMost, nexus, raw) => {
    return {
      path,
      nexus: mebibytes(median(nexus)),
      against: `raw server ${mebibytes(median(raw))}`,
      value: median(nexus) / median(raw),
      goal: { atMost },
      details: `The ratio went ${spread(nexus, raw)}.`
    }
  }
  /** @param {ReadonlyArray<{ used: number }>} measured */
  const used = (measured) => measured.map((one) => one.used)
  /** @param {ReadonlyArray<{ idle: number }>} measured */
  const idle = (measured) => measured.map((one) => one.idle)
  /** @param {number} count */
  const after = (count) => `memory (RSS) after ${count.toLocaleString("en")}`
  return [
    row("memory (RSS) of the idle daemon", 1.5, idle(afterGets.nexus), idle(afterGets.raw)),
    row(`${after(gets)} GETs`, 1.6, used(afterGets.nexus), used(afterGets.raw)),
    row(`${after(creates)} creates`, 1.7, used(afterCreates.nexus), used(afterCreates.raw))
  ]
}
