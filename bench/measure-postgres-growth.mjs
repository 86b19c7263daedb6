import { startPostgres } from "./postgres.mjs"
import { createRequests, getRequests } from "./requests.mjs"
import { seedPostgres } from "./seed-postgres.mjs"
import { startNexusd } from "./servers.mjs"
import { alternate, figure, median, spread } from "./statistics.mjs"

/** @typedef {{ records: number, create: number, get: number }} PostgresGrowth milliseconds, of one client */

/**
 * The time of calls by the number of records in PostgreSQL. Each round deletes the records it created.
 *
 * @param {import("./scale.mjs").Scale} scale
 * @param {import("./generator.mjs").Generator} generator
 * @returns {Promise<{ rows: ReadonlyArray<import("./row.mjs").Row>, growth: ReadonlyArray<PostgresGrowth> }>}
 */
export const measurePostgresGrowth = async ({ postgresGrowth: { creates, gets, rounds, sizes, warm } }, generator) => {
  const postgres = await startPostgres()
  const daemons = []
  for (const records of sizes) {
    daemons.push({ records, daemon: await startNexusd(postgres.url(await seedPostgres(postgres, records))) })
  }
  /**
   * @param {number} port
   * @param {number} connections
   * @param {number} count
   */
  const timeCreates = async (port, connections, count) => {
    const requests = createRequests(count)
    const outcome = await generator.run({ port, connections, requests: requests.creates, status: 201 })
    await generator.run({ port, connections: 8, requests: requests.deletes, status: 204 })
    return outcome.median
  }
  /**
   * @param {number} port
   * @param {number} records
   * @param {number} connections
   * @param {number} count
   */
  const timeGets = async (port, records, connections, count) => {
    const requests = getRequests(records)
    return (await generator.run({ port, connections, requests, status: 200, count })).median
  }
  const contenders = Object.fromEntries(
    daemons.map(({ daemon: { port }, records }) => [
      String(records),
      async () => ({ create: await timeCreates(port, 1, creates), get: await timeGets(port, records, 1, gets) })
    ])
  )
  for (const { daemon, records } of daemons) {
    await timeCreates(daemon.port, 8, warm)
    await timeGets(daemon.port, records, 8, warm)
  }
  await alternate(1, contenders)
  const taken = await alternate(rounds, contenders)
  for (const { daemon } of daemons) await daemon.stop()
  postgres.stop()

  /**
   * @param {number} records
   * @param {"create" | "get"} what
   */
  const times = (records, what) => (taken[String(records)] ?? []).map((round) => round[what])
  const few = Math.min(...sizes)
  const many = Math.max(...sizes)
  /** @param {"create" | "get"} what */
  const row = (what) => {
    const [long, short] = [times(many, what), times(few, what)]
    return {
      path: `PostgreSQL: ${what} at ${many.toLocaleString("en")} records, one client`,
      nexus: `${figure(median(long))} ms`,
      against: `at ${few.toLocaleString("en")} records ${figure(median(short))} ms`,
      value: median(long) / median(short),
      details: `The ratio went ${spread(long, short)}.`
    }
  }
  return {
    rows: [{ ...row("get"), goal: { atMost: 1.3 } }, row("create")],
    growth: sizes.map((records) => ({
      records,
      create: median(times(records, "create")),
      get: median(times(records, "get"))
    }))
  }
}
