import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import type { Vm } from "../../src/domain/Vm.js"
import type { VmEvent } from "../../src/domain/VmEvent.js"
import { matchesFilter, type VmFilter } from "../../src/domain/VmQuery.js"
import { makeWatch, type VmChange } from "../../src/http/VmWatch.js"
import { record } from "../support/Records.js"

/**
 * A daemon in memory, whose events reach a follower when the test delivers them, and whose lists are answered when it
 * says. Each change of a record gets a higher `updated_at`.
 */
const makeDaemon = () => {
  const records = new Map<string, Vm>()
  let log: Array<VmEvent> = []
  let [epoch, time] = [0, 0]
  const lists: Array<() => void> = []
  const followers: Array<{ readonly queue: Queue.Queue<VmEvent>; next: number }> = []
  const idOf = (number: number) => `${epoch}-${number}`

  const change = (name: string, role: string): void => {
    const id = `id-${name}`
    const before = records.get(id)
    const event =
      role === "none" ? (before === undefined ? undefined : "deleted") : before === undefined ? "created" : "updated"
    if (event === undefined) return
    time++
    const vm = record(name, { ...before, id, role, updated_at: time })
    if (event === "deleted") records.delete(id)
    else records.set(id, vm)
    const data = event === "deleted" ? { id: vm.id, name } : vm
    log.push({ event, id: idOf(log.length + 1), data } as VmEvent)
  }

  /** Hands the next event, if there is one, to the oldest follower: the watch's own stream. */
  const deliver = (): void => {
    const [follower] = followers
    const event = follower === undefined ? undefined : log[follower.next]
    if (follower === undefined || event === undefined) return
    follower.next++
    Queue.unsafeOffer(follower.queue, event)
  }

  return {
    records,
    change,
    deliver,
    /** Answers the oldest list with the records as they are. */
    answer: () => lists.shift()?.(),
    /** Whether nothing is left to deliver or to answer. */
    isQuiet: () => lists.length === 0 && followers.every(({ next }) => next >= log.length),
    /** Loses the log, and each follower's place in it. */
    restart: () => {
      epoch++
      log = []
      for (const follower of followers) {
        follower.next = 0
        Queue.unsafeOffer(follower.queue, { event: "reset", id: idOf(0), data: {} })
      }
    },
    calls: {
      eventStream: () =>
        Stream.unwrap(
          Effect.sync(() => {
            const queue = Effect.runSync(Queue.unbounded<VmEvent>())
            const follower = { queue, next: log.length }
            followers.push(follower)
            Queue.unsafeOffer(queue, { event: "ready", id: idOf(log.length), data: {} })
            return Stream.ensuring(
              Stream.fromQueue(queue),
              Effect.sync(() => followers.splice(followers.indexOf(follower), 1))
            )
          })
        ),
      list: () =>
        Stream.unwrap(
          Effect.async<Stream.Stream<Vm>>((resume) => {
            lists.push(() => resume(Effect.succeed(Stream.fromIterable(Array.from(records.values())))))
          })
        )
    }
  }
}

type Step =
  | { readonly _tag: "change"; readonly name: string; readonly role: string }
  | { readonly _tag: "deliver" | "answer" | "restart" }

const step = FastCheck.oneof(
  {
    weight: 6,
    arbitrary: FastCheck.record({
      _tag: FastCheck.constant("change" as const),
      name: FastCheck.constantFrom("a", "b", "c"),
      role: FastCheck.constantFrom("work", "service", "none")
    })
  },
  { weight: 6, arbitrary: FastCheck.constant({ _tag: "deliver" as const }) },
  { weight: 2, arbitrary: FastCheck.constant({ _tag: "answer" as const }) },
  { weight: 1, arbitrary: FastCheck.constant({ _tag: "restart" as const }) }
)

/** What somebody knows who applies the reports; fails if one of them is no change, or is older than one before. */
const replay = (reports: ReadonlyArray<VmChange>, filter: VmFilter) => {
  const view = new Map<string, Vm>()
  const newest = new Map<string, number>()
  const matches = matchesFilter(filter)
  for (const [index, report] of reports.entries()) {
    expect(report.event === "listed").toBe(index === 0)
    for (const vm of report.event === "listed" ? report.vms : [report.vm]) {
      const known = view.get(vm.id)
      expect(vm.updated_at).toBeGreaterThanOrEqual(newest.get(vm.id) ?? 0)
      newest.set(vm.id, vm.updated_at)
      expect(matches(vm)).toBe(report.event !== "left")
      const isKnown = report.event === "updated" || report.event === "left" || report.event === "deleted"
      expect(known !== undefined, `${report.event} ${vm.id}`).toBe(isKnown)
      if (report.event === "deleted") expect(vm).toEqual(known)
      if (report.event === "updated" || report.event === "left") {
        expect(report.before).toEqual(known)
        expect(vm).not.toEqual(known)
      }
      if (report.event === "left" || report.event === "deleted") view.delete(vm.id)
      else view.set(vm.id, vm)
    }
  }
  return view
}

const settle = Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))

describe("a watch", () => {
  for (const filter of [{}, { role: "work" }] as const) {
    it.live(`reports each change once, in whatever order lists and events arrive: ${JSON.stringify(filter)}`, () =>
      Effect.promise(() =>
        FastCheck.assert(
          FastCheck.asyncProperty(FastCheck.array(step, { minLength: 20, maxLength: 40 }), (steps) =>
            Effect.runPromise(run(steps, filter))
          ),
          { numRuns: 20 }
        )
      )
    )
  }
})

const run = (steps: ReadonlyArray<Step>, filter: VmFilter) =>
  Effect.gen(function* () {
    const daemon = makeDaemon()
    const reports: Array<VmChange> = []
    const fiber = yield* Effect.fork(
      Stream.runForEach(makeWatch(daemon.calls)(filter), (report) => Effect.sync(() => reports.push(report)))
    )
    for (const step of steps) {
      if (step._tag === "change") daemon.change(step.name, step.role)
      else daemon[step._tag]()
      yield* settle
    }
    do {
      daemon.answer()
      daemon.deliver()
      yield* settle
    } while (!daemon.isQuiet())
    const expected = Array.from(daemon.records.values()).filter(matchesFilter(filter))
    const view = replay(reports, filter)
    yield* Fiber.interrupt(fiber)
    const byId = (a: Vm, b: Vm) => a.id.localeCompare(b.id)
    expect(Array.from(view.values()).sort(byId)).toEqual(expected.sort(byId))
  })
