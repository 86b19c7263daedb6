import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Ref from "effect/Ref"
import { Conflict, NotFound } from "../domain/Errors.js"
import { type CidRange, cidRange, newVm, type Vm } from "../domain/Vm.js"
import type { VmCursor, VmPage, VmSelection } from "../domain/VmQuery.js"
import type { DriveIdentity, VmChange, VmWithRun } from "../domain/VmRun.js"
import { assertDeletable, update } from "../domain/VmTransition.js"
import { withAnyCaseId } from "./AnyCaseId.js"
import { StoreHealth } from "./StoreHealth.js"
import { changesOf } from "./VmChanges.js"
import { columns } from "./VmRow.js"
import { VmStore, type VmTransition } from "./VmStore.js"

interface Entry extends VmCursor, VmWithRun {}

/** In the order of inserts. */
type Entries = ReadonlyArray<Entry>

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

const select = (entries: Entries, { cursor, role, state }: VmSelection): Entries =>
  entries
    .filter(({ vm }) => (role ?? vm.role) === vm.role && (state ?? vm.state) === vm.state)
    .filter((entry) => cursor === undefined || newestFirst(cursor, entry) < 0)
    .sort(newestFirst)

const page = (matching: Entries, limit: number): VmPage => {
  const entries = matching.slice(0, limit)
  return { vms: entries.map(({ vm }) => vm), next: entries.length < matching.length ? entries.at(-1) : undefined }
}

/** Keeps VM records in memory, for tests. `initial` are the first records; `cids` limits the CIDs. */
export const layer = (options?: { readonly initial?: ReadonlyArray<Vm>; readonly cids?: CidRange }) =>
  Layer.effectContext(
    Effect.gen(function* () {
      const ref = yield* Ref.make((options?.initial ?? []).reduce<Entries>(insert, []))
      const change = <A, E>(f: (entries: Entries) => Either.Either<readonly [A, Entries], E>) =>
        Effect.flatten(
          Ref.modify(ref, (entries): readonly [Either.Either<A, E>, Entries] => {
            const outcome = f(entries)
            return Either.isLeft(outcome)
              ? [Either.left(outcome.left), entries]
              : [Either.right(outcome.right[0]), outcome.right[1]]
          })
        )

      const read = withAnyCaseId((nameOrId) => Effect.flatMap(Ref.get(ref), (entries) => find(entries, nameOrId)))
      const databaseId = crypto.randomUUID()

      const transition = <E>(
        nameOrId: string,
        decide: (current: VmWithRun, others: ReadonlyArray<VmWithRun>) => Either.Either<VmChange | undefined, E>,
        options?: { readonly drives: ReadonlyArray<DriveIdentity> }
      ) =>
        Effect.flatMap(Clock.currentTimeMillis, (millis) =>
          withAnyCaseId((nameOrId) =>
            change<VmTransition, E | NotFound | Conflict>((entries) =>
              Either.gen(function* () {
                const entry = yield* find(entries, nameOrId)
                const wanted = new Set(options?.drives.map(({ identity }) => identity))
                const others = entries.filter(
                  (other) => other !== entry && other.run?.drives.some(({ identity }) => wanted.has(identity))
                )
                const before: VmWithRun = { vm: entry.vm, run: entry.run }
                const decision = yield* decide(before, others)
                const { after } = changesOf(before, decision, columns, Math.floor(millis / 1000))
                if (entries.some((other) => other !== entry && other.vm.name === after.vm.name)) {
                  return yield* Either.left(Conflict.nameTaken(after.vm.name))
                }
                const changed = entries.map((other) => (other === entry ? { ...entry, ...after } : other))
                return [{ before, after }, changed] as const
              })
            )
          )(nameOrId)
        )

      const store = VmStore.of({
        create: (params) =>
          Effect.flatMap(Clock.currentTimeMillis, (millis) =>
            change<Vm, Conflict>((entries) => {
              if (entries.some(({ vm }) => vm.name === params.name)) return Either.left(Conflict.nameTaken(params.name))
              const cid = nextCid(entries, options?.cids ?? cidRange)
              if (cid === undefined) return Either.left(Conflict.noFreeCid())
              const now = Math.floor(millis / 1000)
              const vm = newVm(params, crypto.randomUUID(), cid, now)
              return Either.right([vm, insert(entries, vm)])
            })
          ),
        list: (query) => Effect.map(Ref.get(ref), (entries) => page(select(entries, query), query.limit)),
        listJson: (selection) =>
          Effect.map(Ref.get(ref), (entries) =>
            Buffer.from(JSON.stringify(select(entries, selection).map(({ vm }) => vm)))
          ),
        get: (nameOrId) => Effect.map(read(nameOrId), ({ vm }) => vm),
        getWithRun: (nameOrId) => Effect.map(read(nameOrId), ({ run, vm }) => ({ run, vm })),
        running: Effect.map(Ref.get(ref), (entries) =>
          entries
            .filter(({ run, vm }) => run !== undefined || vm.state === "running")
            .map(({ run, vm }) => ({ run, vm }))
        ),
        update: (nameOrId, wanted) => Effect.map(transition(nameOrId, update(wanted)), ({ after }) => after.vm),
        transition,
        delete: withAnyCaseId((nameOrId) =>
          change<Vm, NotFound | Conflict>((entries) =>
            Either.gen(function* () {
              const entry = yield* find(entries, nameOrId)
              yield* assertDeletable(entry)
              return [entry.vm, entries.filter((other) => other !== entry)] as const
            })
          )
        ),
        databaseId: Effect.succeed(databaseId)
      })

      const status = StoreHealth.of({
        check: Effect.succeed({ path: ":memory:", table_count: 0, size_bytes: 0 })
      })

      return Context.make(VmStore, store).pipe(Context.add(StoreHealth, status))
    })
  )
