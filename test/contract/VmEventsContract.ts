import { describe, expect, it } from "@effect/vitest"
import * as Array from "effect/Array"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import type * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import { Gone } from "../../src/domain/Errors.js"
import { CreateVm, type Vm } from "../../src/domain/Vm.js"
import type { VmEvent } from "../../src/domain/VmEvent.js"
import * as VmTransition from "../../src/domain/VmTransition.js"
import { VmEvents } from "../../src/services/VmEvents.js"
import { VmStore } from "../../src/services/VmStore.js"
import { getVm, listVms } from "../support/Records.js"
import { claimOf, startedAs } from "../support/Runs.js"
import { ModelStore, type Operation, operations, preconditionOf } from "./VmStoreModel.js"

type Services = VmStore | VmEvents

const create = (name: string, more: Partial<CreateVm> = {}) =>
  Effect.flatMap(VmStore, (store) => store.create(CreateVm.make({ name, ...more })))

const subscribe = (since?: string) => Effect.flatMap(VmEvents, (events) => events.subscribe(since))

/** Reads events until the scope closes. */
const follow = (since?: string) =>
  Effect.gen(function* () {
    const { events } = yield* subscribe(since)
    const queue = yield* Queue.unbounded<VmEvent>()
    yield* Effect.forkScoped(Stream.runForEach(events, (event) => Queue.offer(queue, event)))
    const ready = yield* Queue.take(queue)
    expect(ready).toEqual({ event: "ready", id: expect.any(String), data: {} })
    return {
      ready,
      next: Queue.take(queue),
      take: (count: number) => Effect.map(Queue.takeN(queue, count), Chunk.toArray)
    }
  })

/** The events before the record `marker` was created. */
const untilMarker = ({ next }: { readonly next: Effect.Effect<VmEvent> }): Effect.Effect<ReadonlyArray<VmEvent>> =>
  Effect.iterate([] as ReadonlyArray<VmEvent>, {
    while: (events) => !events.some(({ data }) => "name" in data && data.name === "marker"),
    body: (events) => Effect.map(next, (event) => [...events, event])
  }).pipe(Effect.map((events) => events.slice(0, -1)))

const withoutIds = (events: ReadonlyArray<VmEvent>) => events.map(({ data, event }) => ({ event, data }))

/** What a client's records are after it has applied the events to those that it had. */
const apply = (records: ReadonlyMap<string, Vm>, events: ReadonlyArray<VmEvent>): ReadonlyMap<string, Vm> => {
  const after = new Map(records)
  for (const event of events) {
    if (event.event === "deleted") after.delete(event.data.id)
    if (event.event === "created" || event.event === "updated") after.set(event.data.id, event.data)
  }
  return after
}

const byId = (vms: ReadonlyArray<Vm>): ReadonlyMap<string, Vm> => new Map(vms.map((vm) => [vm.id, vm]))

/** Makes a change, if the operation is one. Its failures are of no interest. */
const run = (operation: Operation, model: ModelStore): Effect.Effect<void, never, VmStore> =>
  Effect.gen(function* () {
    const store = yield* VmStore
    switch (operation._tag) {
      case "create":
        return yield* Effect.map(store.create(operation.params), ({ id, name }) => model.learnId(name, id))
      case "update":
        return yield* store.update(model.target(operation), operation.wanted, preconditionOf(operation.condition))
      case "replace":
        return yield* store.replace(operation.params, preconditionOf(operation.condition))
      case "delete":
        return yield* store.delete(model.target(operation), preconditionOf(operation.condition))
      case "tick":
        return yield* TestClock.adjust(`${Math.max(0, operation.seconds)} seconds`)
      default:
        return yield* Effect.void
    }
  }).pipe(Effect.ignore)

interface Options<R> {
  /** How many times sequences of operations are tried. */
  readonly numRuns?: number
  /** Whether 10,000 changes take a moment, and a look for changes of others ends while a test's clock stands still. */
  readonly isFast?: boolean
  /** Commits a change of a record in another process; the layer sees only that something changed. */
  readonly changeElsewhere?: Effect.Effect<void, never, R>
}

