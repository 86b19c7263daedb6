import {
  accessSync,
  chmodSync,
  closeSync,
  constants,
  copyFileSync,
  existsSync,
  mkdtempSync,
  openSync,
  readSync,
  type Stats,
  statSync
} from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import { DatabaseOpenError } from "../DatabaseOpenError.js"
import { schemaVersion } from "../SchemaVersion.js"
import {
  type Contents,
  Current,
  Damaged,
  Empty,
  Foreign,
  findDamage,
  inspectSchema,
  isUnusable
} from "./DatabaseSchema.js"
import { openError, removeQuietly, toOpenError, withFiles } from "./OpenErrors.js"
import { openReadOnly, openReadWrite, openWritable } from "./SqliteConnection.js"
import { codeOf, isSqlError } from "./SqliteErrors.js"

/** Which file is at a path, if there is one. */
export const fileIdentity = (path: string): string | undefined => {
  try {
    const { dev, ino } = statSync(path, { bigint: true })
    return `${dev}:${ino}`
  } catch {
    return undefined
  }
}

/** The size of a regular file; 0 where none can be found. */
export const sizeOf = (path: string): number => {
  try {
    const file = statSync(path)
    return file.isFile() ? file.size : 0
  } catch {
    return 0
  }
}

/** Says what is not a regular file; nothing of one that is. */
const irregular = (file: Stats) => {
  if (file.isFile()) return undefined
  const kind = file.isDirectory() ? "directory" : file.isFIFO() ? "FIFO" : file.isSocket() ? "socket" : "device"
  return Foreign({ found: `it is a ${kind}, not a regular file` })
}

/** Fails when better-sqlite3 would open another file: it trims names. */
export const assertFileName = (path: string) =>
  path === path.trim()
    ? Effect.void
    : new DatabaseOpenError({ message: `cannot use ${path}: the name of a database file can't end in white space` })

/** Fails when a database can't be at `path`, for its name or for what is there. */
export const assertFilePath = (path: string) =>
  Effect.gen(function* () {
    yield* assertFileName(path)
    const file = yield* withFiles(path, () => statSync(path, { throwIfNoEntry: false }))
    const found = file && irregular(file)
    if (found !== undefined) return yield* openError(path, found)
  })

/** The first bytes of a file. It does not block, should a FIFO have taken the file's name since it was looked at. */
const readHead = (path: string): Buffer => {
  const head = Buffer.alloc(100)
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    readSync(file, head)
  } finally {
    closeSync(file)
  }
  return head
}

/**
 * What a file's bytes say before SQLite opens it: SQLite takes a few bytes for an empty database, fills up a truncated page,
 * and would open a FIFO or a device.
 */
const inspectBytes = (path: string): Contents => {
  const file = statSync(path)
  const other = irregular(file)
  if (other !== undefined) return other
  if (file.size === 0) return Empty()
  const head = readHead(path)
  // https://sqlite.org/fileformat2.html, 1.3
  if (head.toString("latin1", 0, 16) !== "SQLite format 3\0") return Foreign({ found: "it is no SQLite file" })
  const pageSize = head.readUInt16BE(16) === 1 ? 65_536 : head.readUInt16BE(16)
  if (file.size % pageSize !== 0 && sizeOf(`${path}-wal`) === 0) return Damaged({ found: "its last page is cut short" })
  return Current()
}

const isWritable = (path: string): boolean => {
  try {
    accessSync(path, constants.W_OK)
    accessSync(dirname(path), constants.W_OK)
    return true
  } catch {
    return false
  }
}

/** Copies a database file and what belongs to it into a temporary folder, until the scope closes. Returns the copy's path. */
const copyPrivately = (path: string) =>
  Effect.gen(function* () {
    const attempt = <A>(use: () => A) =>
      Effect.try({
        try: use,
        catch: (error) =>
          new DatabaseOpenError({ message: `cannot copy ${path} to ${tmpdir()} to read it there: ${String(error)}` })
      })
    const folder = yield* Effect.acquireRelease(
      attempt(() => mkdtempSync(join(tmpdir(), "nexus-"))),
      removeQuietly
    )
    const copied = join(folder, "nexus.db")
    yield* attempt(() => {
      for (const part of ["", "-wal", "-journal"]) {
        if (part === "" || sizeOf(path + part) > 0) copyFileSync(path + part, copied + part)
      }
      // A copy has the mode of what it was made from.
      chmodSync(copied, 0o600)
    })
    return copied
  })

