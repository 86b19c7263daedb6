import { describe, expect, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Random from "effect/Random"
import { yieldToEventLoop } from "../../src/runtime/EventLoop.js"
import { killed } from "../../src/services/vmm/VmmMemory.js"
import { assertTrue, bootArgs, makeWorld, type TestDaemon } from "./LifecycleWorld.js"

const rounds = process.env["NEXUS_FAULTS"] === undefined ? 300 : 3_000
const names = ["a", "b", "c"]
const guests = ["", "guest=deaf", "guest=off", "guest=panic"]
const timeout = Duration.millis(2)

const pick = <A>(values: ReadonlyArray<A>) =>
  Effect.map(Random.nextIntBetween(0, values.length), (index) => values[index] as A)

/** A call that somebody makes, and may leave before it is answered. */
const call = ({ lifecycle }: TestDaemon) =>
  Effect.gen(function* () {
    const name = yield* pick(names)
    const effect = yield* pick<Effect.Effect<unknown, unknown>>([
      lifecycle.start(name),
      lifecycle.start(name),
      lifecycle.stop(name, { force: false, timeout }),
      lifecycle.stop(name, { force: true, timeout }),
      lifecycle.logs(name, { tail: 1, follow: false })
    ])
    const leaves = yield* Random.nextIntBetween(0, 5)
    return yield* Effect.ignore(leaves === 0 ? Effect.timeout(effect, "1 millis") : effect)
  })

const quiet = Logger.minimumLogLevel(LogLevel.None)

const turns = (count: number) => Effect.repeatN(Effect.yieldNow(), count)

describe("nexusd killed at any moment", () => {
  it.scopedLive(`${rounds} times: no process without its record, no record that runs without its process`, () =>
    Effect.gen(function* () {
      const world = yield* makeWorld()
      const { create, host, kernel, startDaemon } = world
      yield* Effect.forEach(names, (name, index) => create(name, bootArgs(kernel, guests[index] ?? "")))
      host.beforeGuest = () => Effect.flatMap(Random.nextIntBetween(0, 20), turns)
      let boots = 1
      const seen = { running: 0, ended: 0 }
      for (let round = 0; round < rounds; round++) {
        const facts = { bootId: `boot-${boots}` }
        const daemon = yield* startDaemon({ facts })
        yield* assertTrue(world)
        seen.running += host.running().length
        yield* Effect.forkDaemon(
          Effect.forEach(names.concat(names), () => Effect.repeatN(call(daemon), 3), { concurrency: "unbounded" })
        )
        yield* Effect.repeatN(yieldToEventLoop, yield* Random.nextIntBetween(0, 20))
        yield* turns(yield* Random.nextIntBetween(0, 100))
        yield* daemon.kill
        const event = yield* Random.nextIntBetween(0, 10)
        for (const process of host.running()) {
          // The host restarts, or a VMM is killed.
          if (event === 0 || (event === 1 && (yield* Random.nextBoolean))) {
            process.end(killed)
            seen.ended += 1
          }
        }
        if (event === 0) boots += 1
      }
      expect(seen.running).toBeGreaterThan(rounds / 10)
      expect(seen.ended).toBeGreaterThan(0)
    }).pipe(Effect.provide(quiet))
  )
})
