import { copyFileSync, existsSync, readFileSync, renameSync, rmSync, statSync } from "node:fs"
import { dirname } from "node:path"
import * as Effect from "effect/Effect"
import { DatabaseRefused } from "../DatabaseRefused.js"
import { copy, freeName, sync } from "./DatabaseCopy.js"
import { check } from "./DatabaseFiles.js"
import { withFiles } from "./Refusal.js"
import { exclusively } from "./SqliteConnection.js"
import { isBusy, isSqlError } from "./SqliteFailure.js"

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
