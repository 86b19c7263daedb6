import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import { Vm } from "../../domain/Vm.js"
import { DatabaseOpenError } from "../DatabaseOpenError.js"

/** The tables that are copied, and the columns of their rows in the order that a row's JSON has them. */
export const tables = { settings: ["key", "value", "type"], vms: Object.keys(Vm.fields) } as const
type TableName = keyof typeof tables

/** Rows, each as JSON text: what is NULL is left out, and whatever engine they are of, the fields come in one order. */
type Rows = ReadonlyArray<string>

/** Rows that are read or written at once. */
export const batchSize = 500

/** A database that is read as of one moment. */
export interface TransferSource {
  /** What this database has and no other, however it was named. */
  readonly identity: string
  readonly counts: Effect.Effect<Readonly<Record<TableName, number>>, DatabaseOpenError>
  /** By their keys. */
  readonly settings: Effect.Effect<Rows, DatabaseOpenError>
  /** In the order in which they were inserted, piece by piece. */
  readonly records: Stream.Stream<Rows, DatabaseOpenError>
}

/** A database that is filled in one transaction, and shows what that has done so far. */
export interface TransferTarget extends TransferSource {
  readonly insert: (table: TableName, rows: Rows) => Effect.Effect<void, DatabaseOpenError>
}

/** One of a migration's two databases, of whichever engine. */
export interface TransferBackend {
  readonly source: Effect.Effect<TransferSource, DatabaseOpenError, Scope.Scope>
  /**
   * Fills this database, whose tables are made if there are none. What was inserted is there once this has succeeded, and
   * else none of it. Fails when the database is the source, or not empty.
   */
  readonly fill: <A>(
    source: TransferSource,
    use: (target: TransferTarget) => Effect.Effect<A, DatabaseOpenError>
  ) => Effect.Effect<A, DatabaseOpenError>
}

export const sameDatabaseError = (shown: string) =>
  new DatabaseOpenError({ message: `${shown} is the database that --from names: give another one with --to` })

/** Refuses a target that holds something. */
export const assertEmpty = (shown: string, { counts }: TransferTarget): Effect.Effect<void, DatabaseOpenError> =>
  Effect.flatMap(counts, ({ settings, vms }) =>
    settings + vms === 0
      ? Effect.void
      : new DatabaseOpenError({
          message: `${shown} is not empty (VMs: ${vms}, settings: ${settings}): give one that holds nothing with --to`
        })
  )
