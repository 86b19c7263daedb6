import { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import { StoreUnavailable } from "../../domain/Errors.js"
import { DatabaseOpenError } from "../DatabaseOpenError.js"

export const isSqlError = (error: unknown): error is SqlError => error instanceof SqlError

const property = (cause: unknown, name: "code" | "constraint"): string =>
  typeof cause === "object" && cause !== null && name in cause ? String(Reflect.get(cause, name)) : ""

/** SQLSTATE (PostgreSQL, appendix A) where the server said what went wrong, else Node.js' code, if any. */
const codeOf = ({ cause }: SqlError): string => property(cause, "code")

/** Whether the server answered, and its answer was an error: then the statement has done nothing. EPIPE is Node's. */
const isAnswer = (code: string): boolean => /^(\d[0-9A-Z]|F0|HV|P0|XX)[0-9A-Z]{3}$/.test(code) && !code.startsWith("08")

/** Whether an insert failed because of that constraint. */
export const violates =
  (constraint: string) =>
  (error: unknown): boolean =>
    isSqlError(error) && codeOf(error) === "23505" && property(error.cause, "constraint") === constraint

/** What a failure says, here and in @effect/sql-pg, when no connection was to be had. */
export const unconnected = "Failed to acquire connection"

/** Whether no connection was to be had: nothing has been asked of any server then. */
export const isUnconnected = (error: unknown): boolean => isSqlError(error) && error.message.startsWith(unconnected)

const messageOf = ({ cause }: SqlError): string => {
  // A name with several addresses fails with one error for each.
  const first: unknown = cause instanceof AggregateError ? cause.errors[0] : cause
  return (first instanceof Error ? first.message : String(first)).replace(/\s+/g, " ")
}

/** What pg says, without a code, when a server asks for a password and it has none. */
const lacksPassword = (error: SqlError): boolean => messageOf(error).includes("password must be a string")

/** What went wrong, in one line, for the log and for who starts the daemon. */
const describe = (error: SqlError): string =>
  lacksPassword(error)
    ? "the server asks for a password, and there is none in the URL, PGPASSWORD or ~/.pgpass"
    : messageOf(error)

/** Any failure with a server, said of that server. */
export const toOpenError =
  (shown: string) =>
  (cause: unknown): DatabaseOpenError =>
    cause instanceof DatabaseOpenError
      ? cause
      : new DatabaseOpenError({
          message: `cannot use ${shown}: ${isSqlError(cause) ? describe(cause) : String(cause)}`
        })

/** Failures that waiting won't mend: who starts the daemon must do something. */
export const isPermanent = (error: SqlError): boolean =>
  lacksPassword(error) || /^(28|3D|3F|42|22|0A)|CERT|ERR_TLS|ERR_SSL|UNABLE_TO/.test(codeOf(error))

/** Of a standby, or a database that takes no changes. */
export const readOnly = "the database is read-only"
const unreached = "the database cannot be reached"
const unanswered = "the database did not answer in time, so that a change may have been made or not"

/** Failures that come from outside the program, and what people are told of them. */
const outages: ReadonlyArray<readonly [code: RegExp, error: string]> = [
  [/^25006$/, readOnly],
  [/^53100$/, "no space is left for the database"],
  [/^(57014|55P03|40)/, "the database is busy; try again"],
  [/^(28|3D|42501|42P01|3F)/, "the database refuses nexusd"],
  [/^(53|57|58|XX|F0)/, "the database cannot be read or written"]
]

/** What people are told of an outage; nothing for a bug. */
const told = (error: SqlError): string | undefined => {
  const code = codeOf(error)
  const outage = outages.find(([pattern]) => pattern.test(code))
  if (outage !== undefined) return outage[1]
  if (isUnconnected(error)) return unreached
  return isAnswer(code) ? undefined : unanswered
}

/** An outage becomes `StoreUnavailable`, with its cause in the log; any other SQL error is a bug, thus a defect. */
export const toUnavailable = (error: SqlError): Effect.Effect<never, StoreUnavailable> => {
  const text = told(error)
  return text === undefined
    ? Effect.die(error.cause)
    : Effect.zipRight(
        Effect.logError(`store: ${[codeOf(error), describe(error)].filter((part) => part !== "").join(": ")}`),
        new StoreUnavailable({ message: text })
      )
}
