import { createRequests, getRequests, listRequest } from "./requests.mjs"
import { seed } from "./seed.mjs"
import { startNexusd } from "./servers.mjs"
import { alternate, figure, median, spread } from "./statistics.mjs"

/** @typedef {{ records: number, create: number, get: number, list: number }} Growth milliseconds, of one client */

/**
 * The time of calls by the number of records. Each round deletes the records it created.
 *
 * @param {import("./scale.mjs").Scale} scale
 * @param {import("./generator.mjs").Generator} generator
 * @returns {Promise<{ rows: ReadonlyArray<import("./row.mjs").Row>, growth: ReadonlyArray<Growth> }>}
 */
export const measureGrowth = async ({ growth: { burst, charted, rounds, sizes, warm } }, generator) => {
  /**
   * @param {number} port
   * @param {number} connections
   * @param {number} count
   */
  const timeCreates = async (port, connections, count) => {
    const { creates, deletes } = createRequests(count)
    const outcome = await generator.run({ port, connections, requests: creates, status: 201 })
    await generator.run({ port, connections: 32, requests: deletes, status: 204 })
    return outcome
  }
  const daemons = await Promise.all(
    sizes.map(async (records) => ({ records, daemon: await startNexusd(seed(records)) }))
  )
  const contenders = Object.fromEntries(
    daemons.map(({ daemon: { port }, records }) => {
      const gets = { port, connections: 1, requests: getRequests(records), status: 200, count: 300 }
      const lists = { port, connections: 1, requests: [listRequest], status: 200, count: records > 1_000 ? 1 : 10 }
      const measure = async () => ({
        create: (await timeCreates(port, 1, 100)).median,
        burst: (await timeCreates(port, 32, burst)).millis / burst,
        get: charted ? (await generator.run(gets)).median : 0,
        list: charted ? (await generator.run(lists)).median : 0
      })
      return [String(records), measure]
    })
  )
  for (const { daemon } of daemons) await timeCreates(daemon.port, 32, warm)
  await alternate(1, contenders)
  const taken = await alternate(rounds, contenders)
  for (const { daemon } of daemons) await daemon.stop()

  /**
   * @param {number} records
   * @param {"create" | "burst" | "get" | "list"} what
   */
  const times = (records, what) => (taken[String(records)] ?? []).map((round) => round[what])
  const few = Math.min(...sizes)
  const many = Math.max(...sizes)
  /**
   * @param {"create" | "burst"} what
   * @param {string} path
   */
  const row = (what, path) => {
    const [long, short] = [times(many, what), times(few, what)]
    return {
      path,
      nexus: `${figure(median(long))} ms`,
      against: `at ${few} records ${figure(median(short))} ms`,
      value: median(long) / median(short),
      details: `The ratio went ${spread(long, short)}.`
    }
  }
  return {
    rows: [
      { ...row("create", `create at ${many.toLocaleString("en")} records, one client`), goal: { atMost: 1.3 } },
      row("burst", `the same, 32 clients, time per create`)
    ],
    growth: sizes.map((records) => ({
      records,
      create: median(times(records, "create")),
      get: median(times(records, "get")),
      list: median(times(records, "list"))
    }))
  }
}
