import * as Array from "effect/Array"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Ref from "effect/Ref"
import { Conflict, NotFound, type PreconditionFailed } from "../domain/Errors.js"
import { type CidRange, type CreateVm, cidRange, newVm, type Vm } from "../domain/Vm.js"
import { matchesFilter, type VmCursor, type VmPage, type VmSelection } from "../domain/VmQuery.js"
import type { DriveIdentity, VmChange, VmWithRun } from "../domain/VmRun.js"
import { assertDeletable, given, noPrecondition, replace, update } from "../domain/VmTransition.js"
import { withAnyCaseId } from "./AnyCaseId.js"
import { StoreFigures, type VmCount } from "./StoreFigures.js"
import { StoreHealth } from "./StoreHealth.js"
import { changesOf } from "./VmChanges.js"
import * as VmEventLog from "./VmEventLog.js"
import { VmEvents } from "./VmEvents.js"
import { columns } from "./VmRow.js"
import { supervisorText } from "./VmRunRow.js"
import { type VmReplacement, VmStore, type VmTransition } from "./VmStore.js"

interface Entry extends VmCursor, VmWithRun {}

/** In the order of inserts. */
type Entries = ReadonlyArray<Entry>

const isRunning = ({ run, vm }: VmWithRun): boolean => run !== undefined || vm.state === "running"
const toVmWithRun = ({ run, vm }: Entry): VmWithRun => ({ run, vm })

const insert = (entries: Entries, vm: Vm): Entries => [
  ...entries,
  { vm, run: undefined, created_at: vm.created_at, sequence: (entries.at(-1)?.sequence ?? 0) + 1 }
]

const find = (entries: Entries, nameOrId: string): Either.Either<Entry, NotFound> =>
  Either.fromNullable(
    entries.find(({ vm }) => vm.id === nameOrId) ?? entries.find(({ vm }) => vm.name === nameOrId),
    () => NotFound.vm(nameOrId)
  )

const nextCid = (entries: Entries, range: CidRange): number | undefined => {
  const used = new Set<number>(entries.map(({ vm }) => vm.cid))
  const next = entries.reduce((highest, { vm }) => Math.max(highest, vm.cid), range.min - 1) + 1
  if (next <= range.max) return next
  for (let cid = range.min; cid <= range.max; cid++) {
    if (!used.has(cid)) return cid
  }
  return undefined
}

const newestFirst = (a: VmCursor, b: VmCursor) => b.created_at - a.created_at || b.sequence - a.sequence

const select = (entries: Entries, { cursor, ...filter }: VmSelection): Entries =>
  entries
    .filter(({ vm }) => matchesFilter(filter)(vm))
    .filter((entry) => cursor === undefined || newestFirst(cursor, entry) < 0)
    .sort(newestFirst)

const page = (matching: Entries, limit: number): VmPage => {
  const entries = matching.slice(0, limit)
  return { vms: entries.map(({ vm }) => vm), next: entries.length < matching.length ? entries.at(-1) : undefined }
}

const countOf = (entries: Entries): ReadonlyArray<VmCount> =>
  Object.values(Array.groupBy(entries, ({ vm: { role, state } }) => JSON.stringify([role, state]))).map((group) => {
    const { role, state } = group[0].vm
    return { role, state, count: group.length }
  })

const nowInSeconds = Effect.map(Clock.currentTimeMillis, (millis) => Math.floor(millis / 1000))

