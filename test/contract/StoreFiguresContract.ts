import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import { CreateVm } from "../../src/domain/Vm.js"
import { StoreFigures, type VmCount } from "../../src/services/StoreFigures.js"
import { VmStore } from "../../src/services/VmStore.js"
import { record } from "../support/Records.js"
import type { Setup } from "./VmStoreContract.js"

const counts = Effect.flatMap(StoreFigures, ({ vmCounts }) => vmCounts)
const sorted = (found: ReadonlyArray<VmCount>) =>
  found.map(({ count, role, state }) => `${role} ${state} ${count}`).sort()

/** The contract of every `StoreFigures` layer. */
export const storeFiguresContract = (
  layerName: string,
  layer: (setup: Setup) => Layer.Layer<VmStore | StoreFigures>
) => {
  // More than one statement of SQLite counts.
  const roles = ["work", "portal", "service"]
  const states = ["created", "stopped"]
  const initial = Array.from({ length: 2100 }, (_, index) =>
    record(`vm-${index}`, {
      cid: index + 3,
      role: `${roles[index % 3]}`,
      state: `${states[Math.floor(index / 3) % 2]}`
    })
  )

  describe(`StoreFigures contract: ${layerName}`, () => {
    it.effect("counts every record once, by role and state", () =>
      Effect.gen(function* () {
        const expected = new Map<string, number>()
        for (const { role, state } of initial) {
          expected.set(`${role} ${state}`, (expected.get(`${role} ${state}`) ?? 0) + 1)
        }
        expect(sorted(yield* counts)).toEqual(Array.from(expected, ([key, count]) => `${key} ${count}`).sort())
      }).pipe(Effect.provide(layer({ initial })))
    )

    it.effect("sees each change", () =>
      Effect.gen(function* () {
        const store = yield* VmStore
        expect(yield* counts).toEqual([])
        yield* store.create(CreateVm.make({ name: "web" }))
        yield* store.create(CreateVm.make({ name: "db" }))
        expect(sorted(yield* counts)).toEqual(["work created 2"])
        expect(sorted(yield* counts)).toEqual(["work created 2"])
        yield* store.update("db", { role: "service" })
        expect(sorted(yield* counts)).toEqual(["service created 1", "work created 1"])
        yield* store.delete("web")
        expect(sorted(yield* counts)).toEqual(["service created 1"])
      }).pipe(Effect.provide(layer({})))
    )

    it.effect("tells the database's size", () =>
      Effect.gen(function* () {
        const { sizeBytes } = yield* StoreFigures
        expect(yield* sizeBytes).toBeGreaterThanOrEqual(layerName === "memory" ? 0 : 4096)
      }).pipe(Effect.provide(layer({})))
    )
  })
}
