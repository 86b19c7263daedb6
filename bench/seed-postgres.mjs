import { nameOf } from "./requests.mjs"
import { startNexusd } from "./servers.mjs"

/**
 * Makes a database with this many records and returns its name. nexusd makes the schema.
 *
 * @param {import("./postgres.mjs").Postgres} postgres
 * @param {number} records
 */
export const seedPostgres = async (postgres, records) => {
  const database = await postgres.database()
  const daemon = await startNexusd(postgres.url(database))
  await daemon.stop()
  await postgres.query(
    database,
    `INSERT INTO vms (id, name, role, state, cid, vcpu_count, mem_size_mib, created_at, updated_at)
    SELECT gen_random_uuid()::text, 'vm-' || lpad(index::text, ${nameOf(0).length - 3}, '0'), 'work', 'created',
      index + 3, 1, 128, now.second - ${records} + index, now.second - ${records} + index
    FROM generate_series(0, ${records - 1}) AS index, (SELECT extract(epoch FROM now())::bigint AS second) AS now`
  )
  // A server does this on its own, later.
  await postgres.query(database, "VACUUM (ANALYZE) vms")
  await postgres.query(database, "CHECKPOINT")
  return database
}
