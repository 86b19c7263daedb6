import { nameOf } from "./requests.mjs"
import { startNexusd } from "./servers.mjs"

/**
 * A new database, made by nexusd, with this many records; gives back its name.
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
  // What a server does by and by on its own.
  await postgres.query(database, "VACUUM (ANALYZE) vms")
  await postgres.query(database, "CHECKPOINT")
  return database
}
