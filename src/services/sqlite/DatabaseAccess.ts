import type { SqlError } from "@effect/sql/SqlError"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { StoreUnavailable } from "../../domain/Errors.js"
import type { Query, Run } from "./SqliteConnection.js"

/** Runs a query and returns its rows. Fails if the file was truncated. */
export type Read = <A>(query: Query) => Effect.Effect<ReadonlyArray<A>, StoreUnavailable>

/** How the database is read and changed. */
export interface DatabaseAccess {
  /** Reads the last commit. */
  readonly read: Read
  /**
   * Runs a change in a transaction that holds the write lock from its start; concurrent changes share it. Success means
   * that the change is durable. A change that fails must fail before it writes. `onCommit` is called with each result, in the
   * order of the changes.
   */
  readonly write: <A, E>(
    change: (run: Run) => Effect.Effect<A, E | SqlError>,
    onCommit?: (result: A) => void
  ) => Effect.Effect<A, Exclude<E, SqlError> | StoreUnavailable>
  /** A number that another one follows once another process has changed the database (`PRAGMA data_version`). */
  readonly dataVersion: Effect.Effect<number, StoreUnavailable>
  /** A snapshot as of its first query, until the scope closes. At most 4 exist; further ones wait up to 4 s. */
  readonly snapshot: Effect.Effect<Read, StoreUnavailable, Scope.Scope>
}
