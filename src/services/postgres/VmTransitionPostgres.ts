import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Either from "effect/Either"
import { Conflict, NotFound, type PreconditionFailed, StoreUnavailable } from "../../domain/Errors.js"
import type { Vm } from "../../domain/Vm.js"
import type { DriveIdentity, RunSupervisor, VmChange, VmWithRun } from "../../domain/VmRun.js"
import { assertDeletable, given, type Precondition } from "../../domain/VmTransition.js"
import { type Changes, changesOf } from "../VmChanges.js"
import { toVm, type VmRow } from "../VmRow.js"
import {
  decodeRun,
  driveText,
  encodeRun,
  isRun,
  runId,
  runIdsWhere,
  runKey,
  runningIds,
  runValue,
  supervisorText,
  withRun
} from "../VmRunRow.js"
import type { VmTransition } from "../VmStore.js"
import type { Run, Statement } from "./PostgresConnection.js"
import type { PostgresDatabase } from "./PostgresDatabase.js"
import { toUnavailable, violates } from "./PostgresErrors.js"
import { nameConstraint } from "./PostgresSchema.js"
import { postgresColumns } from "./VmJsonPostgres.js"

const isNameTaken = violates(nameConstraint)

/** Attempts of one delete. An attempt fails only when the record has changed meanwhile. */
const maxAttempts = 100

type RowWithRun = VmRow & { readonly run: string | null }

const toVmWithRun = ({ run, ...row }: RowWithRun): VmWithRun => {
  const vm = toVm(row)
  return withRun(vm, decodeRun(vm.id, run))
}

const columnList = postgresColumns.join(", ")
const byName = "WHERE name = $1"
const byNameOrId = "WHERE id = $1 OR name = $1 ORDER BY id = $1 DESC LIMIT 1"

const selectWithRun = (nameOrId: string): Statement => ({
  name: "run",
  text: `SELECT ${columnList}, ${runValue} AS run FROM vms ${byNameOrId}`,
  values: [nameOrId]
})

const selectWithRuns = (ids: string) =>
  `SELECT ${columnList}, ${runValue} AS run FROM vms WHERE id IN (${ids}) ORDER BY inserted`
const selectRunning: Statement = { name: "running", text: selectWithRuns(runningIds) }
const selectRunningExcept = (supervisor: RunSupervisor): Statement => ({
  name: "running except",
  text: selectWithRuns(`${runningIds} EXCEPT ${runIdsWhere("position($1::text in value) > 0")}`),
  values: [supervisorText(supervisor)]
})

/** Makes transitions with drives wait for each other, until their transaction ends. */
const lockDrives = "pg_advisory_xact_lock(hashtext('nexus.drives'), 'vms'::regclass::oid::bigint::bit(32)::int)"

/** Locks a record until the transaction ends. Its run is read afterwards, in a snapshot that is taken with the lock. */
const lockStatement =
  (name: string, where: string) =>
  (key: string): Statement => ({
    name,
    text: `SELECT ${columnList} FROM vms ${where} FOR UPDATE`,
    values: [key]
  })
const lockRecord = lockStatement("lock record", byNameOrId)
const lockName = lockStatement("lock name", byName)

const selectRun = (id: string): Statement => ({
  name: "run of",
  text: "SELECT $1 AS id, value AS run FROM settings WHERE key = $2",
  values: [id, runKey(id)]
})

/** That run, and those which have one of these drives. */
const selectRuns = (id: string, drives: ReadonlyArray<DriveIdentity>): Statement => ({
  name: "runs",
  text: `
    SELECT ${columnList}, value AS run FROM settings JOIN vms ON id = ${runId}
    WHERE ${isRun} AND (key = $1 OR EXISTS (SELECT 1 FROM unnest($2::text[]) AS drive WHERE position(drive IN value) > 0))
  `,
  values: [runKey(id), drives.map(driveText)]
})

/**
 * Writes what a change makes of a record and its run; returns no row if the name is taken. Each change writes the record, if
 * only its id, so that `remove` sees that the run may have changed.
 */
const write = ({ after: { run, vm }, columns, isRunChanged }: Changes): Statement => {
  const values: Array<string | number | null> = [vm.id]
  const parameter = (value: string | number | null) => `$${values.push(value)}`
  const assignments = columns.map(([name, value]) => `${name} = ${parameter(value)}`)
  const isRenamed = columns.some(([name]) => name === "name")
  const isFree = isRenamed ? `AND NOT EXISTS (SELECT 1 FROM vms WHERE name = ${parameter(vm.name)})` : ""
  const key = isRunChanged ? parameter(runKey(vm.id)) : ""
  const writeRun = !isRunChanged
    ? ""
    : run === undefined
      ? `, written AS (DELETE FROM settings USING changed WHERE key = ${key})`
      : `, written AS (
          INSERT INTO settings (key, value, type) SELECT ${key}, ${parameter(encodeRun(run))}, 'json' FROM changed
          ON CONFLICT (key) DO UPDATE SET value = excluded.value, type = excluded.type
        )`
  return {
    text: `
      WITH changed AS (
        UPDATE vms SET ${["id = id", ...assignments].join(", ")} WHERE id = $1 ${isFree} RETURNING id
      ) ${writeRun}
      SELECT id FROM changed
    `,
    values
  }
}

/**
 * Deletes the record with that id or else that name, unless it runs. Returns it with its run. A statement's snapshot does not
 * have what was committed while it waited for the lock: `is_current` tells whether the record is the snapshot's.
 */
