import { createHash } from "node:crypto"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { yieldToEventLoop } from "../../runtime/EventLoop.js"
import { DatabaseOpenError } from "../DatabaseOpenError.js"
import { type DatabaseTarget, formatTarget } from "../DatabaseTarget.js"
import { assertNoneRuns, NamedRecord, type RunningVms } from "../RunningVms.js"
import * as PostgresBackend from "./PostgresBackend.js"
import * as SqliteBackend from "./SqliteBackend.js"
import type { TransferBackend, TransferSource, TransferTarget } from "./TransferBackend.js"

/** Called with the number of VMs done and their total. */
type OnProgress = (action: "Copying" | "Verifying", done: number, total: number) => Effect.Effect<void>

const makeBackend = (target: DatabaseTarget): TransferBackend =>
  target._tag === "Sqlite" ? SqliteBackend.make(target.path) : PostgresBackend.make(target.server)

const decodeName = Schema.decodeSync(Schema.parseJson(NamedRecord))

/** JSON in one notation: engines escape characters and write numbers differently. */
const canonical = (row: string): string => `${JSON.stringify(JSON.parse(row))}\n`

/** Reads all rows, passes them to `insert` and returns their counts and SHA-256. */
const checksumRows = (
  { records, settings }: TransferSource,
  insert: TransferTarget["insert"],
  onProgress: (vms: number) => Effect.Effect<void>
) =>
  Effect.gen(function* () {
    const hash = createHash("sha256")
    const addRows: TransferTarget["insert"] = (table, rows) =>
      Effect.suspend(() => {
        for (const row of rows) hash.update(canonical(row))
        return insert(table, rows)
      })
    const found = yield* settings
    yield* addRows("settings", found)
    let vms = 0
    yield* onProgress(vms)
    yield* Stream.runForEach(records, (rows) =>
      Effect.gen(function* () {
        yield* addRows("vms", rows)
        vms += rows.length
        yield* onProgress(vms)
        // Lets signal handlers run.
        yield* yieldToEventLoop
      })
    )
    return { vms, settings: found.length, checksum: hash.digest("hex") }
  })

/**
 * Copies all VMs and settings of one database but runs, from one snapshot, into an empty one. Ids, CIDs, times and the order
 * of inserts stay. Reads the copy back and compares checksums before the commit: all rows are there, or none. Returns the
 * number of VMs. Fails if one of them runs on this host.
 */
export const migrate = (
  from: DatabaseTarget,
  to: DatabaseTarget,
  onProgress: OnProgress,
  running: RunningVms
): Effect.Effect<number, DatabaseOpenError> =>
  Effect.gen(function* () {
    const target = makeBackend(to)
    const source = yield* makeBackend(from).source(target.columns)
    return yield* target.fill(source, (target) =>
      Effect.gen(function* () {
        const counts = yield* source.counts
        const insert: TransferTarget["insert"] = (table, rows) =>
          table === "vms" && running.size > 0
            ? Effect.zipRight(
                assertNoneRuns(
                  formatTarget(from),
                  rows.map((row) => decodeName(row)),
                  running
                ),
                target.insert(table, rows)
              )
            : target.insert(table, rows)
        const read = yield* checksumRows(source, insert, (vms) => onProgress("Copying", vms, counts.vms))
        const written = yield* checksumRows(
          target,
          () => Effect.void,
          (vms) => onProgress("Verifying", vms, counts.vms)
        )
        const isComplete =
          read.checksum === written.checksum &&
          [read, written, yield* target.counts].every(
            ({ settings, vms }) => vms === counts.vms && settings === counts.settings
          )
        if (isComplete) return counts.vms
        return yield* new DatabaseOpenError({
          message: `what ${formatTarget(to)} made of it is not what ${formatTarget(from)} holds: nothing of it was kept`
        })
      })
    )
  }).pipe(Effect.scoped)
