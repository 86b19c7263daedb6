import { describe, expect, it } from "@effect/vitest"
import * as Array from "effect/Array"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { vi } from "vitest"
import { yieldToEventLoop } from "../../src/runtime/EventLoop.js"
import * as PacedWakeUps from "../../src/runtime/PacedWakeUps.js"

describe("PacedWakeUps", () => {
  it.live("resumes all that wait, also those that wait again while others are resumed", () =>
    Effect.gen(function* () {
      const wakeUps = PacedWakeUps.make(() => 0)
      let round = 0
      const waitFor = (last: number): Effect.Effect<number> =>
        Effect.suspend(() => {
          const seen = round
          return seen >= last
            ? Effect.succeed(seen)
            : Effect.zipRight(
                wakeUps.wait(() => round !== seen),
                waitFor(last)
              )
        })
      const waiting = yield* Effect.forEach(Array.range(1, 500), () => Effect.fork(waitFor(20)))
      const next = Effect.sync(() => {
        round++
        wakeUps.wake()
      })
      // Each turn of the event loop resumes some of them.
      yield* Effect.forEach(Array.range(1, 20), () => Effect.zipRight(next, Effect.sleep(0)))
      expect(yield* Fiber.join(Fiber.all(waiting))).toEqual(Array.replicate(20, 500))
    })
  )

  it.live("does not wait for what has happened already", () =>
    Effect.gen(function* () {
      const wakeUps = PacedWakeUps.make(() => 0)
      wakeUps.wake()
      yield* wakeUps.wait(() => true)
    })
  )

  it.live("what happens within a pause is one wake-up at its end", () =>
    Effect.gen(function* () {
      yield* Effect.acquireRelease(
        Effect.sync(() => vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] })),
        () => Effect.sync(() => vi.useRealTimers())
      )
      const wakeUps = PacedWakeUps.make(() => 50)
      let resumed = 0
      const count = Effect.zipRight(
        wakeUps.wait(() => false),
        Effect.sync(() => resumed++)
      )
      yield* Effect.fork(Effect.forever(count))
      const settle = Effect.repeatN(yieldToEventLoop, 5)
      yield* settle
      wakeUps.wake()
      yield* settle
      expect(resumed).toBe(1)
      for (const _ of [1, 2, 3]) {
        wakeUps.wake()
        yield* settle
      }
      vi.advanceTimersByTime(49)
      yield* settle
      expect(resumed).toBe(1)
      vi.advanceTimersByTime(1)
      yield* settle
      expect(resumed).toBe(2)
      vi.advanceTimersByTime(1_000)
      yield* settle
      expect(resumed).toBe(2)
    }).pipe(Effect.scoped)
  )
})
