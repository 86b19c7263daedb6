import { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import { StoreUnavailable } from "../../domain/Errors.js"
import { DatabaseOpenError } from "../DatabaseOpenError.js"
import { isRefusedParameter, optionsMessage } from "./Pooler.js"

export const isSqlError = (error: unknown): error is SqlError => error instanceof SqlError

const stringProperty = (cause: unknown, name: "code" | "constraint"): string =>
  typeof cause === "object" && cause !== null && name in cause ? String(Reflect.get(cause, name)) : ""

/** The SQLSTATE (PostgreSQL, appendix A) of a server's error, else Node.js's error code, else an empty string. */
const codeOf = ({ cause }: SqlError): string => stringProperty(cause, "code")

/** Whether the code is a SQLSTATE other than class 08: the server refused the statement, which had no effect. */
const isServerError = (code: string): boolean =>
  /^(\d[0-9A-Z]|F0|HV|P0|XX)[0-9A-Z]{3}$/.test(code) && !code.startsWith("08")

/** Makes a test whether an error is a unique violation (23505) of that constraint. */
export const violates =
  (constraint: string) =>
  (error: unknown): boolean =>
    isSqlError(error) && codeOf(error) === "23505" && stringProperty(error.cause, "constraint") === constraint

/** Message of a `SqlError` when no connection could be made; @effect/sql-pg uses the same. */
export const connectErrorMessage = "Failed to acquire connection"

/** Whether no connection could be made. No statement was sent then. */
export const isConnectError = (error: unknown): boolean =>
  isSqlError(error) && error.message.startsWith(connectErrorMessage)

const messageOf = ({ cause }: SqlError): string => {
  // A name with several addresses fails with one error for each.
  const first: unknown = cause instanceof AggregateError ? cause.errors[0] : cause
  return (first instanceof Error ? first.message : String(first)).replace(/\s+/g, " ")
}

/** pg throws this, without a code, when a server requires a password and none is set. */
const lacksPassword = (error: SqlError): boolean => messageOf(error).includes("password must be a string")

/** One line for the log and for the user who starts nexusd. */
const errorMessage = (error: SqlError): string => {
  if (lacksPassword(error))
    return "the server asks for a password, and there is none in the URL, PGPASSWORD or ~/.pgpass"
  const message = messageOf(error)
  return isRefusedParameter(message) && message.includes("options") ? optionsMessage : message
}

/** Makes any failure a `DatabaseOpenError` that names the server. */
export const toOpenError =
  (redactedUrl: string) =>
  (cause: unknown): DatabaseOpenError =>
    cause instanceof DatabaseOpenError
      ? cause
      : new DatabaseOpenError({
          message: `cannot use ${redactedUrl}: ${isSqlError(cause) ? errorMessage(cause) : String(cause)}`
        })

/** PgBouncer gives all its errors the code 08P01. */
const poolerRefusal =
  /^(unsupported startup parameter|no such (user|database)|database ".*" does not exist)|statement pooling/

/** Whether a retry can't help: authentication, missing databases and schemas, syntax, privileges, TLS. */
export const isPermanent = (error: SqlError): boolean =>
  lacksPassword(error) ||
  poolerRefusal.test(messageOf(error)) ||
  /^(28|3D|3F|42|22|0A)|CERT|ERR_TLS|ERR_SSL|UNABLE_TO/.test(codeOf(error))

/** A standby, or a database with `default_transaction_read_only`. */
export const readOnly = "the database is read-only"
const unreachable = "the database cannot be reached"
const noAnswer = "the database did not answer in time, so that a change may have been made or not"

/** SQLSTATEs whose cause is outside nexusd, and the message that clients get. */
const outages: ReadonlyArray<readonly [code: RegExp, error: string]> = [
  [/^25006$/, readOnly],
  [/^53100$/, "no space is left for the database"],
  [/^(57014|55P03|40)/, "the database is busy; try again"],
  [/^(28|3D|42501|42P01|3F)/, "the database refuses nexusd"],
  [/^(53|57|58|XX|F0)/, "the database cannot be read or written"]
]

/** The message for clients of an outage; `undefined` for any other error, which is a bug. */
const outageMessage = (error: SqlError): string | undefined => {
  const code = codeOf(error)
  const outage = outages.find(([pattern]) => pattern.test(code))
  if (outage !== undefined) return outage[1]
  if (isConnectError(error)) return unreachable
  return isServerError(code) ? undefined : noAnswer
}

/** An outage becomes `StoreUnavailable`, and its cause is logged. Any other SQL error is a bug: a defect. */
export const toUnavailable = (error: SqlError): Effect.Effect<never, StoreUnavailable> => {
  const text = outageMessage(error)
  return text === undefined
    ? Effect.die(error.cause)
    : Effect.zipRight(
        Effect.logError(`store: ${[codeOf(error), errorMessage(error)].filter((part) => part !== "").join(": ")}`),
        new StoreUnavailable({ message: text })
      )
}
