import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { yieldToEventLoop } from "../../runtime/EventLoop.js"
import { StoreFigures, type VmCount } from "../StoreFigures.js"
import { Database } from "./Database.js"
import type { Query } from "./SqliteConnection.js"

/** Records that one statement counts, which blocks the event loop for less than a millisecond. */
const sliceSize = 1000

interface Slice extends VmCount {
  readonly last: number
}

const countSlice = (after: number): Query => [
  `SELECT role, state, count(*) AS count, max(position) AS last
    FROM (SELECT role, state, rowid AS position FROM vms WHERE rowid > ? ORDER BY rowid LIMIT ${sliceSize})
    GROUP BY role, state`,
  [after]
]

const size: Query = ["SELECT page_count * page_size AS bytes FROM pragma_page_count, pragma_page_size", []]

/** Changes with each commit of any connection but the one that asks (https://sqlite.org/pragma.html#pragma_data_version). */
const dataVersion: Query = ["SELECT data_version AS version FROM pragma_data_version", []]

/** Counts again only after a commit: SQLite reads all records for that, 40 ms of CPU for 100,000. */
export const layer = Layer.effect(
  StoreFigures,
  Effect.map(Database, ({ read }) => {
    let counted: { readonly version: number | undefined; readonly counts: ReadonlyArray<VmCount> } | undefined

    const countAll = Effect.gen(function* () {
      const counts = new Map<string, VmCount>()
      let after: number | undefined = -1
      while (after !== undefined) {
        const rows: ReadonlyArray<Slice> = yield* read<Slice>(countSlice(after))
        for (const { count, role, state } of rows) {
          const key = JSON.stringify([role, state])
          counts.set(key, { role, state, count: count + (counts.get(key)?.count ?? 0) })
        }
        const sliceCount = rows.reduce((sum, { count }) => sum + count, 0)
        after = sliceCount < sliceSize ? undefined : Math.max(...rows.map(({ last }) => last))
        yield* yieldToEventLoop
      }
      return Array.from(counts.values())
    })

    return StoreFigures.of({
      vmCounts: Effect.gen(function* () {
        // Before the count, so that a commit in its midst makes the next scrape count again.
        const [row] = yield* read<{ version: number }>(dataVersion)
        if (counted !== undefined && counted.version === row?.version) return counted.counts
        const counts = yield* countAll
        counted = { version: row?.version, counts }
        return counts
      }),
      sizeBytes: Effect.map(read<{ bytes: number }>(size), ([row]) => row?.bytes ?? 0)
    })
  })
)
