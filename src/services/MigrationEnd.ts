import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import { Vm } from "../domain/Vm.js"
import { DatabaseRefused } from "./DatabaseFiles.js"

/** The tables that are copied, and the columns of their rows in the order that a row's JSON has them. */
export const copied = { settings: ["key", "value", "type"], vms: Object.keys(Vm.fields) } as const
type Copied = keyof typeof copied

/** Rows, each as JSON text: what is NULL is left out, and whatever engine they are of, the fields come in one order. */
type Rows = ReadonlyArray<string>

/** Rows that are read or written at once. */
export const pieceSize = 500

/** A database that is read as of one moment. */
export interface MigrationSource {
  /** What this database has and no other, however it was named. */
  readonly identity: string
  readonly counts: Effect.Effect<Readonly<Record<Copied, number>>, DatabaseRefused>
  /** By their keys. */
  readonly settings: Effect.Effect<Rows, DatabaseRefused>
  /** In the order in which they were inserted, piece by piece. */
  readonly records: Stream.Stream<Rows, DatabaseRefused>
}

/** A database that is filled in one transaction, and shows what that has done so far. */
export interface MigrationTarget extends MigrationSource {
  readonly insert: (table: Copied, rows: Rows) => Effect.Effect<void, DatabaseRefused>
}

/** One of a migration's two databases, of whichever engine. */
export interface MigrationEnd {
  readonly source: Effect.Effect<MigrationSource, DatabaseRefused, Scope.Scope>
  /**
   * Fills this database, whose tables are made if there are none. What was inserted is there once this has succeeded, and
   * else none of it. Fails when the database is the source, or not empty.
   */
  readonly fill: <A>(
    source: MigrationSource,
    use: (target: MigrationTarget) => Effect.Effect<A, DatabaseRefused>
  ) => Effect.Effect<A, DatabaseRefused>
}

export const refuseSource = (shown: string) =>
  new DatabaseRefused({ message: `${shown} is the database that --from names: give another one with --to` })

/** Refuses a target that holds something. */
export const checkEmpty = (shown: string, { counts }: MigrationTarget): Effect.Effect<void, DatabaseRefused> =>
  Effect.flatMap(counts, ({ settings, vms }) =>
    settings + vms === 0
      ? Effect.void
      : new DatabaseRefused({
          message: `${shown} is not empty (VMs: ${vms}, settings: ${settings}): give one that holds nothing with --to`
        })
  )