const removeStatement = (nameOrId: string): Statement => ({
  name: "remove",
  text: `
    WITH
      found AS MATERIALIZED (SELECT ${columnList}, xmin AS version FROM vms ${byNameOrId} FOR UPDATE),
      current AS MATERIALIZED (
        SELECT id, state,
          (SELECT value FROM settings WHERE key = 'vm.run.' || found.id) AS run,
          coalesce((SELECT vms.xmin FROM vms WHERE vms.id = found.id) = found.version, false) AS is_current
        FROM found
      ),
      deleted AS (
        DELETE FROM vms USING current
        WHERE vms.id = current.id AND current.state <> 'running' AND run IS NULL AND is_current
      )
    SELECT ${postgresColumns.map((name) => `found.${name}`).join(", ")}, run, is_current FROM found, current
  `,
  values: [nameOrId]
})

const deleteRecord = (id: string): Statement => ({
  name: "delete record",
  text: "DELETE FROM vms WHERE id = $1",
  values: [id]
})

/** What changes or deletes a record, and what reads runs, of the store over PostgreSQL. */
export const make = ({ executeOrUnavailable, execute, transaction }: PostgresDatabase["Type"]) => {
  /** Locks a record; returns it with its run, and the other VMs whose runs have one of these drives. */
  const lock = (run: Run, statement: Statement, drives: ReadonlyArray<DriveIdentity> = []) =>
    Effect.gen(function* () {
      const [row] = yield* run<VmRow>(statement)
      if (row === undefined) return undefined
      const vm = toVm(row)
      const runs = yield* run<RowWithRun>(drives.length === 0 ? selectRun(vm.id) : selectRuns(vm.id, drives))
      return {
        before: withRun(vm, decodeRun(vm.id, runs.find(({ id }) => id === vm.id)?.run)),
        others: runs.filter(({ id }) => id !== vm.id).map(toVmWithRun)
      }
    })

  const change = <E>(run: Run, before: VmWithRun, decision: Either.Either<VmChange | undefined, E>) =>
    Effect.gen(function* () {
      const now = Math.floor((yield* Clock.currentTimeMillis) / 1000)
      const changes = changesOf(before, yield* decision, postgresColumns, now)
      const { after } = changes
      if (after !== before) {
        const written = yield* run(write(changes)).pipe(
          Effect.catchIf(isNameTaken, () => Conflict.nameTaken(after.vm.name))
        )
        if (written.length === 0) return yield* Conflict.nameTaken(after.vm.name)
      }
      return { before, after }
    })

  const transition = <E>(
    nameOrId: string,
    decide: (current: VmWithRun, others: ReadonlyArray<VmWithRun>) => Either.Either<VmChange | undefined, E>,
    { drives }: { readonly drives: ReadonlyArray<DriveIdentity> } = { drives: [] }
  ): Effect.Effect<VmTransition, E | NotFound | Conflict | StoreUnavailable> =>
    transaction(
      (run) =>
        Effect.gen(function* () {
          const locked = yield* lock(run, lockRecord(nameOrId), drives)
          if (locked === undefined) return yield* NotFound.vm(nameOrId)
          return yield* change(run, locked.before, decide(locked.before, locked.others))
        }),
      drives.length === 0 ? undefined : lockDrives
    )

  /** Changes the record of a name, which is no id here; returns `undefined` if there is none. */
  const changeName = <E>(
    name: string,
    decide: (current: VmWithRun) => Either.Either<VmChange | undefined, E>
  ): Effect.Effect<VmTransition | undefined, E | Conflict | StoreUnavailable> =>
    transaction((run) =>
      Effect.flatMap(lock(run, lockName(name)), (locked) =>
        locked === undefined ? Effect.succeed(undefined) : change(run, locked.before, decide(locked.before))
      )
    )

  const getWithRun = (nameOrId: string) =>
    Effect.flatMap(executeOrUnavailable<RowWithRun>(selectWithRun(nameOrId)), ([row]) =>
      row === undefined ? NotFound.vm(nameOrId) : Effect.succeed(toVmWithRun(row))
    )

  const select = (statement: Statement) =>
    Effect.map(executeOrUnavailable<RowWithRun>(statement), (rows) => rows.map(toVmWithRun))
  const running = select(selectRunning)
  const runningExcept = (supervisor: RunSupervisor) => select(selectRunningExcept(supervisor))

  /** Deletes in one statement. */
  const removeRecord = (nameOrId: string): Effect.Effect<Vm, NotFound | Conflict | StoreUnavailable> =>
    Effect.gen(function* () {
      for (let attempt = 1; attempt <= maxAttempts; attempt++) {
        const [row] = yield* Effect.catchAll(
          execute<RowWithRun & { readonly is_current: boolean }>(removeStatement(nameOrId)),
          toUnavailable
        )
        if (row === undefined) return yield* NotFound.vm(nameOrId)
        const { is_current, ...rest } = row
        if (!is_current) continue
        const current = toVmWithRun(rest)
        yield* assertDeletable(current)
        return current.vm
      }
      return yield* new StoreUnavailable({ message: "the VM changes all the time; try again" })
    })

  const removeGiven = (
    nameOrId: string,
    precondition: Precondition
  ): Effect.Effect<Vm, NotFound | Conflict | PreconditionFailed | StoreUnavailable> =>
    transaction((run) =>
      Effect.gen(function* () {
        const locked = yield* lock(run, lockRecord(nameOrId))
        if (locked === undefined) return yield* NotFound.vm(nameOrId)
        yield* given(precondition, assertDeletable)(locked.before)
        yield* run(deleteRecord(locked.before.vm.id))
        return locked.before.vm
      })
    )

  const remove = (nameOrId: string, precondition: Precondition | undefined) =>
    precondition === undefined ? removeRecord(nameOrId) : removeGiven(nameOrId, precondition)

  return { transition, changeName, getWithRun, running, runningExcept, remove }
}
