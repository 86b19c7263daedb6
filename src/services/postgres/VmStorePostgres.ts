import * as SqlClient from "@effect/sql/SqlClient"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { Conflict, NotFound, StoreUnavailable } from "../../domain/Errors.js"
import { type CidRange, cidRange, newVm, Vm, type VmState } from "../../domain/Vm.js"
import { VmStore } from "../VmStore.js"
import { PostgresDatabase } from "./PostgresDatabase.js"
import { violates } from "./PostgresFailure.js"
import { cidConstraint, nameConstraint } from "./PostgresSchema.js"
import * as VmListPostgres from "./VmListPostgres.js"

/** A row is the record, with NULL where the record leaves a field out. */
const decodeRow = Schema.decodeUnknown(Vm)
const fromRow = (row: object) =>
  Effect.orDie(decodeRow(Object.fromEntries(Object.entries(row).filter(([, value]) => value !== null))))

/** How often a create is tried whose number was given away meanwhile. Each time, another create has got further. */
const attempts = 100

/** Records in the PostgreSQL database that `PostgresDatabase` has opened, beside other daemons. */
export const layer = (options?: { readonly cids?: CidRange }) =>
  Layer.effect(
    VmStore,
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const database = yield* PostgresDatabase
      const { max, min } = options?.cids ?? cidRange
      const columns = sql.unsafe(Object.keys(Vm.fields).join(", "))

      /** The record with that id, else the one with that name. PostgreSQL takes no text with a NUL, and so holds none. */
      const matching = (nameOrId: string) => sql`
        (id = ${nameOrId} OR name = ${nameOrId}) ORDER BY id = ${nameOrId} DESC LIMIT 1
      `
      const orNotFound = (nameOrId: string) => (nameOrId.includes("\0") ? NotFound.vm(nameOrId) : Effect.void)

      /**
       * The number to try for. Creates that are under way, here and in other daemons, each hold an advisory lock on theirs
       * until they are committed, and a number that is locked is passed over: none waits for another. So numbers are
       * handed out one after the other, and one is left out only when the create that held it failed.
       */
      const locked = sql`pg_try_advisory_xact_lock(('vms'::regclass::oid::bigint << 32) + candidate)`
      const nextCid = sql`
        coalesce(
          (
            SELECT candidate
            FROM (
              SELECT generate_series(
                greatest((SELECT max(cid) FROM vms) + 1, ${min}::bigint), ${max}::bigint
              ) AS candidate
            ) AS above
            WHERE ${locked} LIMIT 1
          ),
          (
            SELECT candidate
            FROM (
              SELECT generate_series(cid + 1, next - 1) AS candidate
              FROM (
                SELECT cid, lead(cid, 1, ${max}::bigint + 1) OVER (ORDER BY cid) AS next
                FROM (SELECT ${min}::bigint - 1 AS cid UNION ALL SELECT cid FROM vms WHERE cid >= ${min}::bigint) AS used
              ) AS neighbours
              WHERE next > cid + 1
            ) AS gaps
            WHERE ${locked} LIMIT 1
          )
        )
      `

      const nameKey = (name: string) => sql`'vms'::regclass::oid::bigint::bit(32)::int, hashtext(${name})`

      /**
       * One try at a create, in one statement: a create that held anything between two would hold up others. A name that
       * another create has under way is not waited for here, where a number would be held meanwhile in vain.
       */
      const insert = (vm: Vm) => sql<{ taken: boolean; alone: boolean; free: number | null; cid: number | null }>`
        WITH
          names AS MATERIALIZED (
            SELECT EXISTS (SELECT 1 FROM vms WHERE name = ${vm.name}) AS taken,
              pg_try_advisory_xact_lock(${nameKey(vm.name)}) AS alone
          ),
          chosen AS MATERIALIZED (SELECT CASE WHEN alone AND NOT taken THEN ${nextCid} END AS free FROM names),
          made AS (
            INSERT INTO vms (id, name, role, state, cid, vcpu_count, mem_size_mib, created_at, updated_at)
            SELECT ${vm.id}, ${vm.name}, ${vm.role}, ${vm.state}, free, ${vm.vcpu_count}::bigint,
              ${vm.mem_size_mib}::bigint, ${vm.created_at}::bigint, ${vm.updated_at}::bigint
            FROM chosen WHERE free IS NOT NULL
            -- What had the number was committed after this statement's snapshot was taken.
            ON CONFLICT ON CONSTRAINT ${sql(cidConstraint)} DO NOTHING
            RETURNING cid
          )
        SELECT taken, alone, free, (SELECT cid FROM made) AS cid FROM names, chosen
      `

      /** Waits until a create of that name that was under way has come to its end. */
      const outcomeOf = (name: string) => sql`SELECT pg_advisory_xact_lock_shared(${nameKey(name)})`

      return VmStore.of({
        create: (params) =>
          Effect.gen(function* () {
            const now = Math.floor((yield* Clock.currentTimeMillis) / 1000)
            const draft = newVm(params, crypto.randomUUID(), min, now)
            for (let attempt = 1; attempt <= attempts; attempt++) {
              const [row] = yield* insert(draft).pipe(
                Effect.catchIf(violates(nameConstraint), () => Conflict.nameTaken(params.name)),
                database.ask
              )
              if (row === undefined || row.taken) return yield* Conflict.nameTaken(params.name)
              if (!row.alone) {
                yield* database.ask(outcomeOf(params.name))
                continue
              }
              if (row.free === null) return yield* Conflict.noFreeCid()
              if (row.cid !== null) return { ...draft, cid: row.cid }
            }
            return yield* new StoreUnavailable({ error: "too many VMs are created at once; try again" })
          }),

        list: VmListPostgres.make(sql, database),

        get: (nameOrId) =>
          Effect.gen(function* () {
            yield* orNotFound(nameOrId)
            const [row] = yield* database.ask(sql<object>`SELECT ${columns} FROM vms WHERE ${matching(nameOrId)}`)
            return row === undefined ? yield* NotFound.vm(nameOrId) : yield* fromRow(row)
          }),

        delete: (nameOrId) =>
          Effect.gen(function* () {
            yield* orNotFound(nameOrId)
            const [row] = yield* database.ask(sql<{ name: string; state: VmState }>`
              WITH
                found AS MATERIALIZED (SELECT id, name, state FROM vms WHERE ${matching(nameOrId)} FOR UPDATE),
                gone AS (DELETE FROM vms USING found WHERE vms.id = found.id AND found.state <> 'running')
              SELECT name, state FROM found
            `)
            if (row === undefined) return yield* NotFound.vm(nameOrId)
            if (row.state === "running") return yield* Conflict.running(row.name)
          })
      })
    })
  )
