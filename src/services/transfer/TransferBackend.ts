import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import { DatabaseOpenError } from "../DatabaseOpenError.js"
import { databaseIdKey, isRun } from "../VmRunRow.js"

export type TableName = "settings" | "vms"

/** The columns of table `settings`, in the order of a row's JSON fields. */
export const settingsColumns: ReadonlyArray<string> = ["key", "value", "type"]

/** SQL condition: a row of `settings` is copied. Runs are not: they are processes of the host that has the database. */
export const isCopied = `NOT (${isRun})`

export const count = `SELECT (SELECT count(*) FROM vms) AS vms,
  (SELECT count(*) FROM settings WHERE ${isCopied}) AS settings`

/** Rows as JSON texts without NULLs. The order of fields is that of the columns, whatever the engine. */
type Rows = ReadonlyArray<string>

/** Rows per read or insert. */
export const batchSize = 500

/** A database, read from one snapshot. */
export interface TransferSource {
  /** Equal only for the same database, even under another path or URL. */
  readonly identity: string
  readonly counts: Effect.Effect<Readonly<Record<TableName, number>>, DatabaseOpenError>
  /** Ordered by key. */
  readonly settings: Effect.Effect<Rows, DatabaseOpenError>
  /** In the order of inserts, in batches of `batchSize`. */
  readonly records: Stream.Stream<Rows, DatabaseOpenError>
}

/** A database in a write transaction. Its reads see the rows inserted so far. */
export interface TransferTarget extends TransferSource {
  readonly insert: (table: TableName, rows: Rows) => Effect.Effect<void, DatabaseOpenError>
}

/** A database that can be the source or the target of a transfer. */
export interface TransferBackend {
  /** The columns of its table `vms`. */
  readonly columns: ReadonlyArray<string>
  /** Opens the database. Its records have only the columns that are among `columns`. */
  readonly source: (columns: ReadonlyArray<string>) => Effect.Effect<TransferSource, DatabaseOpenError, Scope.Scope>
  /**
   * Runs `use` in one transaction on this database, which it commits if `use` succeeds. Creates missing tables. Fails when
   * the database is the source, or not empty. An id of its own, which a daemon may have given it, does not count.
   */
  readonly fill: <A>(
    source: TransferSource,
    use: (target: TransferTarget) => Effect.Effect<A, DatabaseOpenError>
  ) => Effect.Effect<A, DatabaseOpenError>
}

export const sameDatabaseError = (name: string) =>
  new DatabaseOpenError({ message: `${name} is the database that --from names: give another one with --to` })

/** Removes the id that a daemon has given to an empty target: the copy has its source's. */
export const deleteId = `DELETE FROM settings WHERE key = '${databaseIdKey}'`

/** Fails unless a target has no rows. `name` is its path or redacted URL. */
export const assertEmpty = (name: string, { counts }: TransferTarget): Effect.Effect<void, DatabaseOpenError> =>
  Effect.flatMap(counts, ({ settings, vms }) =>
    settings + vms === 0
      ? Effect.void
      : new DatabaseOpenError({
          message: `${name} is not empty (VMs: ${vms}, settings: ${settings}): give one that holds nothing with --to`
        })
  )
