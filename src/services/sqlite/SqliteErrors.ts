import { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import { StoreUnavailable } from "../../domain/Errors.js"

/** SQLite's own name for what went wrong, such as SQLITE_BUSY_SNAPSHOT (https://sqlite.org/rescode.html). */
export const codeOf = (cause: unknown): string =>
  typeof cause === "object" && cause !== null && "code" in cause && typeof cause.code === "string" ? cause.code : ""

export const isSqlError = (error: unknown): error is SqlError => error instanceof SqlError

/** Somebody else holds the lock: the same call can succeed in a moment. */
export const isBusy = (error: SqlError): boolean => /^SQLITE_(BUSY|LOCKED)/.test(codeOf(error.cause))

/** There is no room on the disk: the write-ahead log may hold some that a checkpoint gives back. */
export const isFull = (error: SqlError): boolean => codeOf(error.cause).startsWith("SQLITE_FULL")

/** Failures that come from outside the program, and what people are told of them. */
const outages: ReadonlyArray<readonly [code: RegExp, error: string]> = [
  [/^SQLITE_(BUSY|LOCKED)/, "the database is locked by another process; try again"],
  [/^SQLITE_FULL/, "no space is left for the database"],
  [/^SQLITE_READONLY/, "the database is read-only"],
  [/^SQLITE_(IOERR|CANTOPEN|CORRUPT|NOTADB|NOMEM|PERM|AUTH|PROTOCOL)/, "the database cannot be read or written"]
]

/** An outage becomes `StoreUnavailable`, with its cause in the log; any other SQL error is a bug, thus a defect. */
export const toUnavailable = (error: SqlError): Effect.Effect<never, StoreUnavailable> => {
  const outage = outages.find(([code]) => code.test(codeOf(error.cause)))
  return outage === undefined
    ? Effect.die(error.cause)
    : Effect.zipRight(
        Effect.logError(`store: ${codeOf(error.cause)}: ${String(error.cause)}`),
        new StoreUnavailable({ message: outage[1] })
      )
}
