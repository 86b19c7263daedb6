import { accessSync, constants, statfsSync } from "node:fs"
import { dirname } from "node:path"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { DatabaseStatus } from "../../domain/Health.js"
import type { StoreHealth } from "../StoreHealth.js"
import type { Database } from "./Database.js"
import type { Query } from "./SqliteConnection.js"
import { isBusy, isSqlError } from "./SqliteErrors.js"

const sizes: Query = [
  `SELECT
    (SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name NOT GLOB 'sqlite_*') AS table_count,
    (SELECT page_count * page_size FROM pragma_page_count, pragma_page_size) AS size_bytes`,
  []
]
const decodeStatus = Schema.decodeUnknown(DatabaseStatus)

/** Changes the pages that a create changes, and leaves every record as it was. The name is one that no VM can have. */
const insertAndDelete: ReadonlyArray<Query> = [
  [
    `INSERT INTO vms (id, name, role, state, cid) VALUES ('/health', '/health', 'work', 'created', -1)
      ON CONFLICT DO NOTHING`,
    []
  ],
  ["DELETE FROM vms WHERE id = '/health'", []]
]

/** With less free space the log may not grow to its full size of 1,000 pages, when SQLite starts it again. */
const ampleBytes = 8 * 1024 * 1024

/** Whether the file system would take a write, by what it says without one. */
const seemsWritable = (path: string): boolean => {
  try {
    accessSync(path, constants.W_OK)
    const { bavail, bsize } = statfsSync(dirname(path))
    return bavail * bsize >= ampleBytes
  } catch {
    return false
  }
}

/** Health of the database at `path`. */
export const make = (path: string) => {
  let didWriteFail = false

  /** Writes only where there is reason to doubt, as each write costs a sync. Otherwise takes and releases the write lock. */
  const assertWritable = (write: Database["Type"]["write"]) =>
    Effect.suspend(() =>
      didWriteFail || !seemsWritable(path)
        ? Effect.zipRight(
            write((run) => Effect.forEach(insertAndDelete, (query) => run(query), { discard: true })),
            Effect.sync(() => (didWriteFail = false))
          )
        : write(() => Effect.void)
    )

  return {
    /** Has `check` try a write until one succeeds. After a lock it need not: it takes the lock in any case. */
    noteWriteError: (error: unknown) =>
      Effect.sync(() => {
        if (isSqlError(error) && !isBusy(error)) didWriteFail = true
      }),
    /** Fails when reads would, over the connection that serves them or a new one as a long list opens, or writes would. */
    check: (
      { read, write }: Database["Type"],
      openSnapshot: Database["Type"]["snapshot"]
    ): StoreHealth["Type"]["check"] =>
      Effect.gen(function* () {
        yield* Effect.scoped(Effect.flatMap(openSnapshot, (readSnapshot) => readSnapshot(sizes)))
        const [row] = yield* read<object>(sizes)
        yield* assertWritable(write)
        return yield* Effect.orDie(decodeStatus({ path, ...row }))
      })
  }
}
