import type { SqlError } from "@effect/sql/SqlError"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Either from "effect/Either"
import { Conflict } from "../../domain/Errors.js"
import type { DriveIdentity, RunSupervisor, VmChange, VmWithRun } from "../../domain/VmRun.js"
import { assertDeletable, given, noPrecondition, update } from "../../domain/VmTransition.js"
import { withAnyCaseId } from "../AnyCaseId.js"
import { type Changes, changesOf } from "../VmChanges.js"
import type { VmEventLog } from "../VmEventLog.js"
import { columns, toVm, type VmRow } from "../VmRow.js"
import {
  decodeRun,
  driveText,
  encodeRun,
  runIdsWhere,
  runKey,
  runningIds,
  runValue,
  supervisorText,
  withRun
} from "../VmRunRow.js"
import type { VmStore, VmTransition } from "../VmStore.js"
import type { Database } from "./Database.js"
import type { Query, Run } from "./SqliteConnection.js"
import { find, isNameTaken, select, selectByName } from "./VmLookupSqlite.js"

const selectWithRun = select(`${runValue} AS run`)
const selectNameWithRun = selectByName(`${runValue} AS run`)

const selectWithRuns = (ids: string) =>
  `SELECT ${columns.join(", ")}, ${runValue} AS run FROM vms WHERE id IN (${ids}) ORDER BY rowid`
const selectRunning = selectWithRuns(runningIds)
const selectRunningExcept = (supervisor: RunSupervisor): Query => [
  selectWithRuns(`${runningIds} EXCEPT ${runIdsWhere("instr(value, ?) > 0")}`),
  [supervisorText(supervisor)]
]
/** The records whose runs have one of these drives. */
const selectWithDrives = (drives: ReadonlyArray<DriveIdentity>): Query => {
  const hasDrive = drives.map(() => "instr(value, ?) > 0").join(" OR ")
  return [selectWithRuns(runIdsWhere(hasDrive)), drives.map(driveText)]
}

const writeRun = `INSERT INTO settings (key, value, type) VALUES (?, ?, 'json')
  ON CONFLICT (key) DO UPDATE SET value = excluded.value, type = excluded.type`
const deleteRun = "DELETE FROM settings WHERE key = ?"
const deleteRecord = "DELETE FROM vms WHERE id = ?"

type RowWithRun = VmRow & { readonly run: unknown }
const toVmWithRun = ({ run, ...row }: RowWithRun): VmWithRun => {
  const vm = toVm(row)
  return withRun(vm, decodeRun(vm.id, run))
}

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

/** The record of that name, with its run. */
export const findName = (run: Run, name: string) =>
  Effect.map(run<RowWithRun>([selectNameWithRun, [name]]), ([row]) =>
    row === undefined ? undefined : toVmWithRun(row)
  )

/** Writes what `decide` makes of a record and its run. */
export const change = <E>(
  run: Run,
  before: VmWithRun,
  decision: Either.Either<VmChange | undefined, E>
): Effect.Effect<VmTransition, E | Conflict | SqlError> =>
  Effect.gen(function* () {
    const now = Math.floor((yield* Clock.currentTimeMillis) / 1000)
    const changes = changesOf(before, yield* decision, columns, now)
    const { after } = changes
    if (after.vm.name !== before.vm.name && (yield* run([isNameTaken, [after.vm.name]])).length > 0) {
      return yield* Conflict.nameTaken(after.vm.name)
    }
    yield* writeChanges(run, changes)
    return { before, after }
  })

/** What changes or deletes a record, and what reads runs, of the store over SQLite. */
export const make = (
  database: Database["Type"],
  events: VmEventLog
): Pick<VmStore["Type"], "transition" | "update" | "delete" | "getWithRun" | "running" | "runningExcept"> => {
  const read = (query: Query) => Effect.map(database.read<RowWithRun>(query), (rows) => rows.map(toVmWithRun))

  const transition: VmStore["Type"]["transition"] = (nameOrId, decide, options) =>
    withAnyCaseId((nameOrId) =>
      database.write(
        (run) =>
          Effect.gen(function* () {
            const before = yield* findWithRun(run<RowWithRun>, nameOrId)
            const drives = options?.drives ?? []
            const rows = drives.length === 0 ? [] : yield* run<RowWithRun>(selectWithDrives(drives))
            const others = rows.filter(({ id }) => id !== before.vm.id).map(toVmWithRun)
            return yield* change(run, before, decide(before, others))
          }),
        ({ after, before }) => events.publish(before.vm, after.vm)
      )
    )(nameOrId)

  return {
    transition,
    update: (nameOrId, wanted, precondition = noPrecondition) =>
      Effect.map(transition(nameOrId, given(precondition, update(wanted))), ({ after }) => after.vm),
    delete: (nameOrId, precondition = noPrecondition) =>
      withAnyCaseId((nameOrId) =>
        database.write(
          (run) =>
            Effect.gen(function* () {
              const current = yield* findWithRun(run<RowWithRun>, nameOrId)
              yield* given(precondition, assertDeletable)(current)
              yield* run([deleteRecord, [current.vm.id]])
              return current.vm
            }),
          (vm) => events.publish(vm, undefined)
        )
      )(nameOrId),
    getWithRun: withAnyCaseId((nameOrId) => findWithRun(database.read<RowWithRun>, nameOrId)),
    running: read([selectRunning, []]),
    runningExcept: (supervisor) => read(selectRunningExcept(supervisor))
  }
}
