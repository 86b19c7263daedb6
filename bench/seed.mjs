import { randomUUID } from "node:crypto"
import { copyFileSync } from "node:fs"
import { join } from "node:path"
import { folder } from "./processes.mjs"
import { nameOf } from "./requests.mjs"
import { startNexusd } from "./servers.mjs"
import { Sqlite } from "./sqlite.mjs"

const empty = join(folder, "empty.db")

/** Lets nexusd make an empty database, which `seed` copies. */
export const makeSchema = async () => {
  const daemon = await startNexusd(empty)
  await daemon.stop()
}

let made = 0

/**
 * A new database with this many records.
 *
 * @param {number} records
 * @param {ReadonlyArray<string>} roles that the records have in turn
 */
export const seed = (records, roles = ["work"]) => {
  const path = join(folder, `${++made}-${records}.db`)
  copyFileSync(empty, path)
  const database = new Sqlite(path)
  const insert = database.prepare(
    `INSERT INTO vms (id, name, role, state, cid, vcpu_count, mem_size_mib, created_at, updated_at)
    VALUES (?, ?, ?, 'created', ?, 1, 128, ?, ?)`
  )
  const since = Math.floor(Date.now() / 1000) - records
  database.exec("BEGIN")
  for (let index = 0; index < records; index++) {
    insert.run(randomUUID(), nameOf(index), roles[index % roles.length], index + 3, since + index, since + index)
  }
  database.exec("COMMIT")
  database.close()
  return path
}
