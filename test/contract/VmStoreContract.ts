import { describe, expect, it } from "@effect/vitest"
import * as Array from "effect/Array"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import type * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import { Conflict, NotFound } from "../../src/domain/Errors.js"
import { type CidRange, CreateVm, type Vm, type VmRole } from "../../src/domain/Vm.js"
import type { VmPage, VmPageQuery, VmSelection } from "../../src/domain/VmQuery.js"
import { VmStore } from "../../src/services/VmStore.js"
import { decodeJson, getVm, listByPages, listVms, record } from "../support/Records.js"
import { ModelStore, type Operation, operations, preconditionOf } from "./VmStoreModel.js"

/** The initial records and CID range of a store under test. */
export interface Setup {
  readonly initial?: ReadonlyArray<Vm>
  readonly cids?: CidRange
  /** Rows of table `settings`. A store in memory has none. */
  readonly settings?: ReadonlyArray<{ readonly key: string; readonly value: string; readonly type: string }>
}

const create = (name: string, more?: { readonly role?: VmRole }) =>
  Effect.flatMap(VmStore, (store) => store.create(CreateVm.make({ name, ...more })))
/** The query for the page after another. */
const following = ({ next }: VmPage) => (next === undefined ? {} : { cursor: next })
const remove = (nameOrId: string) => Effect.flatMap(VmStore, (store) => store.delete(nameOrId))
const names = (selection: VmSelection = {}) => Effect.map(listVms(selection), (vms) => vms.map(({ name }) => name))