/** SQLite would have to write in order to read. */
const isUnreadable = (error: unknown) => isSqlError(error) && /^SQLITE_(READONLY|CANTOPEN)/.test(codeOf(error.cause))

/** Reads the schema, so that an unreadable file fails here. Other damage is reported by what reads on. */
const touch = (sql: SqlClient) =>
  Effect.catchIf(
    sql`SELECT count(*) FROM sqlite_master`,
    (error) => !isUnreadable(error),
    () => Effect.void
  )

/**
 * Opens a file as one that may be written, since a read-only connection skips CHECK constraints, and changes nothing: only
 * reads are run, and a log that holds changes stays as it is.
 */
const openUnchanged = (path: string) =>
  Effect.gen(function* () {
    // The last connection to close merges the log into the file and removes it (https://sqlite.org/wal.html); one that is
    // read-only can't. This one is closed after the other.
    if (sizeOf(`${path}-wal`) > 0) yield* Effect.flatMap(openReadOnly(path), touch)
    return yield* Effect.tap(openWritable(path), touch)
  })

/** Keeps the log from being emptied while it is copied, where the file can be read at all. */
const holdLog = (path: string) =>
  Effect.ignore(
    Effect.flatMap(openReadOnly(path), (sql) => Effect.zipRight(sql`BEGIN`, sql`SELECT count(*) FROM sqlite_master`))
  )

/**
 * Opens a database file for reading, until the scope closes. Not a byte of it is changed, and no file is left beside it. It
 * reads a copy where SQLite would have to write first: to roll back a transaction, or to index a log.
 */
export const openForReading = (path: string) =>
  Effect.gen(function* () {
    const hasLog = sizeOf(`${path}-wal`) > 0
    const hasIndex = existsSync(`${path}-shm`)
    const openCopy = Effect.gen(function* () {
      if (hasLog && hasIndex) yield* holdLog(path)
      return yield* openReadWrite(yield* copyPrivately(path))
    })
    return yield* !isWritable(path) || (hasLog && !hasIndex) || sizeOf(`${path}-journal`) > 0
      ? openCopy
      : Effect.catchIf(openUnchanged(path), isUnreadable, () => openCopy)
  })

const reading = <A, E>(path: string, use: (sql: SqlClient) => Effect.Effect<A, E | SqlError>) =>
  Effect.scoped(Effect.flatMap(openForReading(path), use))

/** Finds out what a database file holds. */
export const inspectFile = (path: string) =>
  Effect.flatMap(
    withFiles(path, () => inspectBytes(path)),
    (bytes) => (bytes._tag === "Current" ? reading(path, inspectSchema) : Effect.succeed(bytes))
  )

const countVms = (sql: SqlClient) =>
  Effect.map(sql<{ vms: number }>`SELECT count(*) AS vms FROM vms`, ([row]) => row?.vms ?? 0)

/** Checks every page, index and constraint of a database; gives back the number of VM records. */
export const check = (path: string, option?: string): Effect.Effect<number, DatabaseOpenError> =>
  Effect.gen(function* () {
    yield* assertFilePath(path)
    if (!existsSync(path)) return yield* new DatabaseOpenError({ message: `${path} does not exist` })
    const contents = yield* inspectFile(path)
    if (isUnusable(contents)) return yield* openError(path, contents, option)
    if (contents._tag !== "Current") {
      return yield* new DatabaseOpenError({ message: `${path} does not have schema version ${schemaVersion}` })
    }
    const { problem, vms } = yield* reading(path, (sql) =>
      Effect.all({ problem: findDamage(sql), vms: Effect.orElseSucceed(countVms(sql), () => 0) })
    )
    return problem === undefined ? vms : yield* openError(path, Damaged({ found: problem }), option)
  }).pipe(Effect.mapError(toOpenError(path)))
