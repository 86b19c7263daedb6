import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { StoreUnavailable } from "../../src/domain/Errors.js"
import { VmStore } from "../../src/services/VmStore.js"
import { assertTrue, makeWorld, type StoreLayer, stopOptions } from "./LifecycleWorld.js"

const unavailable = new StoreUnavailable({ message: "the store does not answer" })

/** Fails the transitions from the n-th on, `count` of them: before they are made, or with the answer lost. */
const failing = (nth: number, count: number, isMade: boolean): StoreLayer => {
  let calls = 0
  return (store) =>
    VmStore.of({
      ...store,
      transition: (nameOrId, decide, options) =>
        Effect.suspend(() => {
          calls += 1
          if (calls < nth || calls >= nth + count) return store.transition(nameOrId, decide, options)
          return isMade
            ? Effect.zipRight(store.transition(nameOrId, decide, options), unavailable)
            : Effect.fail(unavailable)
        })
    })
}

// claim, confirmation, beginning of the stop, end.
for (const nth of [1, 2, 3, 4]) {
  for (const isMade of [false, true]) {
    for (const count of [1, 3]) {
      describe(`a store whose transition ${nth} fails ${count} times ${isMade ? "after" : "before"} it is made`, () => {
        it.scopedLive("start and stop end in a state that is true", () =>
          Effect.gen(function* () {
            const world = yield* makeWorld()
            const { create, host, startDaemon, store } = world
            const { lifecycle } = yield* startDaemon({ store: failing(nth, count, isMade) })
            yield* create("web")
            const untilDone = <A, E>(call: Effect.Effect<A, E>) => Effect.eventually(Effect.delay(call, "5 millis"))
            const started = yield* Effect.either(lifecycle.start("web"))
            if (nth === 1) {
              expect(started).toMatchObject({ _tag: "Left", left: unavailable })
              expect(host.running()).toEqual([])
              expect((yield* store.get("web")).state).toBe("created")
              yield* untilDone(lifecycle.start("web"))
            } else expect(started._tag).toBe("Right")
            yield* assertTrue(world)
            expect((yield* untilDone(lifecycle.stop("web", stopOptions))).state).toBe("stopped")
            yield* assertTrue(world)
            expect(host.running()).toEqual([])
            expect((yield* store.getWithRun("web")).run).toBeUndefined()
          })
        )
      })
    }
  }
}

describe("a start that dies", () => {
  it.scopedLive("leaves the VM failed, with neither run nor process, also while the store does not answer", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld()
      const { create, host, startDaemon, store } = world
      const { lifecycle } = yield* startDaemon({ store: failing(2, 2, true) })
      yield* create("web")
      host.beforeGuest = () => Effect.die("a defect")
      yield* Effect.exit(lifecycle.start("web"))
      expect((yield* store.getWithRun("web")).vm.state).toBe("failed")
      expect((yield* store.getWithRun("web")).run).toBeUndefined()
      yield* assertTrue(world)
    })
  )
})
