import { createHash } from "node:crypto"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { yieldToEventLoop } from "../../runtime/EventLoop.js"
import { DatabaseOpenError } from "../DatabaseOpenError.js"
import { type DatabaseTarget, formatTarget } from "../DatabaseTarget.js"
import * as MigrationPostgres from "./PostgresBackend.js"
import * as MigrationSqlite from "./SqliteBackend.js"
import type { TransferBackend, TransferSource, TransferTarget } from "./TransferBackend.js"

/** Hears how many of all VMs have been dealt with. */
type OnProgress = (doing: "Copying" | "Verifying", done: number, total: number) => Effect.Effect<void>

const backendOf = (choice: DatabaseTarget): TransferBackend =>
  choice._tag === "File" ? MigrationSqlite.end(choice.path) : MigrationPostgres.end(choice.target)

/** Engines write one value in more than one way. */
const canonical = (row: string): string => `${JSON.stringify(JSON.parse(row))}\n`

/** Reads a database to its end, and hands on what it holds; gives back what sums that up. */
const checksumRows = (
  { records, settings }: TransferSource,
  handOn: TransferTarget["insert"],
  tell: (vms: number) => Effect.Effect<void>
) =>
  Effect.gen(function* () {
    const hash = createHash("sha256")
    const take: TransferTarget["insert"] = (table, rows) =>
      Effect.suspend(() => {
        for (const row of rows) hash.update(canonical(row))
        return handOn(table, rows)
      })
    const found = yield* settings
    yield* take("settings", found)
    let vms = 0
    yield* tell(vms)
    yield* Stream.runForEach(records, (rows) =>
      Effect.gen(function* () {
        yield* take("vms", rows)
        vms += rows.length
        yield* tell(vms)
        // A signal is heard in between.
        yield* yieldToEventLoop
      })
    )
    return { vms, settings: found.length, checksum: hash.digest("hex") }
  })

/**
 * Copies every record and setting of one database into another that is empty, as they are at one moment: with their ids,
 * CIDs and times, and in the order in which they were inserted. What was written is read back and compared before it is
 * committed: it is there whole or not at all. Gives back the number of VMs.
 */
export const migrate = (
  from: DatabaseTarget,
  to: DatabaseTarget,
  tell: OnProgress
): Effect.Effect<number, DatabaseOpenError> =>
  Effect.gen(function* () {
    const source = yield* backendOf(from).source
    return yield* backendOf(to).fill(source, (target) =>
      Effect.gen(function* () {
        const counts = yield* source.counts
        const read = yield* checksumRows(source, target.insert, (vms) => tell("Copying", vms, counts.vms))
        const written = yield* checksumRows(
          target,
          () => Effect.void,
          (vms) => tell("Verifying", vms, counts.vms)
        )
        const isWhole =
          read.checksum === written.checksum &&
          [read, written, yield* target.counts].every(
            ({ settings, vms }) => vms === counts.vms && settings === counts.settings
          )
        if (isWhole) return counts.vms
        return yield* new DatabaseOpenError({
          message: `what ${formatTarget(to)} made of it is not what ${formatTarget(from)} holds: nothing of it was kept`
        })
      })
    )
  }).pipe(Effect.scoped)
