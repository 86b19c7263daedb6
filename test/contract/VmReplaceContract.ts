import { describe, expect, it } from "@effect/vitest"
import * as Array from "effect/Array"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type * as Layer from "effect/Layer"
import * as TestClock from "effect/TestClock"
import { Conflict, NotFound, PreconditionFailed } from "../../src/domain/Errors.js"
import { CreateVm, type Vm } from "../../src/domain/Vm.js"
import * as VmTransition from "../../src/domain/VmTransition.js"
import { VmStore } from "../../src/services/VmStore.js"
import { getVm, listVms, record } from "../support/Records.js"
import { claimOf, startedAs } from "../support/Runs.js"
import type { Setup } from "./VmStoreContract.js"

const replace = (params: Parameters<typeof CreateVm.make>[0], precondition?: VmTransition.Precondition) =>
  Effect.flatMap(VmStore, (store) => store.replace(CreateVm.make(params), precondition))

const unmet = new PreconditionFailed({ message: "unmet" })
const never: VmTransition.Precondition = () => Either.left(unmet)
/** Requires a record to be exactly this one. */
const is =
  (expected: Vm | undefined): VmTransition.Precondition =>
  (vm) =>
    JSON.stringify(vm) === JSON.stringify(expected) ? Either.void : Either.left(unmet)