/** The contract of every `VmEvents` layer, with the `VmStore` whose changes it publishes. */
export const vmEventsContract = <R = never>(
  layerName: string,
  layer: Layer.Layer<Services | R>,
  { changeElsewhere, isFast = true, numRuns = 30 }: Options<R> = {}
) => {
  const test =
    <A, E>(body: Effect.Effect<A, E, Services | R | Scope.Scope>) =>
    () =>
      Effect.provide(Effect.scoped(body), layer)

  describe(`VmEvents contract: ${layerName}`, () => {
    it.effect(
      "each change is an event with the record as GET shows it, in the order of the changes",
      test(
        Effect.gen(function* () {
          const store = yield* VmStore
          const events = yield* follow()
          const web = yield* create("web", { config_json: "{}" })
          expect(yield* getVm("web")).toEqual(web)
          yield* TestClock.adjust("1 second")
          const updated = yield* store.update("web", { vcpu_count: 2 })
          const { after: replaced } = yield* store.replace(CreateVm.make({ name: "web", role: "portal" }))
          const { after: put } = yield* store.replace(CreateVm.make({ name: "db" }))
          const renamed = yield* store.update(put.id, { name: "db2" })
          yield* store.delete("web")
          const expected = [
            { event: "created", data: web },
            { event: "updated", data: updated },
            { event: "updated", data: replaced },
            { event: "created", data: put },
            { event: "updated", data: renamed },
            { event: "deleted", data: { id: web.id, name: "web" } }
          ]
          const received = yield* events.take(expected.length)
          expect(withoutIds(received)).toEqual(expected)
          expect(new Set(received.map(({ id }) => id)).size).toBe(expected.length)
        })
      )
    )

    it.effect(
      "changes of a VM's state are events, those of its run alone are not",
      test(
        Effect.gen(function* () {
          const store = yield* VmStore
          yield* create("web")
          const events = yield* follow()
          yield* store.transition("web", VmTransition.claimStart(claimOf("run-1")))
          yield* store.transition("web", VmTransition.confirmStart("run-1", startedAs()))
          const started = yield* getVm("web")
          expect(started).toMatchObject({ state: "running", vmm: "firecracker" })
          yield* store.transition("web", VmTransition.beginStop("here"))
          yield* store.transition("web", VmTransition.endRun("run-1", "stopped", 1600))
          const stopped = yield* getVm("web")
          yield* create("marker")
          expect(withoutIds(yield* untilMarker(events))).toEqual([
            { event: "updated", data: started },
            { event: "updated", data: stopped }
          ])
        })
      )
    )

    it.effect(
      "what fails or changes nothing is no event",
      test(
        Effect.gen(function* () {
          const store = yield* VmStore
          const web = yield* create("web")
          yield* create("db")
          const events = yield* follow()
          yield* Effect.flip(create("web"))
          yield* Effect.flip(store.update("web", { name: "db" }))
          yield* Effect.flip(store.delete("ghost"))
          yield* store.update("web", { vcpu_count: web.vcpu_count, mem_size_mib: web.mem_size_mib })
          yield* store.replace(CreateVm.make({ name: "web" }))
          yield* create("marker")
          expect(yield* untilMarker(events)).toEqual([])
        })
      )
    )

    it.effect(
      "an event comes after its commit, and changes whose callers are interrupted are not lost",
      test(
        Effect.gen(function* () {
          const events = yield* follow()
          yield* Effect.forEach(
            Array.range(1, 100),
            (at) =>
              Effect.flatMap(Effect.fork(create(`vm-${at}`)), (fiber) =>
                at % 2 === 0 ? Effect.zipRight(Effect.yieldNow(), Fiber.interrupt(fiber)) : Fiber.await(fiber)
              ),
            { concurrency: "unbounded" }
          )
          yield* create("marker")
          const received = yield* Effect.iterate([] as ReadonlyArray<VmEvent>, {
            while: (all) => !all.some(({ data }) => "name" in data && data.name === "marker"),
            body: (all) =>
              Effect.gen(function* () {
                const event = yield* events.next
                if (event.event !== "created") return yield* Effect.dieMessage(event.event)
                expect(yield* getVm(event.data.id)).toEqual(event.data)
                return [...all, event]
              })
          })
          expect(received.length).toBeGreaterThan(50)
          expect(apply(new Map(), received)).toEqual(byId(yield* listVms()))
        })
      )
    )

    it.effect.prop(
      "records to which the events are applied are those of a list, after any operations",
      [FastCheck.array(operations, { maxLength: 40 }), FastCheck.nat(20)],
      ([sequence, followedFrom]) =>
        Effect.gen(function* () {
          const model = new ModelStore()
          yield* Effect.forEach(sequence.slice(0, followedFrom), (operation) => run(operation, model))
          const before = byId(yield* listVms())
          const events = yield* follow()
          yield* Effect.forEach(sequence.slice(followedFrom), (operation) => run(operation, model))
          const after = byId(yield* listVms())
          yield* create("marker")
          expect(apply(before, yield* untilMarker(events))).toEqual(after)
        }).pipe(Effect.scoped, Effect.provide(layer)),
      { fastCheck: { numRuns } }
    )

    it.effect(
      "of 10 writers at once, the events are in an order that leads to the list",
      test(
        Effect.gen(function* () {
          const store = yield* VmStore
          const events = yield* follow()
          const writer = (own: number) =>
            Effect.forEach(Array.range(1, 30), (at) =>
              Effect.gen(function* () {
                const shared = `vm-${at % 5}`
                yield* Effect.ignore(create(shared))
                yield* Effect.ignore(store.update(shared, { vcpu_count: own }))
                if ((at + own) % 3 === 0) yield* Effect.ignore(store.delete(shared))
              })
            )
          yield* Effect.forEach(Array.range(1, 10), writer, { concurrency: "unbounded" })
          const list = byId(yield* listVms())
          yield* create("marker")
          expect(apply(new Map(), yield* untilMarker(events))).toEqual(list)
        })
      )
    )

    it.effect(
      "a stream resumes after any event, without a gap, also when changes go on",
      test(
        Effect.gen(function* () {
          const first = yield* follow()
          yield* Effect.forEach(Array.range(1, 20), (at) => create(`vm-${at}`))
          const received = yield* first.take(20)
          const later = yield* Effect.fork(Effect.forEach(Array.range(21, 40), (at) => create(`vm-${at}`)))
          for (const [index, { id }] of [first.ready, ...received].entries()) {
            const resumed = yield* follow(id)
            expect(resumed.ready.id).toBe(id)
            const names = (yield* resumed.take(40 - index)).map(({ data }) => ("name" in data ? data.name : ""))
            expect(names).toEqual(Array.range(index + 1, 40).map((at) => `vm-${at}`))
          }
          yield* later
        })
      )
    )

    it.effect(
      "a stream that begins to run late has all changes since it was subscribed to",
      test(
        Effect.gen(function* () {
          const { events } = yield* subscribe()
          const web = yield* create("web")
          const [ready, created] = Chunk.toArray(yield* Stream.runCollect(Stream.take(events, 2)))
          expect([ready?.event, created?.event, created?.data]).toEqual(["ready", "created", web])
          const resumed = yield* follow(ready?.id)
          expect(yield* resumed.next).toEqual(created)
        })
      )
    )

    it.effect(
      "an id of another process, or that no event had, is Gone",
      test(
        Effect.gen(function* () {
          const { ready } = yield* follow()
          const another = yield* Effect.provide(Effect.scoped(follow()), layer)
          const [, number = ""] = /(\d+)$/.exec(ready.id) ?? []
          const beyond = ready.id.slice(0, ready.id.length - number.length) + (Number(number) + 1)
          for (const since of [another.ready.id, beyond, `${ready.id} `, `0${ready.id}`, "x", "-1", "\0"]) {
            expect(yield* Effect.flip(subscribe(since)), since).toStrictEqual(Gone.events(since))
          }
        })
      )
    )

    if (isFast)
      it.effect(
        "10,000 events back is as far as a stream resumes",
        test(
          Effect.gen(function* () {
            const store = yield* VmStore
            yield* create("web")
            const { next, ready } = yield* follow()
            yield* store.update("web", { vcpu_count: 1 + 1 })
            const first = yield* next
            yield* Effect.forEach(Array.range(2, 10_000), (at) => store.update("web", { mem_size_mib: 1000 + at }), {
              concurrency: 200,
              discard: true
            })
            yield* subscribe(ready.id)
            yield* store.update("web", { vcpu_count: 1 })
            yield* subscribe(first.id)
            expect(yield* Effect.flip(subscribe(ready.id))).toStrictEqual(Gone.events(ready.id))
          })
        )
      )

    it.effect(
      "a subscriber that is too far behind is marked as lagging, and its stream ends",
      test(
        Effect.gen(function* () {
          const store = yield* VmStore
          yield* create("web")
          const reader = yield* follow()
          const { events, lagged } = yield* subscribe()
          const pulled = yield* Queue.bounded<VmEvent>(1)
          const stalled = yield* Effect.fork(Stream.runForEach(events, (event) => Queue.offer(pulled, event)))
          // 64 KiB each: 16 MiB are kept.
          yield* Effect.forEach(Array.range(1, 300), (at) =>
            Effect.zipRight(store.update("web", { config_json: `${at}`.padEnd(65_536) }), reader.next)
          )
          yield* TestClock.adjust("1 second")
          yield* lagged
          yield* Effect.forkScoped(Effect.forever(Queue.take(pulled)))
          yield* Fiber.join(stalled)
          // Others go on.
          yield* create("marker")
          expect(yield* untilMarker(reader)).toEqual([])
        })
      )
    )

    if (isFast)
      it.effect(
        "a subscriber that takes nothing for a minute is marked as lagging, one that has nothing to take is not",
        test(
          Effect.gen(function* () {
            const store = yield* VmStore
            yield* create("web")
            const reader = yield* follow()
            const { events, lagged } = yield* subscribe()
            const pulled = yield* Queue.bounded<VmEvent>(1)
            yield* Effect.forkScoped(Stream.runForEach(events, (event) => Queue.offer(pulled, event)))
            const marked = yield* Effect.fork(lagged)
            yield* TestClock.adjust("2 minutes")
            expect(marked.unsafePoll()).toBeNull()
            yield* Effect.forEach(Array.range(1, 10), (at) =>
              store.update("web", { config_json: `${at}`.padEnd(65_536) })
            )
            yield* reader.take(10)
            yield* TestClock.adjust("50 seconds")
            expect(marked.unsafePoll()).toBeNull()
            yield* TestClock.adjust("20 seconds")
            yield* Fiber.join(marked)
            yield* create("marker")
            expect(yield* untilMarker(reader)).toEqual([])
          })
        )
      )

    it.effect(
      "1,000 subscribers get the same events in the same order",
      test(
        Effect.gen(function* () {
          const followers = yield* Effect.forEach(Array.range(1, 1000), () => follow())
          yield* Effect.forEach(Array.range(1, 8), (at) => create(`vm-${at}`), { concurrency: 4 })
          const [first, ...others] = yield* Effect.forEach(followers, ({ take }) => take(8))
          expect(first).toHaveLength(8)
          for (const events of others) expect(events.every((event, at) => event === first?.[at])).toBe(true)
        })
      )
    )

    if (changeElsewhere === undefined) return

    it.effect(
      "a change of another process is a reset within a second, also for a stream that resumes",
      test(
        Effect.gen(function* () {
          const events = yield* follow()
          yield* create("web")
          const created = yield* events.next
          yield* changeElsewhere
          yield* TestClock.adjust("1 second")
          expect(yield* events.next).toMatchObject({ event: "reset", data: {} })
          yield* create("db")
          expect(yield* events.next).toMatchObject({ event: "created", data: { name: "db" } })
          const resumed = yield* follow(created.id)
          expect((yield* resumed.take(2)).map(({ event }) => event)).toEqual(["reset", "created"])
        })
      )
    )

    it.effect(
      "a change of another process while nobody follows is a reset for a stream that resumes, and none for a new one",
      test(
        Effect.gen(function* () {
          const { ready } = yield* Effect.scoped(follow())
          yield* create("web")
          yield* TestClock.adjust("10 seconds")
          yield* changeElsewhere
          const resumed = yield* follow(ready.id)
          expect((yield* resumed.take(2)).map(({ event }) => event)).toEqual(["created", "reset"])
          const fresh = yield* follow()
          yield* create("marker")
          expect(yield* untilMarker(fresh)).toEqual([])
        })
      )
    )
  })
}