/** Keeps VM records in memory, for tests. `initial` are the first records; `cids` limits the CIDs. */
export const layer = (options?: { readonly initial?: ReadonlyArray<Vm>; readonly cids?: CidRange }) =>
  Layer.scopedContext(
    Effect.gen(function* () {
      const ref = yield* Ref.make((options?.initial ?? []).reduce<Entries>(insert, []))
      const events = yield* VmEventLog.make(Effect.succeed(false))
      const change = <A, E>(
        f: (entries: Entries) => Either.Either<readonly [A, Entries], E>,
        onCommit: (result: A) => void
      ) =>
        Effect.flatten(
          Ref.modify(ref, (entries): readonly [Either.Either<A, E>, Entries] => {
            const outcome = f(entries)
            if (Either.isLeft(outcome)) return [Either.left(outcome.left), entries]
            const [result, written] = outcome.right
            onCommit(result)
            return [Either.right(result), written]
          })
        )

      const read = withAnyCaseId((nameOrId) => Effect.flatMap(Ref.get(ref), (entries) => find(entries, nameOrId)))
      const databaseId = crypto.randomUUID()

      const created = (entries: Entries, params: CreateVm, now: number): Either.Either<Vm, Conflict> => {
        if (entries.some(({ vm }) => vm.name === params.name)) return Either.left(Conflict.nameTaken(params.name))
        const cid = nextCid(entries, options?.cids ?? cidRange)
        return cid === undefined
          ? Either.left(Conflict.noFreeCid())
          : Either.right(newVm(params, crypto.randomUUID(), cid, now))
      }

      const changed = <E>(
        entries: Entries,
        entry: Entry,
        decision: Either.Either<VmChange | undefined, E>,
        now: number
      ): Either.Either<readonly [VmTransition, Entries], E | Conflict> =>
        Either.flatMap(decision, (change) => {
          const before: VmWithRun = { vm: entry.vm, run: entry.run }
          const { after } = changesOf(before, change, columns, now)
          if (entries.some((other) => other !== entry && other.vm.name === after.vm.name)) {
            return Either.left(Conflict.nameTaken(after.vm.name))
          }
          const written = entries.map((other) => (other === entry ? { ...entry, ...after } : other))
          return Either.right([{ before, after }, written] as const)
        })

      const transition = <E>(
        nameOrId: string,
        decide: (current: VmWithRun, others: ReadonlyArray<VmWithRun>) => Either.Either<VmChange | undefined, E>,
        options?: { readonly drives: ReadonlyArray<DriveIdentity> }
      ) =>
        Effect.flatMap(nowInSeconds, (now) =>
          withAnyCaseId((nameOrId) =>
            change<VmTransition, E | NotFound | Conflict>(
              (entries) =>
                Either.flatMap(find(entries, nameOrId), (entry) => {
                  const wanted = new Set(options?.drives.map(({ identity }) => identity))
                  const others = entries.filter(
                    (other) => other !== entry && other.run?.drives.some(({ identity }) => wanted.has(identity))
                  )
                  return changed(entries, entry, decide({ vm: entry.vm, run: entry.run }, others), now)
                }),
              ({ after, before }) => events.publish(before.vm, after.vm)
            )
          )(nameOrId)
        )

      const store = VmStore.of({
        create: (params) =>
          Effect.flatMap(nowInSeconds, (now) =>
            change<Vm, Conflict>(
              (entries) => Either.map(created(entries, params, now), (vm) => [vm, insert(entries, vm)] as const),
              (vm) => events.publish(undefined, vm)
            )
          ),
        replace: (params, precondition = noPrecondition) =>
          Effect.flatMap(nowInSeconds, (now) =>
            change<VmReplacement, Conflict | PreconditionFailed>(
              (entries) => {
                const entry = entries.find(({ vm }) => vm.name === params.name)
                if (entry !== undefined) {
                  const decision = given(precondition, replace(params))(entry)
                  return Either.map(
                    changed(entries, entry, decision, now),
                    ([{ after, before }, written]) => [{ before: before.vm, after: after.vm }, written] as const
                  )
                }
                return precondition(undefined).pipe(
                  Either.flatMap(() => created(entries, params, now)),
                  Either.map((vm) => [{ before: undefined, after: vm }, insert(entries, vm)] as const)
                )
              },
              ({ after, before }) => events.publish(before, after)
            )
          ),
        list: (query) => Effect.map(Ref.get(ref), (entries) => page(select(entries, query), query.limit)),
        listJson: (selection) =>
          Effect.map(Ref.get(ref), (entries) =>
            Buffer.from(JSON.stringify(select(entries, selection).map(({ vm }) => vm)))
          ),
        get: (nameOrId) => Effect.map(read(nameOrId), ({ vm }) => vm),
        getWithRun: (nameOrId) => Effect.map(read(nameOrId), ({ run, vm }) => ({ run, vm })),
        running: Effect.map(Ref.get(ref), (entries) => entries.filter(isRunning).map(toVmWithRun)),
        runningExcept: (supervisor) =>
          Effect.map(Ref.get(ref), (entries) =>
            entries
              .filter(isRunning)
              .filter(({ run }) => run === undefined || supervisorText(run) !== supervisorText(supervisor))
              .map(toVmWithRun)
          ),
        update: (nameOrId, wanted, precondition = noPrecondition) =>
          Effect.map(transition(nameOrId, given(precondition, update(wanted))), ({ after }) => after.vm),
        transition,
        delete: (nameOrId, precondition = noPrecondition) =>
          withAnyCaseId((nameOrId) =>
            change<Vm, NotFound | Conflict | PreconditionFailed>(
              (entries) =>
                Either.gen(function* () {
                  const entry = yield* find(entries, nameOrId)
                  yield* given(precondition, assertDeletable)(entry)
                  return [entry.vm, entries.filter((other) => other !== entry)] as const
                }),
              (vm) => events.publish(vm, undefined)
            )
          )(nameOrId),
        databaseId: Effect.succeed(databaseId)
      })

      const status = StoreHealth.of({
        check: Effect.succeed({ path: ":memory:", table_count: 0, size_bytes: 0 })
      })

      const figures = StoreFigures.of({
        vmCounts: Effect.map(Ref.get(ref), countOf),
        sizeBytes: Effect.succeed(0)
      })

      return Context.make(VmStore, store).pipe(
        Context.add(StoreHealth, status),
        Context.add(StoreFigures, figures),
        Context.add(VmEvents, VmEvents.of({ subscribe: events.subscribe }))
      )
    })
  )
