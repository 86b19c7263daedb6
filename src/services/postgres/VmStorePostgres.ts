import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import { Conflict, NotFound, StoreUnavailable } from "../../domain/Errors.js"
import { Cid, type CidRange, type CreateVm, cidRange, newVm, type Vm } from "../../domain/Vm.js"
import { given, noPrecondition, replace, update } from "../../domain/VmTransition.js"
import { withAnyCaseId } from "../AnyCaseId.js"
import { DatabaseOpenError } from "../DatabaseOpenError.js"
import { VmEvents } from "../VmEvents.js"
import { databaseIdKey } from "../VmRunRow.js"
import { VmStore } from "../VmStore.js"
import { withSpans } from "../VmStoreSpans.js"
import * as LookupBatcher from "./LookupBatcher.js"
import type { Statement } from "./PostgresConnection.js"
import { PostgresDatabase } from "./PostgresDatabase.js"
import { toUnavailable, violates } from "./PostgresErrors.js"
import { cidConstraint, nameConstraint } from "./PostgresSchema.js"
import * as VmEventsPostgres from "./VmEventsPostgres.js"
import * as VmListPostgres from "./VmListPostgres.js"
import * as VmTransitionPostgres from "./VmTransitionPostgres.js"

const isNameTaken = violates(nameConstraint)

/**
 * Attempts of one create or replacement. An attempt fails only when another create has taken its CID, so creates make
 * progress, or when the record was deleted meanwhile.
 */
const maxAttempts = 100

const locked = "pg_try_advisory_xact_lock(('vms'::regclass::oid::bigint << 32) + candidate)"

/**
 * The next free CID from $1 to $2. A create in progress, here or in another daemon, holds an advisory lock on its CID until
 * it commits; locked CIDs are skipped, so creates never wait for each other. A number is skipped for good only if its
 * create failed.
 */
const nextCid = `
  coalesce(
    (
      SELECT candidate
      FROM (SELECT generate_series(greatest((SELECT max(cid) FROM vms) + 1, $1::bigint), $2::bigint) AS candidate) AS above
      WHERE ${locked} LIMIT 1
    ),
    (
      SELECT candidate
      FROM (
        SELECT generate_series(cid + 1, next - 1) AS candidate
        FROM (
          SELECT cid, lead(cid, 1, $2::bigint + 1) OVER (ORDER BY cid) AS next
          FROM (SELECT $1::bigint - 1 AS cid UNION ALL SELECT cid FROM vms WHERE cid >= $1::bigint) AS used
        ) AS neighbours
        WHERE next > cid + 1
      ) AS gaps
      WHERE ${locked} LIMIT 1
    )
  )
`

const nameKey = (name: string) => `'vms'::regclass::oid::bigint::bit(32)::int, hashtext(${name})`

/**
 * One attempt of a create, as one statement, so that its locks last no longer than the server needs. It does not wait for a
 * create of the same name in progress, since it would hold a CID meanwhile.
 */
const insert = (vm: Vm, { max, min }: CidRange): Statement => ({
  name: "insert",
  text: `
    WITH
      names AS MATERIALIZED (
        SELECT EXISTS (SELECT 1 FROM vms WHERE name = $4) AS taken, pg_try_advisory_xact_lock(${nameKey("$4")}) AS alone
      ),
      chosen AS MATERIALIZED (SELECT CASE WHEN alone AND NOT taken THEN ${nextCid} END AS free FROM names),
      made AS (
        INSERT INTO vms (id, name, role, state, cid, vcpu_count, mem_size_mib, created_at, updated_at, config_json)
        SELECT $3, $4, $5, $6, free, $7::bigint, $8::bigint, $9::bigint, $10::bigint, $11
        FROM chosen WHERE free IS NOT NULL
        -- Another create has committed this CID after this statement's snapshot was taken.
        ON CONFLICT ON CONSTRAINT ${cidConstraint} DO NOTHING
        RETURNING cid
      )
    SELECT taken, alone, free, (SELECT cid FROM made) AS cid FROM names, chosen
  `,
  values: [
    ...[min, max, vm.id, vm.name, vm.role, vm.state, vm.vcpu_count, vm.mem_size_mib],
    ...[vm.created_at, vm.updated_at, vm.config_json ?? null]
  ]
})

/** Waits for the end of a create of that name in progress. */
const awaitCreate = (name: string): Statement => ({
  name: "outcome",
  text: `SELECT pg_advisory_xact_lock_shared(${nameKey("$1")})`,
  values: [name]
})

const selectDatabaseId: Statement = {
  name: "database id",
  text: `SELECT value FROM settings WHERE key = '${databaseIdKey}'`
}
const insertDatabaseId = (id: string): Statement => ({
  text: `INSERT INTO settings (key, value, type) VALUES ('${databaseIdKey}', $1, 'string') ON CONFLICT (key) DO NOTHING`,
  values: [id]
})

