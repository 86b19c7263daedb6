import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Conflict, NotFound, StoreUnavailable } from "../../domain/Errors.js"
import { preview } from "../../domain/Schemas.js"
import { Cid, type CidRange, cidRange, newVm, type Vm } from "../../domain/Vm.js"
import { withAnyCaseId } from "../AnyCaseId.js"
import { columns, toVm, type VmRow } from "../VmRow.js"
import { VmStore } from "../VmStore.js"
import { withSpans } from "../VmStoreSpans.js"
import { Database } from "./Database.js"
import type { Query } from "./SqliteConnection.js"
import * as VmListSqlite from "./VmListSqlite.js"

/** The record with that id, else with that name: one index look-up, or two. */
const select = `SELECT ${columns.join(", ")} FROM vms
  WHERE rowid = coalesce((SELECT rowid FROM vms WHERE id = ?), (SELECT rowid FROM vms WHERE name = ?))`

// Index look-ups. The search for a gap runs only when the highest CID is in use.
const nextCid = ({ max, min }: CidRange) => `CASE
  WHEN (SELECT max(cid) FROM vms) IS NULL THEN ${min}
  WHEN (SELECT max(cid) FROM vms) < ${max} THEN (SELECT max(cid) FROM vms) + 1
  WHEN NOT EXISTS (SELECT 1 FROM vms WHERE cid = ${min}) THEN ${min}
  ELSE (
    SELECT cid + 1 FROM vms AS below
    WHERE cid < ${max} AND NOT EXISTS (SELECT 1 FROM vms WHERE cid = below.cid + 1)
    ORDER BY cid LIMIT 1
  )
END`

/** The columns of a new record, without its CID. */
const insertColumns = ["id", "name", "role", "state", "vcpu_count", "mem_size_mib", "created_at", "updated_at"] as const

/** Inserts the record and returns its CID; no row if the name is taken or no CID is free. */
const insert = (cids: CidRange) => `INSERT INTO vms (${insertColumns.join(", ")}, cid)
  SELECT ${insertColumns.map(() => "?").join(", ")}, next.cid FROM (SELECT ${nextCid(cids)} AS cid) AS next
  WHERE next.cid IS NOT NULL
  ON CONFLICT (name) DO NOTHING
  RETURNING cid`

const isNameTaken = "SELECT 1 FROM vms WHERE name = ?"
const deleteById = "DELETE FROM vms WHERE id = ?"

const find = <E>(read: (query: Query) => Effect.Effect<ReadonlyArray<VmRow>, E>, nameOrId: string) =>
  Effect.flatMap(read([select, [nameOrId, nameOrId]]), ([row]): Effect.Effect<Vm, NotFound | StoreUnavailable> => {
    if (row === undefined) return NotFound.vm(nameOrId)
    if (row.id === nameOrId || row.name === nameOrId) return Effect.succeed(toVm(row))
    // A damaged index returned another record.
    return Effect.zipRight(
      Effect.logError(`store: the database's index is damaged: ${preview(nameOrId)} leads to another record`),
      new StoreUnavailable({ message: "the database is damaged" })
    )
  })

/** Keeps VM records in SQLite. `cids` limits the CIDs, for tests. */
export const layer = (options?: { readonly cids?: CidRange }) =>
  Layer.effect(
    VmStore,
    Effect.gen(function* () {
      const database = yield* Database
      const cids = options?.cids ?? cidRange
      const insertText = insert(cids)

      return withSpans({
        create: (params) =>
          database.write((run) =>
            Effect.gen(function* () {
              const now = Math.floor((yield* Clock.currentTimeMillis) / 1000)
              const vm = newVm(params, crypto.randomUUID(), cids.min, now)
              const [inserted] = yield* run<{ cid: number }>([insertText, insertColumns.map((column) => vm[column])])
              if (inserted !== undefined) return { ...vm, cid: Cid.make(inserted.cid) }
              const taken = yield* run([isNameTaken, [params.name]])
              return yield* taken.length > 0 ? Conflict.nameTaken(params.name) : Conflict.noFreeCid()
            })
          ),

        ...VmListSqlite.make(database),

        get: withAnyCaseId((nameOrId) => find(database.read<VmRow>, nameOrId)),

        delete: withAnyCaseId((nameOrId) =>
          database.write((run) =>
            Effect.gen(function* () {
              const vm = yield* find(run<VmRow>, nameOrId)
              if (vm.state === "running") return yield* Conflict.running(vm.name)
              yield* run([deleteById, [vm.id]])
            })
          )
        )
      })
    })
  )
