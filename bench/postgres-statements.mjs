import { nameOf } from "./requests.mjs"
import { startNexusd } from "./servers.mjs"

/** @typedef {{ find: string, insert: string }} Statements */

/**
 * Reads nexusd's statements of a get and a create from pg_stat_activity.
 *
 * @param {import("./postgres.mjs").Postgres} postgres
 * @returns {Promise<Statements>}
 */
export const statementsOf = async (postgres) => {
  const database = await postgres.database()
  const daemon = await startNexusd(postgres.url(database))
  const vms = `http://127.0.0.1:${daemon.port}/v1/vms`
  /** @param {Promise<Response>} answer */
  const heardBy = async (answer) => {
    const { status } = await answer
    if (status >= 300) throw new Error(`answered with ${status}`)
    const [row] = await postgres.query(
      "postgres",
      `SELECT query FROM pg_stat_activity WHERE datname = '${database}' ORDER BY state_change DESC LIMIT 1`
    )
    return String(row?.["query"])
  }
  const body = JSON.stringify({ name: nameOf(0) })
  const insert = await heardBy(fetch(vms, { method: "POST", headers: { "content-type": "application/json" }, body }))
  const find = await heardBy(fetch(`${vms}/${nameOf(0)}`))
  await daemon.stop()
  return { find, insert }
}
