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
import { isRun } from "../VmRunRow.js"
import { assertFileName, openForReading } from "./DatabaseFiles.js"
import { removeQuietly, toOpenError, withFiles } from "./OpenErrors.js"
import { openReadOnly, openWritable } from "./SqliteConnection.js"

/** Syncs a file or folder to disk. */
export const fsyncPath = (path: string) => {
  const file = openSync(path, "r")
  fsyncSync(file)
  closeSync(file)
}

/** The current UTC time for a file name: 20260218T143006Z. */
const timeStamp = Effect.map(DateTime.now, (now) => DateTime.formatIso(now).replace(/[-:]|\.\d+/g, ""))

/**
 * Removes the runs of a copied database: its VMs do not run. Without a journal, whose leftovers would be applied to the next
 * file of that name; an incomplete copy is removed.
 */
const removeRuns = (path: string) =>
  Effect.gen(function* () {
    const sql = yield* openWritable(path)
    yield* sql`PRAGMA journal_mode = OFF`
    yield* sql.unsafe(`DELETE FROM settings WHERE ${isRun}`)
  }).pipe(Effect.scoped)

interface CopyOptions {
  /** How to open the database; `openForReading` if absent. */
  readonly open?: typeof openForReading | typeof openReadOnly
  /** Leaves out the runs of VMs. */
  readonly withoutRuns?: boolean
}

/**
 * Copies a snapshot of a database into a new file of mode 0600. The final name appears only after fsync. Fails if the file
 * exists.
 */
export const copy = (from: string, to: string, { open = openForReading, withoutRuns = false }: CopyOptions = {}) =>
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
      Effect.zipRight(Effect.when(removeRuns(unfinished), () => withoutRuns)),
      Effect.zipRight(
        withFiles(to, () => {
          fsyncPath(unfinished)
          // A link fails if the name exists; a rename would replace it.
          linkSync(unfinished, to)
          rmSync(unfinished)
          fsyncPath(dirname(to))
        })
      ),
      // Frees the space on a full disk.
      Effect.onError(() => removeQuietly(unfinished))
    )
  }).pipe(Effect.mapError(toOpenError(to)))

/** An unused path `PREFIX<UTC time>.bak`; a counter from 2 follows where that exists. */
export const uniqueBackupName = (prefix: string) =>
  Effect.map(timeStamp, (stamp) => {
    const numbered = (count: number): string => {
      const name = `${prefix}${stamp}${count === 1 ? "" : `-${count}`}.bak`
      return existsSync(name) ? numbered(count + 1) : name
    }
    return numbered(1)
  })

/** Copies a database to a path of `uniqueBackupName`, unless an interrupted attempt has left an equal copy. Returns its path. */
export const copyOnce = (path: string, prefix: string) =>
  Effect.gen(function* () {
    const earlier = yield* withFiles(path, () =>
      readdirSync(dirname(path))
        .map((name) => join(dirname(path), name))
        .filter((name) => name.startsWith(prefix) && name.endsWith(".bak"))
    )
    const made = yield* uniqueBackupName(prefix)
    yield* copy(path, made, { open: openReadOnly })
    return yield* withFiles(made, () => {
      const same = earlier.find((name) => readFileSync(name).equals(readFileSync(made)))
      if (same === undefined) return made
      rmSync(made)
      return same
    })
  })