/** The contract of every `VmStore` layer. */
export const vmStoreContract = (layerName: string, layer: (setup: Setup) => Layer.Layer<VmStore>) => {
  const run =
    <A, E>(body: Effect.Effect<A, E, VmStore>, setup: Setup = {}) =>
    () =>
      Effect.provide(body, layer(setup))

  describe(`VmStore contract: ${layerName}`, () => {
    it.effect(
      "create returns the whole record, as get and list do",
      run(
        Effect.gen(function* () {
          yield* TestClock.setTime(1_771_425_006_999)
          const params = { name: "big", role: "portal", vcpu_count: 4, mem_size_mib: 1024 } as const
          const vm = yield* Effect.flatMap(VmStore, (store) => store.create(params))
          expect(vm).toStrictEqual({
            ...params,
            id: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/),
            state: "created",
            cid: 3,
            created_at: 1_771_425_006,
            updated_at: 1_771_425_006
          })
          expect(yield* getVm("big")).toStrictEqual(vm)
          expect(yield* getVm(vm.id)).toStrictEqual(vm)
          expect(yield* listVms()).toStrictEqual([vm])
        })
      )
    )

    it.effect(
      "a name is unique, and free again after its VM is deleted",
      run(
        Effect.gen(function* () {
          yield* create("dup")
          expect(yield* Effect.flip(create("dup"))).toStrictEqual(
            new Conflict({ message: "VM name 'dup' already exists" })
          )
          expect(yield* names()).toEqual(["dup"])
          yield* remove("dup")
          yield* create("dup")
        })
      )
    )

    it.effect(
      "CIDs start at 3; the next one is one more than the highest in use",
      run(
        Effect.gen(function* () {
          expect((yield* create("a")).cid).toBe(3)
          expect((yield* create("b")).cid).toBe(4)
          expect((yield* create("c")).cid).toBe(5)
          yield* remove("b")
          expect((yield* create("d")).cid).toBe(6)
          yield* remove("d")
          expect((yield* create("e")).cid).toBe(6)
        })
      )
    )

    it.effect(
      "when the highest CID is in use, create takes the lowest free one",
      run(
        Effect.gen(function* () {
          expect((yield* create("a")).cid).toBe(3)
          expect((yield* create("b")).cid).toBe(4)
          expect((yield* create("c")).cid).toBe(6)
        }),
        { initial: [record("top", { cid: 4294967294 }), record("five", { cid: 5 })] }
      )
    )

    it.effect(
      "create fails with Conflict when no CID is free; a duplicate name is reported first",
      run(
        Effect.gen(function* () {
          for (const name of ["a", "b", "c"]) yield* create(name)
          expect(yield* Effect.flip(create("d"))).toStrictEqual(new Conflict({ message: "no free CID" }))
          expect(yield* Effect.flip(create("a"))).toStrictEqual(Conflict.nameTaken("a"))
          yield* remove("b")
          expect((yield* create("d")).cid).toBe(4)
        }),
        { cids: { min: 3, max: 5 } }
      )
    )

    it.effect(
      "list is ordered by creation time, newest first, then by later insert",
      run(
        Effect.gen(function* () {
          yield* TestClock.setTime(5_000)
          yield* create("a")
          yield* create("b")
          yield* TestClock.setTime(9_000)
          yield* create("c")
          yield* TestClock.setTime(4_000)
          yield* create("set-back")
          expect(yield* names()).toEqual(["c", "b", "a", "set-back"])
          yield* remove("b")
          yield* TestClock.setTime(5_000)
          yield* create("b")
          expect(yield* names()).toEqual(["c", "b", "a", "set-back"])
        })
      )
    )

    it.effect(
      "list filters by role, by state, and by both",
      run(
        Effect.gen(function* () {
          expect(yield* names({ role: "portal" })).toEqual(["p2", "p1"])
          expect(yield* names({ state: "running" })).toEqual(["p2", "w2"])
          expect(yield* names({ role: "portal", state: "running" })).toEqual(["p2"])
          expect(yield* names({ role: "service" })).toEqual([])
          expect(yield* names()).toEqual(["p2", "w2", "p1", "w1"])
        }),
        {
          initial: [
            record("w1", { cid: 3 }),
            record("p1", { cid: 4, role: "portal" }),
            record("w2", { cid: 5, state: "running" }),
            record("p2", { cid: 6, role: "portal", state: "running" })
          ]
        }
      )
    )

    const foreign = [
      "web",
      "web-1",
      "web-2",
      "wea",
      "we",
      "wec",
      "Web",
      "we_b",
      "we%b",
      "w\ud7ff",
      "w\ue000x",
      "w\u{10ffff}",
      "w😀"
    ]

    it.effect(
      "list filters by the beginning of the name, of any characters",
      run(
        Effect.gen(function* () {
          const prefixes = [
            "w",
            "we",
            "web",
            "web-",
            "web-1",
            "x",
            "W",
            "we_",
            "we%",
            "%",
            "w\ud7ff",
            "w\ue000",
            "w\u{10ffff}",
            "\u{10ffff}",
            "w😀"
          ]
          for (const name_prefix of prefixes) {
            const expected = foreign.filter((name) => name.startsWith(name_prefix)).reverse()
            expect(yield* names({ name_prefix }), name_prefix).toEqual(expected)
            const pages = yield* listByPages({ name_prefix, limit: 2 })
            expect(
              pages.map(({ name }) => name),
              name_prefix
            ).toEqual(expected)
          }
          expect(yield* names({ name_prefix: "web", role: "portal" })).toEqual(["web-1"])
          expect(yield* names({ name_prefix: "web", state: "running" })).toEqual([])
        }),
        {
          initial: foreign.map((name, index) =>
            record(name, { cid: 3 + index, ...(name === "web-1" && { role: "portal" }) })
          )
        }
      )
    )

    it.effect(
      "a limit truncates the list, and the following pages hold the rest",
      run(
        Effect.gen(function* () {
          const store = yield* VmStore
          const first = yield* store.list({ limit: 2, role: "work" })
          expect(first.vms.map(({ name }) => name)).toEqual(["w5", "w4"])
          const second = yield* store.list({ limit: 2, role: "work", ...following(first) })
          expect(second.vms.map(({ name }) => name)).toEqual(["w3", "w2"])
          const third = yield* store.list({ limit: 1, role: "work", ...following(second) })
          expect(third.vms.map(({ name }) => name)).toEqual(["w1"])
          expect(third.next).toBeUndefined()
          expect((yield* store.list({ limit: 5, role: "work" })).next).toBeUndefined()
          expect(yield* names(following(first))).toEqual(["w3", "portal", "w2", "w1"])
        }),
        {
          initial: ["w1", "w2", "portal", "w3", "w4", "w5"].map((name, index) =>
            record(name, {
              cid: 3 + index,
              created_at: 1000 + (index >> 1),
              ...(name === "portal" && { role: "portal" })
            })
          )
        }
      )
    )

    it.effect(
      "each record is on one page, even if others are created and deleted meanwhile",
      run(
        Effect.gen(function* () {
          const store = yield* VmStore
          yield* TestClock.setTime(1_000_000)
          const seen: Array<string> = []
          let query: VmPageQuery = { limit: 3 }
          for (let page = 0; ; page++) {
            const { next, vms } = yield* store.list(query)
            seen.push(...vms.map(({ name }) => name))
            // Deletes a record already returned (once the cursor's own) and one not yet returned, and creates one.
            yield* remove(seen.at(-1) ?? "")
            if (page < 3) yield* remove(`vm-${page}`)
            yield* create(`new-${page}`)
            if (next === undefined) break
            query = { limit: 3, cursor: next }
          }
          expect(seen).toEqual(Array.makeBy(17, (n) => `vm-${19 - n}`))
        }),
        { initial: Array.makeBy(20, (n) => record(`vm-${n}`, { cid: 3 + n })) }
      )
    )

    it.effect(
      "a long list is complete, in order, and from one snapshot",
      Effect.suspend(() => {
        const initial = Array.makeBy(3500, (n) =>
          record(`vm-${n}`, { cid: 3 + n, created_at: (n * 7919) % 1000, ...(n % 3 === 0 && { pid: n }) })
        )
        const newestFirst = initial.toReversed().sort((a, b) => b.created_at - a.created_at)
        return run(
          Effect.gen(function* () {
            const store = yield* VmStore
            const json = yield* store.listJson({})
            const pieces = json instanceof Uint8Array ? Stream.make(json) : json
            let first = true
            const changing = Stream.tap(pieces, () =>
              Effect.suspend(() => {
                if (!first) return Effect.void
                first = false
                return Effect.all([remove("vm-1"), remove("vm-3499"), create("late")]).pipe(
                  Effect.orDie,
                  Effect.provideService(VmStore, store)
                )
              })
            )
            expect(yield* decodeJson(changing)).toStrictEqual(newestFirst)
            const after = newestFirst.filter(({ name }) => name !== "vm-1" && name !== "vm-3499")
            expect((yield* listVms()).filter(({ name }) => name !== "late")).toStrictEqual(after)
            expect(yield* listVms({ state: "running" })).toEqual([])
          }),
          { initial }
        )()
      }).pipe((effect) => () => effect)
    )

    it.effect(
      "set fields are returned, unset fields are absent",
      Effect.suspend(() => {
        const full = record("full", {
          state: "stopped",
          started_at: 1001,
          stopped_at: 1002,
          pid: 42,
          socket_path: "/run/fc.sock",
          uds_path: "/run/v.sock",
          console_log_path: "/var/log/c.log",
          config_json: '{"a":null}'
        })
        const bare = record("bare", { cid: 4 })
        return run(
          Effect.gen(function* () {
            expect(yield* getVm("full")).toStrictEqual(full)
            expect(yield* getVm("bare")).toStrictEqual(bare)
            expect(yield* listVms()).toStrictEqual([bare, full])
          }),
          { initial: [full, bare] }
        )()
      }).pipe((effect) => () => effect)
    )

    it.effect(
      "an unknown name or id fails with NotFound",
      run(
        Effect.gen(function* () {
          const id = crypto.randomUUID()
          yield* create("web")
          for (const ghost of ["ghost", id, "", "web ", "WEB", "a/b?c", "' OR 1=1 --", "%", "\u0000"]) {
            expect(yield* Effect.flip(getVm(ghost))).toStrictEqual(new NotFound({ message: `VM '${ghost}' not found` }))
            expect(yield* Effect.flip(remove(ghost))).toStrictEqual(NotFound.vm(ghost))
          }
          expect(yield* names()).toEqual(["web"])
        })
      )
    )

    it.effect(
      "delete removes only that record, by name or by id",
      run(
        Effect.gen(function* () {
          const byId = yield* create("by-id")
          yield* create("by-name")
          yield* create("stays")
          yield* remove(byId.id)
          yield* remove("by-name")
          expect(yield* names()).toEqual(["stays"])
          expect(yield* Effect.flip(remove("by-name"))).toStrictEqual(NotFound.vm("by-name"))
        })
      )
    )

    const spelledIds = [
      ["lower", "0b1f4b0e-4f4e-4c6e-9a57-0a4f6f8f7a11"],
      ["upper", "3C9D7E52-8A1B-4F0D-B6C4-5E7F9A0B1C2D"],
      ["mixed", "7e57AB1E-0000-4Abc-8DEF-0123456789ab"]
    ] as const
    it.effect(
      "an id is found in lower case, in upper case, and in the case in which another program wrote it",
      run(
        Effect.gen(function* () {
          for (const [name, id] of spelledIds) {
            const spellings = name === "mixed" ? [id] : [id, id.toLowerCase(), id.toUpperCase()]
            for (const spelling of spellings) expect(yield* getVm(spelling)).toMatchObject({ name, id })
          }
          const ghost = crypto.randomUUID().toUpperCase()
          expect(yield* Effect.flip(getVm(ghost))).toStrictEqual(NotFound.vm(ghost))
          expect(yield* Effect.flip(remove(ghost))).toStrictEqual(NotFound.vm(ghost))
          yield* remove("0B1F4B0E-4F4E-4C6E-9A57-0A4F6F8F7A11")
          expect(yield* names()).toEqual(["mixed", "upper"])
          yield* remove("3c9d7e52-8a1b-4f0d-b6c4-5e7f9a0b1c2d")
          expect(yield* names()).toEqual(["mixed"])
        }),
        { initial: spelledIds.map(([name, id], index) => record(name, { id, cid: 3 + index })) }
      )
    )

    it.effect(
      "delete by id in upper case fails for a running VM",
      run(
        Effect.gen(function* () {
          expect(yield* Effect.flip(remove("0B1F4B0E-4F4E-4C6E-9A57-0A4F6F8F7A11"))).toStrictEqual(
            Conflict.running("delete", "web")
          )
          expect(yield* names()).toEqual(["web"])
        }),
        { initial: [record("web", { id: "0b1f4b0e-4f4e-4c6e-9a57-0a4f6f8f7a11", state: "running" })] }
      )
    )

    it.effect(
      "an id takes precedence over an equal name of another record",
      Effect.suspend(() => {
        const first = record("first")
        const confusing = record(first.id, { cid: 4 })
        return run(
          Effect.gen(function* () {
            expect(yield* getVm(first.id)).toStrictEqual(first)
            yield* remove(first.id)
            expect(yield* listVms()).toStrictEqual([confusing])
            yield* remove(first.id)
            expect(yield* listVms()).toStrictEqual([])
          }),
          { initial: [first, confusing] }
        )()
      }).pipe((effect) => () => effect)
    )

    it.effect(
      "delete fails only for a running VM",
      run(
        Effect.gen(function* () {
          const running = yield* getVm("web")
          const refusal = new Conflict({ message: "cannot delete VM 'web': VM is running, stop it first" })
          expect(yield* Effect.flip(remove("web"))).toStrictEqual(refusal)
          expect(yield* Effect.flip(remove(running.id))).toStrictEqual(refusal)
          for (const name of ["stopped", "crashed", "failed"]) yield* remove(name)
          expect(yield* names()).toEqual(["web"])
        }),
        {
          initial: (["running", "stopped", "crashed", "failed"] as const).map((state, index) =>
            record(state === "running" ? "web" : state, { state, cid: 3 + index })
          )
        }
      )
    )

    // Fibers that yield every few steps interleave as separate processes would.
    for (const steps of [15, 22, 50, 2048]) {
      it.live(
        `200 creates at once have 200 CIDs, and of 50 with one name one succeeds (a switch every ${steps} steps)`,
        run(
          Effect.gen(function* () {
            const [distinct, same] = yield* Effect.all(
              [
                Effect.forEach(Array.range(1, 200), (n) => create(`vm-${n}`), { concurrency: "unbounded" }),
                Effect.forEach(Array.range(1, 50), () => Effect.either(create("same")), { concurrency: "unbounded" })
              ],
              { concurrency: "unbounded" }
            )
            const won = Array.getRights(same)
            expect(won).toHaveLength(1)
            expect(Array.getLefts(same)).toEqual(Array.makeBy(49, () => Conflict.nameTaken("same")))
            const cids = [...distinct, ...won].map((vm) => vm.cid)
            expect([...cids].sort((a, b) => a - b)).toEqual(Array.range(3, 203))
            expect(yield* listVms()).toHaveLength(201)
          }).pipe(Effect.withMaxOpsBeforeYield(steps))
        )
      )
    }

    it.live(
      "one of 50 concurrent deletes of a VM succeeds",
      run(
        Effect.gen(function* () {
          yield* create("web")
          const outcomes = yield* Effect.forEach(Array.range(1, 50), () => Effect.either(remove("web")), {
            concurrency: "unbounded"
          })
          expect(outcomes.filter(Either.isRight)).toHaveLength(1)
          expect(Array.getLefts(outcomes)).toEqual(Array.makeBy(49, () => NotFound.vm("web")))
        }).pipe(Effect.withMaxOpsBeforeYield(15))
      )
    )

    it.effect.prop(
      "any sequence of operations returns what the model returns",
      [FastCheck.array(operations, { maxLength: 60 })],
      ([sequence]) => Effect.provide(compareWithModel(sequence), layer({ cids: ModelStore.cids })),
      { fastCheck: { numRuns: 150 } }
    )
  })
}

