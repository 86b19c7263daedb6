import { existsSync, linkSync, readFileSync, realpathSync, renameSync, rmSync, statSync } from "node:fs"
import { dirname } from "node:path"
import * as Effect from "effect/Effect"
import { DatabaseOpenError } from "../DatabaseOpenError.js"
import { assertNoneRuns, type NamedRecord, type RunningVms } from "../RunningVms.js"
import { copy, fsyncPath, uniqueBackupName } from "./DatabaseCopy.js"
import { assertFilePath, check, openForReading } from "./DatabaseFiles.js"
import { removeQuietly, withFiles } from "./OpenErrors.js"
import { withExclusiveLock } from "./SqliteConnection.js"
import { isBusy, isSqlError } from "./SqliteErrors.js"

/** Copies a database, live or not, to a file that must not exist, and checks both. Returns the number of VM records. */
export const backup = (path: string, to: string): Effect.Effect<number, DatabaseOpenError> =>
  check(path).pipe(Effect.zipRight(copy(path, to)), Effect.zipRight(check(to)))

/** Whether a process holds a lock on a file that SQLite can't read, by /proc/locks (proc(5)). `false` where there is none. */
const isLocked = (path: string) =>
  withFiles(path, () => {
    const { ino } = statSync(path)
    return existsSync("/proc/locks") && new RegExp(`:${ino} `).test(readFileSync("/proc/locks", "utf8"))
  })

/** The records of a database; none of one that can't be read. */
const namedRecords = (path: string) =>
  Effect.scoped(
    Effect.flatMap(openForReading(path), (sql) => sql<typeof NamedRecord.Type>`SELECT id, name FROM vms`)
  ).pipe(Effect.orElseSucceed(() => []))

/**
 * Replaces a database with a backup. Keeps the old database and returns its new path, or `undefined` if there was none.
 * Fails while any process has the database open, or a VM of it runs on this host. Runs of VMs stay behind: they are of the database that is replaced.
 */
export const restore = (
  path: string,
  from: string,
  running: RunningVms
): Effect.Effect<string | undefined, DatabaseOpenError> =>
  Effect.gen(function* () {
    yield* check(from)
    yield* assertFilePath(path)
    if (!existsSync(path)) {
      yield* copy(from, path, { withoutRuns: true })
      return undefined
    }
    if (running.size > 0) yield* assertNoneRuns(path, yield* namedRecords(path), running)
    // Keeps a symbolic link to the database.
    const database = yield* withFiles(path, () => realpathSync(path))
    const incoming = `${database}.restoring`
    const kept = yield* uniqueBackupName(`${database}.replaced-`)
    yield* withFiles(path, () => rmSync(incoming, { force: true }))
    const swap = withFiles(path, () => {
      // Not copied: closing a file releases all the process's locks on it, SQLite's too (fcntl_locking(2)).
      linkSync(database, kept)
      // SQLite would apply the old log to the new database.
      for (const part of ["-wal", "-shm", "-journal"]) {
        if (existsSync(`${database}${part}`)) renameSync(`${database}${part}`, `${kept}${part}`)
      }
      renameSync(incoming, database)
      fsyncPath(dirname(database))
    })
    yield* copy(from, incoming, { withoutRuns: true })
    yield* withExclusiveLock(database, swap).pipe(
      Effect.catchIf(isSqlError, (error) =>
        Effect.flatMap(isBusy(error) ? Effect.succeed(true) : isLocked(database), (isOpen) =>
          isOpen ? new DatabaseOpenError({ message: `${path} is open in another process: stop nexusd first` }) : swap
        )
      ),
      Effect.ensuring(removeQuietly(incoming))
    )
    return kept
  })