/**
 * Keeps VM records in PostgreSQL, and publishes their changes. Other daemons may use the same database. `cids` limits the CIDs,
 * for tests.
 */
export const layer = (options?: { readonly cids?: CidRange }) =>
  Layer.scopedContext(
    Effect.gen(function* () {
      const database = yield* PostgresDatabase
      const { publishing, subscribe } = yield* Effect.mapError(
        VmEventsPostgres.make(database),
        ({ message }) => new DatabaseOpenError({ message })
      )
      const find = yield* LookupBatcher.make(database)
      const cids = options?.cids ?? cidRange
      /** PostgreSQL's text has no NUL, and a parameter with one is an error. */
      const failIfNul = (nameOrId: string) => (nameOrId.includes("\0") ? NotFound.vm(nameOrId) : Effect.void)

      const transitions = VmTransitionPostgres.make(database)
      const transition: VmStore["Type"]["transition"] = (nameOrId, decide, options) =>
        publishing(
          withAnyCaseId((nameOrId) =>
            Effect.zipRight(failIfNul(nameOrId), transitions.transition(nameOrId, decide, options))
          )(nameOrId),
          ({ after, before }) => [before.vm, after.vm]
        )

      const tooMany = new StoreUnavailable({ message: "too many VMs are created at once; try again" })

      /** Creates a record; returns `undefined` if the name is taken. */
      const create = (params: CreateVm): Effect.Effect<Vm | undefined, Conflict | StoreUnavailable> =>
        Effect.gen(function* () {
          const now = Math.floor((yield* Clock.currentTimeMillis) / 1000)
          const draft = newVm(params, crypto.randomUUID(), cids.min, now)
          for (let attempt = 1; attempt <= maxAttempts; attempt++) {
            const [row] = yield* database
              .execute<{ taken: boolean; alone: boolean; free: number | null; cid: number | null }>(insert(draft, cids))
              .pipe(
                Effect.catchIf(isNameTaken, () => Effect.succeed([])),
                Effect.catchTag("SqlError", toUnavailable)
              )
            if (row === undefined || row.taken) return undefined
            if (!row.alone) {
              yield* database.executeOrUnavailable(awaitCreate(params.name))
              continue
            }
            if (row.free === null) return yield* Conflict.noFreeCid()
            if (row.cid !== null) return { ...draft, cid: Cid.make(row.cid) }
          }
          return yield* tooMany
        })

      const store = withSpans({
        create: (params) =>
          publishing(
            Effect.flatMap(create(params), (vm) =>
              vm === undefined ? Conflict.nameTaken(params.name) : Effect.succeed(vm)
            ),
            (vm) => [undefined, vm]
          ),

        replace: (params, precondition = noPrecondition) =>
          publishing(
            Effect.gen(function* () {
              const decide = given(precondition, replace(params))
              const creatable = precondition(undefined)
              for (let attempt = 1; attempt <= maxAttempts; attempt++) {
                const created = Either.isRight(creatable) ? yield* create(params) : undefined
                if (created !== undefined) return { before: undefined, after: created }
                const changed = yield* transitions.changeName(params.name, decide)
                if (changed !== undefined) return { before: changed.before.vm, after: changed.after.vm }
                yield* creatable
              }
              return yield* tooMany
            }),
            ({ after, before }) => [before, after]
          ),

        ...VmListPostgres.make(database),

        get: withAnyCaseId((nameOrId) =>
          Effect.gen(function* () {
            yield* failIfNul(nameOrId)
            // Mapped per caller, since each request logs the outage under its own id.
            const vm = yield* Effect.catchAll(find(nameOrId), toUnavailable)
            return vm ?? (yield* NotFound.vm(nameOrId))
          })
        ),

        getWithRun: withAnyCaseId((nameOrId) => Effect.zipRight(failIfNul(nameOrId), transitions.getWithRun(nameOrId))),

        running: transitions.running,
        runningExcept: transitions.runningExcept,

        update: (nameOrId, wanted, precondition = noPrecondition) =>
          Effect.map(transition(nameOrId, given(precondition, update(wanted))), ({ after }) => after.vm),

        transition,

        delete: (nameOrId, precondition) =>
          publishing(
            withAnyCaseId((nameOrId) =>
              Effect.zipRight(failIfNul(nameOrId), transitions.remove(nameOrId, precondition))
            )(nameOrId),
            (vm) => [vm, undefined]
          ),

        databaseId: Effect.gen(function* () {
          const [found] = yield* database.executeOrUnavailable<{ value: string }>(selectDatabaseId)
          if (found !== undefined) return found.value
          const id = crypto.randomUUID()
          yield* database.executeOrUnavailable(insertDatabaseId(id))
          const [row] = yield* database.executeOrUnavailable<{ value: string }>(selectDatabaseId)
          return row?.value ?? id
        })
      })
      return Context.make(VmStore, store).pipe(Context.add(VmEvents, VmEvents.of({ subscribe })))
    })
  )