/** Runs each operation on the store and on the model, and compares the results. */
const compareWithModel = (sequence: ReadonlyArray<Operation>) =>
  Effect.gen(function* () {
    const store = yield* VmStore
    const model = new ModelStore()
    yield* TestClock.setTime(model.now * 1000)
    for (const operation of sequence) {
      const expected = model.apply(operation)
      switch (operation._tag) {
        case "tick": {
          yield* TestClock.setTime(model.now * 1000)
          break
        }
        case "create": {
          const outcome = yield* Effect.either(store.create(operation.params))
          expect(Either.match(outcome, { onLeft: (e) => e.message, onRight: (vm) => vm.cid })).toEqual(expected)
          if (Either.isRight(outcome)) model.learnId(outcome.right.name, outcome.right.id)
          break
        }
        case "replace": {
          const outcome = yield* Effect.either(store.replace(operation.params, preconditionOf(operation.condition)))
          const created =
            Either.isRight(outcome) && outcome.right.before === undefined ? outcome.right.after : undefined
          if (created !== undefined) model.learnId(created.name, created.id)
          expect(
            Either.match(outcome, { onLeft: (e) => e.message, onRight: ({ after }) => created?.cid ?? after })
          ).toEqual(expected)
          break
        }
        case "get": {
          const outcome = yield* Effect.either(getVm(model.target(operation)))
          expect(Either.match(outcome, { onLeft: (e) => e.message, onRight: (vm) => vm })).toEqual(expected)
          break
        }
        case "update": {
          const outcome = yield* Effect.either(
            store.update(model.target(operation), operation.wanted, preconditionOf(operation.condition))
          )
          expect(Either.match(outcome, { onLeft: (e) => e.message, onRight: (vm) => vm })).toEqual(expected)
          break
        }
        case "delete": {
          const outcome = yield* Effect.either(
            store.delete(model.target(operation), preconditionOf(operation.condition))
          )
          expect(Either.match(outcome, { onLeft: (e) => e.message, onRight: () => "deleted" })).toEqual(expected)
          if (Either.isRight(outcome)) model.forget(operation)
          break
        }
        case "list": {
          expect(
            yield* operation.pages === undefined
              ? listVms(operation.filter)
              : listByPages({ ...operation.filter, limit: operation.pages })
          ).toEqual(expected)
          break
        }
      }
    }
  })
