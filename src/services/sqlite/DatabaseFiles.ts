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

/** The device and inode of a file; `undefined` if it can't be read. */
export const fileIdentity = (path: string): string | undefined => {
  try {
    const { dev, ino } = statSync(path, { bigint: true })
    return `${dev}:${ino}`
  } catch {
    return undefined
  }
}

/** The size of a regular file in bytes; 0 if there is none. */
export const sizeOf = (path: string): number => {
  try {
    const file = statSync(path)
    return file.isFile() ? file.size : 0
  } catch {
    return 0
  }
}

/** `Foreign` for anything but a regular file, else `undefined`. */
const irregularKind = (file: Stats) => {
  if (file.isFile()) return undefined
  const kind = file.isDirectory() ? "directory" : file.isFIFO() ? "FIFO" : file.isSocket() ? "socket" : "device"
  return Foreign({ found: `it is a ${kind}, not a regular file` })
}

/** Fails if better-sqlite3 would open another file, since it trims names. */
export const assertFileName = (path: string) =>
  path === path.trim()
    ? Effect.void
    : new DatabaseOpenError({ message: `cannot use ${path}: the name of a database file can't end in white space` })

/** Fails if a database can't be at `path`, because of its name or the kind of file there. */
export const assertFilePath = (path: string) =>
  Effect.gen(function* () {
    yield* assertFileName(path)
    const file = yield* withFiles(path, () => statSync(path, { throwIfNoEntry: false }))
    const found = file && irregularKind(file)
    if (found !== undefined) return yield* openError(path, found)
  })

/** The first 100 bytes of a file. O_NONBLOCK: the file may have been replaced by a FIFO since `stat`. */
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
 * Classifies a file by its bytes before SQLite opens it. SQLite takes a file of a few bytes for an empty database, reads the
 * missing part of a truncated page as zeros, and would open a FIFO or a device.
 */
const inspectBytes = (path: string): Contents => {
  const file = statSync(path)
  const other = irregularKind(file)
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

/** Copies a database file, its log and journal to a temporary folder, until the scope closes. Returns the copy's path. */
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
      // The copy has the mode of its source, which may be read-only.
      chmodSync(copied, 0o600)
    })
    return copied
  })

/** Whether SQLite must write in order to read. */
const mustWriteToRead = (error: unknown) => isSqlError(error) && /^SQLITE_(READONLY|CANTOPEN)/.test(codeOf(error.cause))

/** Reads the schema, so that `mustWriteToRead` fails here. Later reads report any other error. */
const readSchema = (sql: SqlClient) =>
  Effect.catchIf(
    sql`SELECT count(*) FROM sqlite_master`,
    (error) => !mustWriteToRead(error),
    () => Effect.void
  )

/** Opens a file read-write, since a read-only connection skips CHECK constraints. The file and its log stay unchanged. */
const openUnchanged = (path: string) =>
  Effect.gen(function* () {
    // The last connection to close merges the log into the file and removes it (https://sqlite.org/wal.html). This one is
    // read-only, can't do so, and closes last.
    if (sizeOf(`${path}-wal`) > 0) yield* Effect.flatMap(openReadOnly(path), readSchema)
    return yield* Effect.tap(openWritable(path), readSchema)
  })

/** Keeps the log from being reset while it is copied. Ignores an unreadable file. */
const holdLog = (path: string) =>
  Effect.ignore(
    Effect.flatMap(openReadOnly(path), (sql) => Effect.zipRight(sql`BEGIN`, sql`SELECT count(*) FROM sqlite_master`))
  )

/**
 * Opens a database file for reading, until the scope closes. Changes no byte and leaves no file. Opens a temporary copy where
 * SQLite would have to write first: to roll back a transaction, or to index a log.
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
      : Effect.catchIf(openUnchanged(path), mustWriteToRead, () => openCopy)
  })

const withReadableDatabase = <A, E>(path: string, use: (sql: SqlClient) => Effect.Effect<A, E | SqlError>) =>
  Effect.scoped(Effect.flatMap(openForReading(path), use))

/** Classifies a database file. Changes nothing. */
export const inspectFile = (path: string) =>
  Effect.flatMap(
    withFiles(path, () => inspectBytes(path)),
    (bytes) => (bytes._tag === "Current" ? withReadableDatabase(path, inspectSchema) : Effect.succeed(bytes))
  )

const countVms = (sql: SqlClient) =>
  Effect.map(sql<{ vms: number }>`SELECT count(*) AS vms FROM vms`, ([row]) => row?.vms ?? 0)

/**
 * Checks every page, index and constraint of a database. Returns the number of VM records. `option` is the command-line
 * option that named the file, for the error message.
 */
export const check = (path: string, option?: string): Effect.Effect<number, DatabaseOpenError> =>
  Effect.gen(function* () {
    yield* assertFilePath(path)
    if (!existsSync(path)) return yield* new DatabaseOpenError({ message: `${path} does not exist` })
    const contents = yield* inspectFile(path)
    if (isUnusable(contents)) return yield* openError(path, contents, option)
    if (contents._tag !== "Current") {
      return yield* new DatabaseOpenError({ message: `${path} does not have schema version ${schemaVersion}` })
    }
    const { problem, vms } = yield* withReadableDatabase(path, (sql) =>
      Effect.all({ problem: findDamage(sql), vms: Effect.orElseSucceed(countVms(sql), () => 0) })
    )
    return problem === undefined ? vms : yield* openError(path, Damaged({ found: problem }), option)
  }).pipe(Effect.mapError(toOpenError(path)))
