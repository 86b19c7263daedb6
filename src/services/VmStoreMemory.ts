import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Ref from "effect/Ref"
import { Conflict, NotFound } from "../domain/Errors.js"
import { type CidRange, cidRange, newVm, type Vm } from "../domain/Vm.js"
import { StoreStatus } from "./StoreStatus.js"
import { VmStore } from "./VmStore.js"

/** Records in the order they were inserted. */
type Records = ReadonlyArray<Vm>

const find = (records: Records, nameOrId: string) =>
  records.find((vm) => vm.id === nameOrId) ?? records.find((vm) => vm.name === nameOrId)

const nextCid = (records: Records, range: CidRange): number | undefined => {
  const used = new Set(records.map((vm) => vm.cid))
  const next = records.reduce((highest, vm) => Math.max(highest, vm.cid), range.min - 1) + 1
  if (next <= range.max) return next
  for (let cid = range.min; cid <= range.max; cid++) {
    if (!used.has(cid)) return cid
  }
  return undefined
}

/**
 * Records in memory, for tests and for trying things out: they start out as `initial` and are gone with the process.
 */
export const layer = (options?: { readonly initial?: Records; readonly cids?: CidRange }) =>
  Layer.effectContext(
    Effect.gen(function* () {
      const ref = yield* Ref.make<Records>(options?.initial ?? [])
      const change = <A, E>(f: (records: Records) => Either.Either<readonly [A, Records], E>) =>
        Effect.flatten(
          Ref.modify(ref, (records): readonly [Either.Either<A, E>, Records] => {
            const outcome = f(records)
            return Either.isLeft(outcome)
              ? [Either.left(outcome.left), records]
              : [Either.right(outcome.right[0]), outcome.right[1]]
          })
        )

      const store = VmStore.of({
        create: (params) =>
          Effect.flatMap(Clock.currentTimeMillis, (millis) =>
            change<Vm, Conflict>((records) => {
              if (records.some((vm) => vm.name === params.name)) return Either.left(Conflict.nameTaken(params.name))
              const cid = nextCid(records, options?.cids ?? cidRange)
              if (cid === undefined) return Either.left(Conflict.noFreeCid())
              const now = Math.floor(millis / 1000)
              const vm = newVm(params, crypto.randomUUID(), cid, now)
              return Either.right([vm, [...records, vm]])
            })
          ),
        list: ({ role, state }) =>
          Effect.map(Ref.get(ref), (records) =>
            records
              .filter((vm) => (role ?? vm.role) === vm.role && (state ?? vm.state) === vm.state)
              .reverse()
              .sort((a, b) => b.created_at - a.created_at)
          ),
        get: (nameOrId) =>
          Effect.flatMap(Ref.get(ref), (records) => {
            const vm = find(records, nameOrId)
            return vm === undefined ? Effect.fail(NotFound.vm(nameOrId)) : Effect.succeed(vm)
          }),
        delete: (nameOrId) =>
          change<void, NotFound | Conflict>((records) => {
            const vm = find(records, nameOrId)
            if (vm === undefined) return Either.left(NotFound.vm(nameOrId))
            if (vm.state === "running") return Either.left(Conflict.running(vm.name))
            return Either.right([undefined, records.filter((other) => other !== vm)])
          })
      })

      const status = StoreStatus.of({
        check: Effect.succeed({ path: ":memory:", table_count: 0, size_bytes: 0 })
      })

      return Context.make(VmStore, store).pipe(Context.add(StoreStatus, status))
    })
  )
