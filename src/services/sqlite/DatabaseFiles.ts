import { closeSync, copyFileSync, existsSync, mkdtempSync, openSync, readSync, rmSync, statSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import { DatabaseRefused } from "../DatabaseRefused.js"
import { schemaVersion } from "../SchemaVersion.js"
import { type Contents, Current, Damaged, Empty, Foreign, findDamage, inspect, isUnusable } from "./DatabaseSchema.js"
import { cannotUse, refuse, withFiles } from "./Refusal.js"
import { openReadOnly, openReadWrite } from "./SqliteConnection.js"
import { codeOf, isSqlError } from "./SqliteFailure.js"

/** Which file is at a path, if there is one. */
export const fileAt = (path: string): string | undefined => {
  try {
    const { dev, ino } = statSync(path, { bigint: true })
    return `${dev}:${ino}`
  } catch {
    return undefined
  }
}

/** What the bytes of a file tell before SQLite sees them: it takes a stump for an empty database, and fills up a cut page. */
const inspectBytes = (path: string): Contents => {
  const size = statSync(path).size
  if (size === 0) return Empty()
  const head = Buffer.alloc(100)
  const file = openSync(path, "r")
  readSync(file, head)
  closeSync(file)
  // https://sqlite.org/fileformat2.html, 1.3
  if (head.toString("latin1", 0, 16) !== "SQLite format 3\0") return Foreign({ found: "it is no SQLite file" })
  const pageSize = head.readUInt16BE(16) === 1 ? 65_536 : head.readUInt16BE(16)
  const hasLog = (statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0) > 0
  if (size % pageSize !== 0 && !hasLog) return Damaged({ found: "its last page is cut short" })
  return Current()
}

/** A file with a transaction that was cut off, or with a log in a folder that can't be written to. */
const isUnreadable = (error: unknown) => isSqlError(error) && /^SQLITE_(READONLY|CANTOPEN)/.test(codeOf(error.cause))

/** Opens a database file for reading, or a copy of it where it can't be read as it is: not a byte of it is changed. */
export const openForReading = (path: string) =>
  openReadOnly(path).pipe(
    // What else is wrong with it is told by who reads on.
    Effect.tap((sql) =>
      Effect.catchIf(
        sql`SELECT count(*) FROM sqlite_master`,
        (error) => !isUnreadable(error),
        () => Effect.void
      )
    ),
    Effect.catchIf(isUnreadable, () =>
      Effect.gen(function* () {
        const folder = yield* Effect.acquireRelease(
          Effect.sync(() => mkdtempSync(join(tmpdir(), "nexus-"))),
          (name) => Effect.sync(() => rmSync(name, { recursive: true }))
        )
        const same = join(folder, "nexus.db")
        yield* withFiles(path, () => {
          for (const part of ["", "-wal", "-journal"]) {
            if (existsSync(path + part)) copyFileSync(path + part, same + part)
          }
        })
        return yield* openReadWrite(same)
      })
    )
  )

const reading = <A, E>(path: string, use: (sql: SqlClient) => Effect.Effect<A, E | SqlError>) =>
  Effect.scoped(Effect.flatMap(openForReading(path), use))

/** Finds out what a database file holds. */
export const look = (path: string) =>
  Effect.flatMap(
    withFiles(path, () => inspectBytes(path)),
    (bytes) => (bytes._tag === "Current" ? reading(path, inspect) : Effect.succeed(bytes))
  )

const countVms = (sql: SqlClient) =>
  Effect.map(sql<{ vms: number }>`SELECT count(*) AS vms FROM vms`, ([row]) => row?.vms ?? 0)

/** Checks every page, index and constraint of a database; gives back the number of VM records. */
export const check = (path: string, option?: string): Effect.Effect<number, DatabaseRefused> =>
  Effect.gen(function* () {
    if (!existsSync(path)) return yield* new DatabaseRefused({ message: `${path} does not exist` })
    const contents = yield* look(path)
    if (isUnusable(contents)) return yield* refuse(path, contents, option)
    if (contents._tag !== "Current") {
      return yield* new DatabaseRefused({ message: `${path} does not have schema version ${schemaVersion}` })
    }
    const { problem, vms } = yield* reading(path, (sql) =>
      Effect.all({ problem: findDamage(sql), vms: Effect.orElseSucceed(countVms(sql), () => 0) })
    )
    return problem === undefined ? vms : yield* refuse(path, Damaged({ found: problem }), option)
  }).pipe(Effect.mapError(cannotUse(path)))
