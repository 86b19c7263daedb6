import { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import { StoreUnavailable } from "../../domain/Errors.js"

/** SQLite's result code, such as SQLITE_BUSY_SNAPSHOT (https://sqlite.org/rescode.html), or an empty string. */
export const codeOf = (cause: unknown): string =>
  typeof cause === "object" && cause !== null && "code" in cause && typeof cause.code === "string" ? cause.code : ""

export const isSqlError = (error: unknown): error is SqlError => error instanceof SqlError

/** Another connection holds the lock; a retry can succeed. */
export const isBusy = (error: SqlError): boolean => /^SQLITE_(BUSY|LOCKED)/.test(codeOf(error.cause))

/** The disk is full; a checkpoint may free space of the write-ahead log. */
export const isFull = (error: SqlError): boolean => codeOf(error.cause).startsWith("SQLITE_FULL")

/** Result codes whose cause is outside nexusd, and the message that clients get. */
const outages: ReadonlyArray<readonly [code: RegExp, error: string]> = [
  [/^SQLITE_(BUSY|LOCKED)/, "the database is locked by another process; try again"],
  [/^SQLITE_FULL/, "no space is left for the database"],
  [/^SQLITE_READONLY/, "the database is read-only"],
  [/^SQLITE_(IOERR|CANTOPEN|CORRUPT|NOTADB|NOMEM|PERM|AUTH|PROTOCOL)/, "the database cannot be read or written"]
]

/** An outage becomes `StoreUnavailable`, and its cause is logged. Any other SQL error is a bug: a defect. */
export const toUnavailable = (error: SqlError): Effect.Effect<never, StoreUnavailable> => {
  const outage = outages.find(([code]) => code.test(codeOf(error.cause)))
  return outage === undefined
    ? Effect.die(error.cause)
    : Effect.zipRight(
        Effect.logError(`store: ${codeOf(error.cause)}: ${String(error.cause)}`),
        new StoreUnavailable({ message: outage[1] })
      )
}
