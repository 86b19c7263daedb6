import * as SqlClient from "@effect/sql/SqlClient"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { show } from "../domain/Bounds.js"
import { Conflict, NotFound, StoreUnavailable } from "../domain/Errors.js"
import { type CidRange, cidRange, newVm, Vm } from "../domain/Vm.js"
import { Database } from "./Database.js"
import * as VmListSqlite from "./VmListSqlite.js"
import { VmStore } from "./VmStore.js"

/** A row is the record, with NULL where the record leaves a field out. */
const decodeRow = Schema.decodeUnknown(Vm)
const fromRow = (row: object) =>
  Effect.orDie(decodeRow(Object.fromEntries(Object.entries(row).filter(([, value]) => value !== null))))

/** Records in the SQLite database that `Database` has opened. */
export const layer = (options?: { readonly cids?: CidRange }) =>
  Layer.effect(
    VmStore,
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const database = yield* Database
      const { max, min } = options?.cids ?? cidRange
      const columns = sql.unsafe(Object.keys(Vm.fields).join(", "))

      const find = (nameOrId: string) =>
        sql<object>`
          SELECT ${columns} FROM vms WHERE id = ${nameOrId} OR name = ${nameOrId}
          ORDER BY id = ${nameOrId} DESC LIMIT 1
        `.pipe(
          Effect.flatMap(([row]) => (row === undefined ? Effect.succeed(Option.none()) : Effect.asSome(fromRow(row)))),
          Effect.filterOrElse(
            Option.match({ onNone: () => true, onSome: ({ id, name }) => id === nameOrId || name === nameOrId }),
            // A damaged index leads to another record. Acting on that one would be worse than not acting.
            () =>
              Effect.zipRight(
                Effect.logError(`store: the database's index is damaged: ${show(nameOrId)} leads to another record`),
                new StoreUnavailable({ error: "the database is damaged" })
              )
          )
        )

      // Both answers are one index look-up. The search for a gap runs only once the highest CID is in use.
      const nextCid = sql<{ cid: number | null }>`
        SELECT CASE
          WHEN (SELECT max(cid) FROM vms) IS NULL THEN ${min}
          WHEN (SELECT max(cid) FROM vms) < ${max} THEN (SELECT max(cid) FROM vms) + 1
          WHEN NOT EXISTS (SELECT 1 FROM vms WHERE cid = ${min}) THEN ${min}
          ELSE (
            SELECT cid + 1 FROM vms AS below
            WHERE cid < ${max} AND NOT EXISTS (SELECT 1 FROM vms WHERE cid = below.cid + 1)
            ORDER BY cid LIMIT 1
          )
        END AS cid
      `.pipe(Effect.map(([row]) => row?.cid ?? undefined))

      return VmStore.of({
        create: (params) =>
          Effect.gen(function* () {
            const now = Math.floor((yield* Clock.currentTimeMillis) / 1000)
            const taken = yield* sql`SELECT 1 FROM vms WHERE name = ${params.name}`
            if (taken.length > 0) return yield* Conflict.nameTaken(params.name)
            const cid = yield* nextCid
            if (cid === undefined) return yield* Conflict.noFreeCid()
            const vm = newVm(params, crypto.randomUUID(), cid, now)
            yield* sql`INSERT INTO vms ${sql.insert(vm)}`
            return vm
          }).pipe(database.write),

        list: VmListSqlite.make(sql, database),

        get: (nameOrId) =>
          find(nameOrId).pipe(database.read, Effect.flatMap(Effect.mapError(() => NotFound.vm(nameOrId)))),

        delete: (nameOrId) =>
          Effect.gen(function* () {
            const vm = Option.getOrUndefined(yield* find(nameOrId))
            if (vm === undefined) return yield* NotFound.vm(nameOrId)
            if (vm.state === "running") return yield* Conflict.running(vm.name)
            yield* sql`DELETE FROM vms WHERE id = ${vm.id}`
          }).pipe(database.write)
      })
    })
  )