/** The contract of every `VmStore` layer on `replace` and on preconditions. */
export const vmReplaceContract = (layerName: string, layer: (setup: Setup) => Layer.Layer<VmStore>) => {
  const run =
    <A, E>(body: Effect.Effect<A, E, VmStore>, setup: Setup = {}) =>
    () =>
      Effect.provide(body, layer(setup))

  describe(`VmStore contract, replacements: ${layerName}`, () => {
    it.effect(
      "replace creates a record as create does, and the same again changes nothing",
      run(
        Effect.gen(function* () {
          yield* TestClock.setTime(1_000_000)
          const { after: vm, before } = yield* replace({ name: "web", config_json: "{}" })
          expect(before).toBeUndefined()
          expect(vm).toStrictEqual(record("web", { id: vm.id, config_json: "{}" }))
          yield* TestClock.setTime(2_000_000)
          expect(yield* replace({ name: "web", config_json: "{}" })).toStrictEqual({ before: vm, after: vm })
          expect(yield* listVms()).toStrictEqual([vm])
        })
      )
    )

    const stopped = record("web", {
      ...{ role: "portal", state: "stopped", cid: 7, vcpu_count: 4, mem_size_mib: 512, config_json: "{}" },
      ...{ started_at: 1100, stopped_at: 1200, console_log_path: "/log" }
    })
    it.effect(
      "what replace does not say takes its default, and what it can't say stays",
      run(
        Effect.gen(function* () {
          yield* TestClock.setTime(2_000_000)
          const { config_json: _, ...rest } = stopped
          const expected = { ...rest, role: "work", vcpu_count: 1, mem_size_mib: 256, updated_at: 2000 }
          expect(yield* replace({ name: "web", mem_size_mib: 256 })).toStrictEqual({ before: stopped, after: expected })
          expect(yield* listVms()).toStrictEqual([expected])
        }),
        { initial: [stopped] }
      )
    )

    const other = record("other", { id: "web", cid: 8 })
    it.effect(
      "replace takes a name, not an id",
      run(
        Effect.gen(function* () {
          expect(yield* getVm("web")).toStrictEqual(other)
          const { after, before } = yield* replace({ name: "web" })
          expect(before).toBeUndefined()
          expect(yield* getVm(after.id)).toStrictEqual(after)
          expect((yield* replace({ name: "web", vcpu_count: 2 })).after.id).toBe(after.id)
          expect(yield* getVm("web")).toStrictEqual(other)
        }),
        { initial: [other] }
      )
    )

    it.effect(
      "replace fails with Conflict when no CID is free, unless the record exists",
      run(
        Effect.gen(function* () {
          yield* replace({ name: "web" })
          expect(yield* Effect.flip(replace({ name: "db" }))).toStrictEqual(Conflict.noFreeCid())
          expect((yield* replace({ name: "web", role: "portal" })).after.role).toBe("portal")
        }),
        { cids: { min: 3, max: 3 } }
      )
    )

    it.effect(
      "while a VM is being started it can't be replaced; while it runs only its role can change",
      run(
        Effect.gen(function* () {
          const store = yield* VmStore
          yield* replace({ name: "web" })
          yield* store.transition("web", VmTransition.claimStart(claimOf("run-1")))
          expect(yield* Effect.flip(replace({ name: "web" }))).toStrictEqual(Conflict.beingStarted("web"))
          yield* store.transition("web", VmTransition.confirmStart("run-1", startedAs()))
          const running = yield* getVm("web")
          for (const more of [{ vcpu_count: 2 }, { mem_size_mib: 1 }, { config_json: "{}" }]) {
            const params = { name: "web", role: "service", ...more } as const
            expect(yield* Effect.flip(replace(params))).toStrictEqual(Conflict.running("update", "web"))
          }
          expect(yield* replace({ name: "web" })).toStrictEqual({ before: running, after: running })
          const { after } = yield* replace({ name: "web", role: "portal" })
          expect(after).toStrictEqual({ ...running, role: "portal", updated_at: after.updated_at })
          expect((yield* store.getWithRun("web")).run?.run_id).toBe("run-1")
        })
      )
    )

    it.effect(
      "a change fails with its precondition, which is given the record as get shows it, and changes nothing then",
      run(
        Effect.gen(function* () {
          const store = yield* VmStore
          const { after: vm } = yield* replace({ name: "web" })
          const changes = (
            precondition: VmTransition.Precondition
          ): ReadonlyArray<Effect.Effect<unknown, unknown, VmStore>> => [
            store.update(vm.id, { role: "portal" }, precondition),
            store.update("web", {}, precondition),
            replace({ name: "web", role: "portal" }, precondition),
            store.transition("web", VmTransition.given(precondition, VmTransition.claimStart(claimOf("run-1")))),
            store.delete("web", precondition)
          ]
          for (const change of changes(never)) expect(yield* Effect.flip(change)).toStrictEqual(unmet)
          expect(yield* listVms()).toStrictEqual([vm])
          expect((yield* store.getWithRun("web")).run).toBeUndefined()
          yield* store.update("web", { role: "portal" }, is(vm))
          for (const change of changes(is(vm))) expect(yield* Effect.flip(change)).toStrictEqual(unmet)
          // A VM that runs shows its VMM.
          yield* store.transition("web", VmTransition.claimStart(claimOf("run-2")))
          yield* store.transition("web", VmTransition.confirmStart("run-2", startedAs()))
          const running = yield* getVm("web")
          expect(yield* store.update("web", {}, is(running))).toStrictEqual(running)
          // The precondition is checked before the state.
          expect(yield* Effect.flip(store.delete("web", never))).toStrictEqual(unmet)
          expect(yield* Effect.flip(store.delete("web", is(running)))).toStrictEqual(Conflict.running("delete", "web"))
          yield* store.transition("web", VmTransition.endRun("run-2", "stopped", 1))
          const stopped = yield* getVm("web")
          expect(yield* store.delete(vm.id.toUpperCase(), is(stopped))).toStrictEqual(stopped)
          expect(yield* listVms()).toStrictEqual([])
        })
      )
    )

    it.effect(
      "of a record that does not exist only replace checks the precondition",
      run(
        Effect.gen(function* () {
          const store = yield* VmStore
          expect(yield* Effect.flip(store.update("web", {}, never))).toStrictEqual(NotFound.vm("web"))
          expect(yield* Effect.flip(store.delete("web", never))).toStrictEqual(NotFound.vm("web"))
          expect(yield* Effect.flip(replace({ name: "web" }, never))).toStrictEqual(unmet)
          expect(yield* listVms()).toStrictEqual([])
          const { after } = yield* replace({ name: "web" }, is(undefined))
          expect(yield* Effect.flip(replace({ name: "web" }, is(undefined)))).toStrictEqual(unmet)
          expect(yield* replace({ name: "web" }, is(after))).toStrictEqual({ before: after, after })
        })
      )
    )

    // Fibers that yield every few steps interleave as separate processes would.
    for (const steps of [15, 50, 2048]) {
      it.live(
        `of 50 replacements of one name at once one creates it (a switch every ${steps} steps)`,
        run(
          Effect.gen(function* () {
            const outcomes = yield* Effect.forEach(Array.range(1, 50), () => replace({ name: "web" }), {
              concurrency: "unbounded"
            })
            expect(outcomes.filter(({ before }) => before === undefined)).toHaveLength(1)
            expect(new Set(outcomes.map(({ after }) => after.id)).size).toBe(1)
            expect(yield* listVms()).toHaveLength(1)
          }).pipe(Effect.withMaxOpsBeforeYield(steps))
        )
      )

      it.live(
        `of 40 changes at once that expect one version of a record one succeeds (a switch every ${steps} steps)`,
        run(
          Effect.gen(function* () {
            const store = yield* VmStore
            const { after: vm } = yield* replace({ name: "web" })
            const outcomes = yield* Effect.forEach(
              Array.range(2, 31).flatMap((vcpu_count): ReadonlyArray<Effect.Effect<unknown, unknown, VmStore>> => {
                if (vcpu_count % 3 === 0) return [store.update("web", { vcpu_count }, is(vm))]
                if (vcpu_count % 3 === 1) return [replace({ name: "web", vcpu_count }, is(vm))]
                return [store.delete(vm.id, is(vm)), store.update(vm.id, { name: `web-${vcpu_count}` }, is(vm))]
              }),
              Effect.either,
              { concurrency: "unbounded" }
            )
            expect(outcomes.filter(Either.isRight)).toHaveLength(1)
          }).pipe(Effect.withMaxOpsBeforeYield(steps))
        )
      )

      it.live(
        `replacements and deletes of one name at once all succeed (a switch every ${steps} steps)`,
        run(
          Effect.gen(function* () {
            const store = yield* VmStore
            const outcomes = yield* Effect.forEach(
              Array.range(1, 60),
              (n) =>
                n % 2 === 0
                  ? Effect.map(replace({ name: "web" }), ({ before }) => (before === undefined ? 1 : 0))
                  : Effect.match(store.delete("web"), { onFailure: () => 0, onSuccess: () => -1 }),
              { concurrency: "unbounded" }
            )
            expect(yield* listVms()).toHaveLength(outcomes.reduce<number>((count, change) => count + change, 0))
          }).pipe(Effect.withMaxOpsBeforeYield(steps))
        )
      )
    }
  })
}
