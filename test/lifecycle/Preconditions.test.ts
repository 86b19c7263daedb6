import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { PreconditionFailed } from "../../src/domain/Errors.js"
import type { Vm, VmRole } from "../../src/domain/Vm.js"
import type { Precondition } from "../../src/domain/VmTransition.js"
import { VmStore } from "../../src/services/VmStore.js"
import { assertTrue, makeWorld, stopOptions } from "./LifecycleWorld.js"

const failure = PreconditionFailed.changed("web")
const isWork: Precondition = (vm) => (vm?.role === "work" ? Either.void : Either.left(failure))

/** A daemon of whose transitions and deletes the next comes after another client's change, which `interfere` asks for. */
const meet = Effect.gen(function* () {
  const world = yield* makeWorld()
  let next: VmRole | undefined
  const { lifecycle } = yield* world.startDaemon({
    store: (store) => {
      const afterChange = <A, E>(nameOrId: string, call: Effect.Effect<A, E>) =>
        Effect.suspend((): Effect.Effect<Vm | undefined> => {
          const role = next
          next = undefined
          return role === undefined ? Effect.succeed(undefined) : Effect.orDie(store.update(nameOrId, { role }))
        }).pipe(Effect.zipRight(call))
      return VmStore.of({
        ...store,
        transition: (nameOrId, decide, options) => afterChange(nameOrId, store.transition(nameOrId, decide, options)),
        delete: (nameOrId, precondition) => afterChange(nameOrId, store.delete(nameOrId, precondition))
      })
    }
  })
  const interfere = Effect.sync(() => {
    next = "portal"
  })
  const reset = world.store.update("web", { role: "work" })
  return { ...world, lifecycle, interfere, reset }
})

describe("a change of a record between the look at it and the transaction", () => {
  it.scopedLive("fails a start, a stop and a delete that have a precondition, and nothing is done", () =>
    Effect.gen(function* () {
      const { create, host, interfere, lifecycle, reset, ...world } = yield* meet
      yield* create("web")
      yield* interfere
      expect(yield* Effect.flip(lifecycle.start("web", isWork))).toEqual(failure)
      expect(host.running()).toEqual([])
      yield* reset
      yield* lifecycle.start("web", isWork)
      yield* interfere
      expect(yield* Effect.flip(lifecycle.stop("web", stopOptions, isWork))).toEqual(failure)
      expect(host.running()).toHaveLength(1)
      expect((yield* world.store.getWithRun("web")).run?.phase).toBe("running")
      yield* reset
      expect((yield* lifecycle.stop("web", stopOptions, isWork)).state).toBe("stopped")
      yield* interfere
      expect(yield* Effect.flip(lifecycle.delete("web", isWork))).toEqual(failure)
      expect((yield* world.store.get("web")).role).toBe("portal")
      yield* assertTrue({ host, ...world })
      yield* reset
      yield* lifecycle.delete("web", isWork)
    })
  )
})
