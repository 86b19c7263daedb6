import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Conflict } from "../../domain/Errors.js"
import { Cid, type CidRange, type CreateVm, cidRange, newVm } from "../../domain/Vm.js"
import { given, noPrecondition, replace } from "../../domain/VmTransition.js"
import { withAnyCaseId } from "../AnyCaseId.js"
import * as VmEventLog from "../VmEventLog.js"
import { VmEvents } from "../VmEvents.js"
import { toVm, type VmRow } from "../VmRow.js"
import { databaseIdKey } from "../VmRunRow.js"
import { VmStore } from "../VmStore.js"
import { withSpans } from "../VmStoreSpans.js"
import { Database } from "./Database.js"
import type { Run } from "./SqliteConnection.js"
import { vmm } from "./VmJsonSqlite.js"
import * as VmListSqlite from "./VmListSqlite.js"
import { find, isNameTaken, select } from "./VmLookupSqlite.js"
import * as VmTransitionSqlite from "./VmTransitionSqlite.js"

const selectShown = select(`${vmm} AS vmm`)

const databaseId = `SELECT value FROM settings WHERE key = '${databaseIdKey}'`
const insertDatabaseId = `INSERT INTO settings (key, value, type) VALUES ('${databaseIdKey}', ?, 'string') ON CONFLICT (key) DO NOTHING`

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
const insertColumns = [
  "id",
  "name",
  "role",
  "state",
  "vcpu_count",
  "mem_size_mib",
  "created_at",
  "updated_at",
  "config_json"
] as const

/** Inserts the record and returns its CID; no row if the name is taken or no CID is free. */
const insert = (cids: CidRange) => `INSERT INTO vms (${insertColumns.join(", ")}, cid)
  SELECT ${insertColumns.map(() => "?").join(", ")}, next.cid FROM (SELECT ${nextCid(cids)} AS cid) AS next
  WHERE next.cid IS NOT NULL
  ON CONFLICT (name) DO NOTHING
  RETURNING cid`

/** Whether another process has changed the database since this ran last. */
const hasOtherChanges = ({ dataVersion }: Database["Type"]) => {
  let known: number | undefined
  return Effect.map(dataVersion, (version) => {
    const isChanged = known !== undefined && version !== known
    known = version
    return isChanged
  })
}

/** Keeps VM records in SQLite, and publishes their changes. `cids` limits the CIDs, for tests. */
export const layer = (options?: { readonly cids?: CidRange }) =>
  Layer.scopedContext(
    Effect.gen(function* () {
      const database = yield* Database
      const events = yield* VmEventLog.make(hasOtherChanges(database))
      const cids = options?.cids ?? cidRange
      const insertText = insert(cids)

      const create = (run: Run, params: CreateVm) =>
        Effect.gen(function* () {
          const now = Math.floor((yield* Clock.currentTimeMillis) / 1000)
          const vm = newVm(params, crypto.randomUUID(), cids.min, now)
          const [inserted] = yield* run<{ cid: number }>([
            insertText,
            insertColumns.map((column) => vm[column] ?? null)
          ])
          if (inserted !== undefined) return { ...vm, cid: Cid.make(inserted.cid) }
          const taken = yield* run([isNameTaken, [params.name]])
          return yield* taken.length > 0 ? Conflict.nameTaken(params.name) : Conflict.noFreeCid()
        })

      const store = withSpans({
        create: (params) =>
          database.write(
            (run) => create(run, params),
            (vm) => events.publish(undefined, vm)
          ),

        replace: (params, precondition = noPrecondition) =>
          database.write(
            (run) =>
              Effect.gen(function* () {
                const current = yield* VmTransitionSqlite.findName(run, params.name)
                if (current !== undefined) {
                  const decision = given(precondition, replace(params))(current)
                  const { after, before } = yield* VmTransitionSqlite.change(run, current, decision)
                  return { before: before.vm, after: after.vm }
                }
                yield* precondition(undefined)
                return { before: undefined, after: yield* create(run, params) }
              }),
            ({ after, before }) => events.publish(before, after)
          ),

        ...VmListSqlite.make(database),

        get: withAnyCaseId((nameOrId) => Effect.map(find(database.read<VmRow>, selectShown, nameOrId), toVm)),

        ...VmTransitionSqlite.make(database, events),

        databaseId: Effect.flatMap(database.read<{ value: string }>([databaseId, []]), ([found]) =>
          found === undefined
            ? database.write((run) =>
                Effect.gen(function* () {
                  const id = crypto.randomUUID()
                  yield* run([insertDatabaseId, [id]])
                  const [row] = yield* run<{ value: string }>([databaseId, []])
                  return row?.value ?? id
                })
              )
            : Effect.succeed(found.value)
        )
      })
      return Context.make(VmStore, store).pipe(Context.add(VmEvents, VmEvents.of({ subscribe: events.subscribe })))
    })
  )
