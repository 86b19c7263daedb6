import * as Effect from "effect/Effect"
import { NotFound, StoreUnavailable } from "../../domain/Errors.js"
import { preview } from "../../domain/Schemas.js"
import { columns, type VmRow } from "../VmRow.js"
import type { Query } from "./SqliteConnection.js"

/** The record of a name. */
export const selectByName = (more: string) => `SELECT ${columns.join(", ")}, ${more} FROM vms WHERE name = ?`

/** The record with that id, else with that name: one index look-up, or two. */
export const select = (more: string) => `SELECT ${columns.join(", ")}, ${more} FROM vms
  WHERE rowid = coalesce((SELECT rowid FROM vms WHERE id = ?), (SELECT rowid FROM vms WHERE name = ?))`
export const isNameTaken = "SELECT 1 FROM vms WHERE name = ?"

/** Runs a `select`. Fails with `NotFound` if it returns no row. */
export const find = <Row extends VmRow, E>(
  read: (query: Query) => Effect.Effect<ReadonlyArray<Row>, E>,
  text: string,
  nameOrId: string
) =>
  Effect.flatMap(read([text, [nameOrId, nameOrId]]), ([row]): Effect.Effect<Row, NotFound | StoreUnavailable> => {
    if (row === undefined) return NotFound.vm(nameOrId)
    if (row.id === nameOrId || row.name === nameOrId) return Effect.succeed(row)
    // A damaged index returned another record.
    return Effect.zipRight(
      Effect.logError(`store: the database's index is damaged: ${preview(nameOrId)} leads to another record`),
      new StoreUnavailable({ message: "the database is damaged" })
    )
  })
