import { accessSync, constants, statfsSync } from "node:fs"
import { dirname } from "node:path"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { DatabaseStatus } from "../../domain/Health.js"
import type { StoreHealth } from "../StoreHealth.js"
import type { DatabaseAccess } from "./DatabaseAccess.js"
import type { Query } from "./SqliteConnection.js"
import { isBusy, isSqlError } from "./SqliteErrors.js"

const sizes: Query = [
  `SELECT
    (SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name NOT GLOB 'sqlite_*') AS table_count,
    (SELECT page_count * page_size FROM pragma_page_count, pragma_page_size) AS size_bytes`,
  []
]
const decodeStatus = Schema.decodeUnknown(DatabaseStatus)

/** Writes the pages that a create writes, and leaves no record. No VM can have this name. */
const insertAndDelete: ReadonlyArray<Query> = [
  [
    `INSERT INTO vms (id, name, role, state, cid) VALUES ('/health', '/health', 'work', 'created', -1)
      ON CONFLICT DO NOTHING`,
    []
  ],
  ["DELETE FROM vms WHERE id = '/health'", []]
]

/** With less free space, the write-ahead log may not grow to its usual size of 1,000 pages. */
const minFreeBytes = 8 * 1024 * 1024

/** Whether a write would succeed, by permissions and free space. */
const seemsWritable = (path: string): boolean => {
  try {
    accessSync(path, constants.W_OK)
    const { bavail, bsize } = statfsSync(dirname(path))
    return bavail * bsize >= minFreeBytes
  } catch {
    return false
  }
}

/** Makes the health check of the database at `path`. */
export const make = (path: string) => {
  let didWriteFail = false

  /** Takes the write lock. Writes only after a failed write or with little free space, since a write costs a sync. */
  const assertWritable = (write: DatabaseAccess["write"]) =>
    Effect.suspend(() =>
      didWriteFail || !seemsWritable(path)
        ? Effect.zipRight(
            write((run) => Effect.forEach(insertAndDelete, (query) => run(query), { discard: true })),
            Effect.sync(() => (didWriteFail = false))
          )
        : write(() => Effect.void)
    )

  return {
    /** Makes `check` write until a write succeeds. Ignores lock errors, since `check` always takes the lock. */
    noteWriteError: (error: unknown) =>
      Effect.sync(() => {
        if (isSqlError(error) && !isBusy(error)) didWriteFail = true
      }),
    /** Fails if reads fail, over the reader's connection or a new one as for long lists, or if writes fail. */
    check: ({ read, write }: DatabaseAccess, openSnapshot: DatabaseAccess["snapshot"]): StoreHealth["Type"]["check"] =>
      Effect.gen(function* () {
        yield* Effect.scoped(Effect.flatMap(openSnapshot, (readSnapshot) => readSnapshot(sizes)))
        const [row] = yield* read<object>(sizes)
        yield* assertWritable(write)
        return yield* Effect.orDie(decodeStatus({ path, ...row }))
      })
  }
}
