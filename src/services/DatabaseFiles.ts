import {
  closeSync,
  copyFileSync,
  existsSync,
  fsyncSync,
  linkSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import {
  type Contents,
  Current,
  Damaged,
  Empty,
  Foreign,
  findDamage,
  inspect,
  isUnusable,
  schemaVersion,
  type Unusable
} from "./DatabaseSchema.js"
import { exclusively, openReadOnly, openReadWrite } from "./SqliteConnection.js"
import { codeOf, isBusy, isSqlError } from "./SqliteFailure.js"

/** A database can't be used; `message` says what was found and what to do. */
export class DatabaseRefused extends Data.TaggedError("DatabaseRefused")<{ readonly message: string }> {}

const advice = (contents: Unusable, option: string): string => {
  const elsewhere = `give another file with ${option} PATH`
  switch (contents._tag) {
    case "Newer":
      return `has schema version ${contents.version}, made by a newer nexusd (this one knows ${schemaVersion}): upgrade nexusd, or ${elsewhere}`
    case "Foreign":
      return `is not a Nexus database (${contents.found}): ${elsewhere}`
    case "Damaged":
      return `is damaged (${contents.found}): put a backup in its place with nexusd restore, or ${elsewhere}`
  }
}

/** SQLite's messages may quote a whole schema; a refusal is one line. */
const oneLine = (text: string): string => text.replace(/\s+/g, " ")

/** Says what was found in a database that can't be used, and what to do about it, with the option that names a file. */
export const refuse = (path: string, contents: Unusable, option = "--db"): DatabaseRefused =>
  new DatabaseRefused({ message: `${path} ${oneLine(advice(contents, option))}` })

/** Any failure with a file, said of that file. */
export const cannotUse =
  (path: string) =>
  (cause: unknown): DatabaseRefused =>
    cause instanceof DatabaseRefused
      ? cause
      : new DatabaseRefused({
          message: `cannot use ${path}: ${oneLine(String(isSqlError(cause) ? cause.cause : cause))}`
        })

/** Which file is at a path, if there is one. */
export const fileAt = (path: string): string | undefined => {
  try {
    const { dev, ino } = statSync(path, { bigint: true })
    return `${dev}:${ino}`
  } catch {
    return undefined
  }
}

/** Does something with files, all of which may fail. */
export const withFiles = <A>(path: string, use: () => A) => Effect.try({ try: use, catch: cannotUse(path) })

const sync = (path: string) => {
  const file = openSync(path, "r")
  fsyncSync(file)
  closeSync(file)
}

/** A UTC time as it stands in a file's name: 20260218T143006Z. */
const timeStamp = Effect.map(DateTime.now, (now) => DateTime.formatIso(now).replace(/[-:]|\.\d+/g, ""))

/** Copies a database, as of one moment, into a new file that is its owner's alone. It has its name once it is on disk. */
const copy = (from: string, to: string) =>
  Effect.gen(function* () {
    const unfinished = `${to}.unfinished`
    yield* withFiles(to, () => {
      if (existsSync(to)) throw new DatabaseRefused({ message: `${to} exists: give a name that is free` })
      rmSync(unfinished, { force: true })
      writeFileSync(unfinished, "", { mode: 0o600 })
    })
    yield* Effect.scoped(Effect.flatMap(openReadOnly(from), (sql) => sql`VACUUM INTO ${unfinished}`))
    yield* withFiles(to, () => {
      sync(unfinished)
      // A link fails where a name is taken; a rename would replace what has it.
      linkSync(unfinished, to)
      rmSync(unfinished)
      sync(dirname(to))
    })
  }).pipe(Effect.mapError(cannotUse(to)))

/** A name for a copy that is kept: by the time, and numbered from the second of that time on. */
const freeName = (prefix: string) =>
  Effect.map(timeStamp, (stamp) => {
    const numbered = (count: number): string => {
      const name = `${prefix}${stamp}${count === 1 ? "" : `-${count}`}.bak`
      return existsSync(name) ? numbered(count + 1) : name
    }
    return numbered(1)
  })

/**
 * Copies a database into a file that is named by the time, unless such a copy of it is there from an attempt that was
 * cut off; gives back the copy's name.
 */
export const copyOnce = (path: string, prefix: string) =>
  Effect.gen(function* () {
    const earlier = yield* withFiles(path, () =>
      readdirSync(dirname(path))
        .map((name) => join(dirname(path), name))
        .filter((name) => name.startsWith(prefix) && name.endsWith(".bak"))
    )
    const made = yield* freeName(prefix)
    yield* copy(path, made)
    return yield* withFiles(made, () => {
      const same = earlier.find((name) => readFileSync(name).equals(readFileSync(made)))
      if (same === undefined) return made
      rmSync(made)
      return same
    })
  })

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

/** Writes a verified copy of a database, live or not, to a file that does not exist yet. */
export const backup = (path: string, to: string): Effect.Effect<number, DatabaseRefused> =>
  check(path).pipe(Effect.zipRight(copy(path, to)), Effect.zipRight(check(to)))

/**
 * Whether a process holds a lock on a file that SQLite itself can't make sense of any more: as Linux tells it in proc(5).
 * Where nothing tells it, no daemon is taken to run.
 */
const isLocked = (path: string): boolean => {
  const { ino } = statSync(path)
  return existsSync("/proc/locks") && new RegExp(`:${ino} `).test(readFileSync("/proc/locks", "utf8"))
}

/**
 * Puts a backup in a database's place, and keeps what was there; gives back the name it is kept under, if there was
 * anything. Fails while any process has the database open.
 */
export const restore = (path: string, from: string): Effect.Effect<string | undefined, DatabaseRefused> =>
  Effect.gen(function* () {
    yield* check(from)
    const incoming = `${path}.restoring`
    const kept = yield* freeName(`${path}.replaced-`)
    yield* withFiles(incoming, () => rmSync(incoming, { force: true }))
    const swap = withFiles(path, () => {
      copyFileSync(path, `${kept}.unfinished`)
      sync(`${kept}.unfinished`)
      renameSync(`${kept}.unfinished`, kept)
      // What a damaged database left beside itself is of no use to the new one, and would spoil it.
      for (const part of ["-wal", "-shm", "-journal"]) {
        if (existsSync(`${path}${part}`)) renameSync(`${path}${part}`, `${kept}${part}`)
      }
      renameSync(incoming, path)
      sync(dirname(path))
    })
    if (!existsSync(path)) {
      yield* copy(from, path)
      return undefined
    }
    yield* copy(from, incoming)
    yield* exclusively(path, swap).pipe(
      Effect.catchIf(isSqlError, (error) =>
        isBusy(error) || isLocked(path)
          ? new DatabaseRefused({ message: `${path} is open in another process: stop nexusd first` })
          : swap
      ),
      Effect.ensuring(Effect.sync(() => rmSync(incoming, { force: true })))
    )
    return kept
  })
