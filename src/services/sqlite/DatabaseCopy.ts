import {
  closeSync,
  existsSync,
  fsyncSync,
  linkSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync
} from "node:fs"
import { dirname, join } from "node:path"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import { DatabaseOpenError } from "../DatabaseOpenError.js"
import { assertFileName, openForReading } from "./DatabaseFiles.js"
import { removeQuietly, toOpenError, withFiles } from "./OpenErrors.js"
import { openReadOnly } from "./SqliteConnection.js"

/** Waits until a file, or what a folder lists, is on disk. */
export const sync = (path: string) => {
  const file = openSync(path, "r")
  fsyncSync(file)
  closeSync(file)
}

/** A UTC time as it stands in a file's name: 20260218T143006Z. */
const timeStamp = Effect.map(DateTime.now, (now) => DateTime.formatIso(now).replace(/[-:]|\.\d+/g, ""))

/** Copies a database, as of one moment, into a new file that is its owner's alone. It has its name once it is on disk. */
export const copy = (from: string, to: string, open = openForReading) =>
  Effect.gen(function* () {
    yield* assertFileName(to)
    const unfinished = `${to}.unfinished`
    yield* withFiles(to, () => {
      if (lstatSync(to, { throwIfNoEntry: false })) {
        throw new DatabaseOpenError({ message: `${to} exists: give a name that is free` })
      }
      rmSync(unfinished, { force: true })
      writeFileSync(unfinished, "", { mode: 0o600 })
    })
    yield* Effect.scoped(Effect.flatMap(open(from), (sql) => sql`VACUUM INTO ${unfinished}`)).pipe(
      Effect.zipRight(
        withFiles(to, () => {
          sync(unfinished)
          // A link fails where a name is taken; a rename would replace what has it.
          linkSync(unfinished, to)
          rmSync(unfinished)
          sync(dirname(to))
        })
      ),
      // On a full disk it holds the space that is missing.
      Effect.onError(() => removeQuietly(unfinished))
    )
  }).pipe(Effect.mapError(toOpenError(to)))

/** A name for a copy that is kept: by the time, and numbered from the second of that time on. */
export const freeName = (prefix: string) =>
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
    yield* copy(path, made, openReadOnly)
    return yield* withFiles(made, () => {
      const same = earlier.find((name) => readFileSync(name).equals(readFileSync(made)))
      if (same === undefined) return made
      rmSync(made)
      return same
    })
  })
