import { createHash } from "node:crypto"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { endOfTurn } from "../system/EventLoop.js"
import { type DatabaseChoice, showDatabase } from "./DatabaseChoice.js"
import { DatabaseRefused } from "./DatabaseFiles.js"
import type { MigrationEnd, MigrationSource, MigrationTarget } from "./MigrationEnd.js"
import * as MigrationSqlite from "./MigrationSqlite.js"
import * as MigrationPostgres from "./postgres/MigrationPostgres.js"

/** Hears how many of all VMs have been dealt with. */
type Tell = (doing: "Copying" | "Verifying", done: number, total: number) => Effect.Effect<void>

const endOf = (choice: DatabaseChoice): MigrationEnd =>
  choice._tag === "File" ? MigrationSqlite.end(choice.path) : MigrationPostgres.end(choice.target)

/** Engines write one value in more than one way. */
const canonical = (row: string): string => `${JSON.stringify(JSON.parse(row))}\n`

/** Reads a database to its end, and hands on what it holds; gives back what sums that up. */
const readThrough = (
  { records, settings }: MigrationSource,
  handOn: MigrationTarget["insert"],
  tell: (vms: number) => Effect.Effect<void>
) =>
  Effect.gen(function* () {
    const hash = createHash("sha256")
    const take: MigrationTarget["insert"] = (table, rows) =>
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
        yield* endOfTurn
      })
    )
    return { vms, settings: found.length, checksum: hash.digest("hex") }
  })

/**
 * Copies every record and setting of one database into another that is empty, as they are at one moment: with their ids,
 * CIDs and times, and in the order in which they were inserted. What was written is read back and compared before it is
 * committed: it is there whole or not at all. Gives back the number of VMs.
 */
export const migrate = (from: DatabaseChoice, to: DatabaseChoice, tell: Tell): Effect.Effect<number, DatabaseRefused> =>
  Effect.gen(function* () {
    const source = yield* endOf(from).source
    return yield* endOf(to).fill(source, (target) =>
      Effect.gen(function* () {
        const counts = yield* source.counts
        const read = yield* readThrough(source, target.insert, (vms) => tell("Copying", vms, counts.vms))
        const written = yield* readThrough(
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
        return yield* new DatabaseRefused({
          message: `what ${showDatabase(to)} made of it is not what ${showDatabase(from)} holds: nothing of it was kept`
        })
      })
    )
  }).pipe(Effect.scoped)
