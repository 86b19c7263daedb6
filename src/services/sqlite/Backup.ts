import { existsSync, linkSync, readFileSync, realpathSync, renameSync, rmSync, statSync } from "node:fs"
import { dirname } from "node:path"
import * as Effect from "effect/Effect"
import { DatabaseOpenError } from "../DatabaseOpenError.js"
import { copy, freeName, sync } from "./DatabaseCopy.js"
import { assertFilePath, check } from "./DatabaseFiles.js"
import { removeQuietly, withFiles } from "./OpenErrors.js"
import { withExclusiveLock } from "./SqliteConnection.js"
import { isBusy, isSqlError } from "./SqliteErrors.js"

/** Writes a verified copy of a database, live or not, to a file that does not exist yet. */
export const backup = (path: string, to: string): Effect.Effect<number, DatabaseOpenError> =>
  check(path).pipe(Effect.zipRight(copy(path, to)), Effect.zipRight(check(to)))

/**
 * Whether a process holds a lock on a file that SQLite can't read any more, as Linux lists it in proc(5). Elsewhere this is
 * unknown, and no daemon is taken to run.
 */
const isLocked = (path: string) =>
  withFiles(path, () => {
    const { ino } = statSync(path)
    return existsSync("/proc/locks") && new RegExp(`:${ino} `).test(readFileSync("/proc/locks", "utf8"))
  })

/**
 * Puts a backup in a database's place, and keeps what was there; returns the name it is kept under, if there was anything.
 * Fails while any process has the database open.
 */
export const restore = (path: string, from: string): Effect.Effect<string | undefined, DatabaseOpenError> =>
  Effect.gen(function* () {
    yield* check(from)
    yield* assertFilePath(path)
    if (!existsSync(path)) {
      yield* copy(from, path)
      return undefined
    }
    // A link to the database stays one.
    const database = yield* withFiles(path, () => realpathSync(path))
    const incoming = `${database}.restoring`
    const kept = yield* freeName(`${database}.replaced-`)
    yield* withFiles(path, () => rmSync(incoming, { force: true }))
    const swap = withFiles(path, () => {
      // Linked, not copied: to open and close the file here would release SQLite's locks on it (fcntl_locking(2)).
      linkSync(database, kept)
      // A damaged database's log is of no use to the new one, and would spoil it.
      for (const part of ["-wal", "-shm", "-journal"]) {
        if (existsSync(`${database}${part}`)) renameSync(`${database}${part}`, `${kept}${part}`)
      }
      renameSync(incoming, database)
      sync(dirname(database))
    })
    yield* copy(from, incoming)
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
