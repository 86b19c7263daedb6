import { rmSync } from "node:fs"
import * as Effect from "effect/Effect"
import { DatabaseOpenError } from "../DatabaseOpenError.js"
import { schemaVersion } from "../SchemaVersion.js"
import type { Unusable } from "./DatabaseSchema.js"
import { isSqlError } from "./SqliteErrors.js"

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

/** SQLite's messages may quote a whole schema, in several lines. */
const oneLine = (text: string): string => text.replace(/\s+/g, " ")

/** The error for a database that can't be used: what it is and what to do. `option` is the one that names the file. */
export const openError = (path: string, contents: Unusable, option = "--db"): DatabaseOpenError =>
  new DatabaseOpenError({ message: `${path} ${oneLine(advice(contents, option))}` })

/** Makes any failure a `DatabaseOpenError` that names the file. */
export const toOpenError =
  (path: string) =>
  (cause: unknown): DatabaseOpenError =>
    cause instanceof DatabaseOpenError
      ? cause
      : new DatabaseOpenError({
          message: `cannot use ${path}: ${oneLine(String(isSqlError(cause) ? cause.cause : cause))}`
        })

/** Runs synchronous file operations. What they throw becomes a `DatabaseOpenError`. */
export const withFiles = <A>(path: string, use: () => A) => Effect.try({ try: use, catch: toOpenError(path) })

/** Removes a temporary file or folder. Ignores errors. */
export const removeQuietly = (path: string) =>
  Effect.ignore(Effect.try(() => rmSync(path, { recursive: true, force: true })))
