import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import { Conflict, NotFound, StoreUnavailable } from "../../domain/Errors.js"
import { preview } from "../../domain/Schemas.js"
import { Cid, type CidRange, cidRange, newVm } from "../../domain/Vm.js"
import type { DriveIdentity, VmChange, VmWithRun } from "../../domain/VmRun.js"
import { assertDeletable, update } from "../../domain/VmTransition.js"
import { withAnyCaseId } from "../AnyCaseId.js"
import { type Changes, changesOf } from "../VmChanges.js"
import { columns, toVm, type VmRow } from "../VmRow.js"
import { databaseIdKey, decodeRun, driveText, encodeRun, isRun, runId, runKey, runValue, withRun } from "../VmRunRow.js"
import { VmStore } from "../VmStore.js"
import { withSpans } from "../VmStoreSpans.js"
import { Database } from "./Database.js"
import type { Query, Run } from "./SqliteConnection.js"
import { vmm } from "./VmJsonSqlite.js"
import * as VmListSqlite from "./VmListSqlite.js"

/** The record with that id, else with that name: one index look-up, or two. */
const select = (more: string) => `SELECT ${columns.join(", ")}, ${more} FROM vms
  WHERE rowid = coalesce((SELECT rowid FROM vms WHERE id = ?), (SELECT rowid FROM vms WHERE name = ?))`
const selectShown = select(`${vmm} AS vmm`)
const selectWithRun = select(`${runValue} AS run`)

const runningIds = `SELECT id FROM vms WHERE state = 'running' UNION SELECT ${runId} FROM settings WHERE ${isRun}`
const selectWithRuns = (ids: string) =>
  `SELECT ${columns.join(", ")}, ${runValue} AS run FROM vms WHERE id IN (${ids}) ORDER BY rowid`
const selectRunning = selectWithRuns(runningIds)
/** The records whose runs have one of these drives. */
const selectWithDrives = (drives: ReadonlyArray<DriveIdentity>): Query => {
  const hasDrive = drives.map(() => "instr(value, ?) > 0").join(" OR ")
  return [selectWithRuns(`SELECT ${runId} FROM settings WHERE ${isRun} AND (${hasDrive})`), drives.map(driveText)]
}

const writeRun = `INSERT INTO settings (key, value, type) VALUES (?, ?, 'json')
  ON CONFLICT (key) DO UPDATE SET value = excluded.value, type = excluded.type`
const deleteRun = "DELETE FROM settings WHERE key = ?"
const databaseId = `SELECT value FROM settings WHERE key = '${databaseIdKey}'`
const insertDatabaseId = `INSERT INTO settings (key, value, type) VALUES ('${databaseIdKey}', ?, 'string') ON CONFLICT (key) DO NOTHING`

type RowWithRun = VmRow & { readonly run: unknown }
const toVmWithRun = ({ run, ...row }: RowWithRun): VmWithRun => {
  const vm = toVm(row)
  return withRun(vm, decodeRun(vm.id, run))
}

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
  ...(["id", "name", "role", "state", "vcpu_count", "mem_size_mib", "created_at", "updated_at", "config_json"] as const)
]

/** Inserts the record and returns its CID; no row if the name is taken or no CID is free. */
const insert = (cids: CidRange) => `INSERT INTO vms (${insertColumns.join(", ")}, cid)
  SELECT ${insertColumns.map(() => "?").join(", ")}, next.cid FROM (SELECT ${nextCid(cids)} AS cid) AS next
  WHERE next.cid IS NOT NULL
  ON CONFLICT (name) DO NOTHING
  RETURNING cid`

const isNameTaken = "SELECT 1 FROM vms WHERE name = ?"
const deleteById = "DELETE FROM vms WHERE id = ?"

const find = <Row extends VmRow, E>(
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

const findWithRun = <E>(read: (query: Query) => Effect.Effect<ReadonlyArray<RowWithRun>, E>, nameOrId: string) =>
  Effect.map(find(read, selectWithRun, nameOrId), toVmWithRun)

/** Writes what a change makes of a record and its run. */
const writeChanges = (run: Run, { after: { run: vmRun, vm }, columns, isRunChanged }: Changes) =>
  Effect.gen(function* () {
    if (columns.length > 0) {
      const assignments = columns.map(([name]) => `${name} = ?`)
      yield* run([
        `UPDATE vms SET ${assignments.join(", ")} WHERE id = ?`,
        [...columns.map(([, value]) => value), vm.id]
      ])
    }
    if (!isRunChanged) return
    const key = runKey(vm.id)
    yield* run(vmRun === undefined ? [deleteRun, [key]] : [writeRun, [key, encodeRun(vmRun)]])
  })

/** Keeps VM records in SQLite. `cids` limits the CIDs, for tests. */
export const layer = (options?: { readonly cids?: CidRange }) =>
  Layer.effect(
    VmStore,
    Effect.gen(function* () {
      const database = yield* Database
      const cids = options?.cids ?? cidRange
      const insertText = insert(cids)

      const transition: VmStore["Type"]["transition"] = <E>(
        nameOrId: string,
        decide: (current: VmWithRun, others: ReadonlyArray<VmWithRun>) => Either.Either<VmChange | undefined, E>,
        options?: { readonly drives: ReadonlyArray<DriveIdentity> }
      ) =>
        withAnyCaseId((nameOrId) =>
          database.write((run) =>
            Effect.gen(function* () {
              const before = yield* findWithRun(run<RowWithRun>, nameOrId)
              const drives = options?.drives ?? []
              const rows = drives.length === 0 ? [] : yield* run<RowWithRun>(selectWithDrives(drives))
              const others = rows.filter(({ id }) => id !== before.vm.id).map(toVmWithRun)
              const change = yield* decide(before, others)
              const now = Math.floor((yield* Clock.currentTimeMillis) / 1000)
              const changes = changesOf(before, change, columns, now)
              const { after } = changes
              if (after.vm.name !== before.vm.name && (yield* run([isNameTaken, [after.vm.name]])).length > 0) {
                return yield* Conflict.nameTaken(after.vm.name)
              }
              yield* writeChanges(run, changes)
              return { before, after }
            })
          )
        )(nameOrId)

      return withSpans({
        create: (params) =>
          database.write((run) =>
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
          ),

        ...VmListSqlite.make(database),

        get: withAnyCaseId((nameOrId) => Effect.map(find(database.read<VmRow>, selectShown, nameOrId), toVm)),

        getWithRun: withAnyCaseId((nameOrId) => findWithRun(database.read<RowWithRun>, nameOrId)),

        running: Effect.map(database.read<RowWithRun>([selectRunning, []]), (rows) => rows.map(toVmWithRun)),

        update: (nameOrId, wanted) => Effect.map(transition(nameOrId, update(wanted)), ({ after }) => after.vm),

        transition,

        delete: withAnyCaseId((nameOrId) =>
          database.write((run) =>
            Effect.gen(function* () {
              const current = yield* findWithRun(run<RowWithRun>, nameOrId)
              yield* assertDeletable(current)
              yield* run([deleteById, [current.vm.id]])
              return current.vm
            })
          )
        ),

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
    })
  )
