import { describe, expect, it } from "@effect/vitest"
import * as Array from "effect/Array"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type * as Layer from "effect/Layer"
import * as Predicate from "effect/Predicate"
import * as TestClock from "effect/TestClock"
import { Conflict, NotFound } from "../../src/domain/Errors.js"
import { CreateVm, type UpdateVm, type Vm } from "../../src/domain/Vm.js"
import type { VmRun } from "../../src/domain/VmRun.js"
import * as VmTransition from "../../src/domain/VmTransition.js"
import { runKey } from "../../src/services/VmRunRow.js"
import { VmStore } from "../../src/services/VmStore.js"
import { getVm, listByPages, listVms, record } from "../support/Records.js"
import { claimOf, drive, startedAs } from "../support/Runs.js"
import type { Setup } from "./VmStoreContract.js"

/** What the store under test has. */
interface Traits {
  /** A record has the column `host`. */
  readonly hasHost: boolean
  /** Runs are rows of table `settings`. */
  readonly hasSettings: boolean
}

const create = (name: string, more?: Partial<CreateVm>) =>
  Effect.flatMap(VmStore, (store) => store.create(CreateVm.make({ name, ...more })))
const update = (nameOrId: string, wanted: UpdateVm) =>
  Effect.flatMap(VmStore, (store) => store.update(nameOrId, wanted))
const remove = (nameOrId: string) => Effect.flatMap(VmStore, (store) => store.delete(nameOrId))
const getWithRun = (nameOrId: string) => Effect.flatMap(VmStore, (store) => store.getWithRun(nameOrId))
const runningNames = Effect.flatMap(VmStore, (store) =>
  Effect.map(store.running, (all) => all.map(({ vm }) => vm.name).sort())
)

const change = (nameOrId: string, decide: Parameters<VmStore["Type"]["transition"]>[1]) =>
  Effect.flatMap(VmStore, (store) => store.transition(nameOrId, decide))
const claim = (nameOrId: string, run: VmRun) =>
  Effect.flatMap(VmStore, (store) => store.transition(nameOrId, VmTransition.claimStart(run), { drives: run.drives }))
/** Tries again when a busy machine makes the store's waiting time run out: nothing has changed then. */
const retryUnavailable = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.retry(self, { while: Predicate.isTagged("StoreUnavailable") })
/** Claims and confirms a start. */
const start = (nameOrId: string, run = claimOf("run-1")) =>
  Effect.zipRight(
    retryUnavailable(claim(nameOrId, run)),
    retryUnavailable(change(nameOrId, VmTransition.confirmStart(run.run_id, startedAs())))
  )
const end = (nameOrId: string, state: VmTransition.EndState, runId = "run-1", at = 2000) =>
  change(nameOrId, VmTransition.endRun(runId, state, at))

/** The record as `get`, `list` and `listJson` return it, which is the same. */
const shown = (nameOrId: string) =>
  Effect.gen(function* () {
    const vm = yield* getVm(nameOrId)
    const isThis = ({ id }: Vm) => id === vm.id
    const others = [
      ...(yield* listVms()).filter(isThis),
      ...(yield* listByPages({ limit: 2 })).filter(isThis),
      (yield* getWithRun(nameOrId)).vm
    ]
    // As text, since the order of fields is that of the schema everywhere.
    expect(others.map((other) => JSON.stringify(other))).toEqual(Array.makeBy(3, () => JSON.stringify(vm)))
    return vm
  })

const config = (path: string) => JSON.stringify({ "boot-source": { kernel_image_path: path } })

/** The contract of every `VmStore` layer on changes and runs. */
export const vmRunContract = (
  layerName: string,
  layer: (setup: Setup) => Layer.Layer<VmStore>,
  { hasHost, hasSettings }: Traits
) => {
  const run =
    <A, E>(body: Effect.Effect<A, E, VmStore>, setup: Setup = {}) =>
    () =>
      Effect.provide(body, layer(setup))
  const host = hasHost ? { host: "here" } : {}

  describe(`VmStore contract, updates: ${layerName}`, () => {
    it.effect(
      "create keeps config_json as it was given",
      run(
        Effect.gen(function* () {
          const config_json = ` {"boot-source": {"boot_args": "ü\\u00fc \\" 😀"} }\n`
          const vm = yield* create("web", { config_json })
          expect(vm.config_json).toBe(config_json)
          expect(yield* shown("web")).toStrictEqual(vm)
        })
      )
    )

    it.effect(
      "update changes each field, and sets updated_at to the present",
      run(
        Effect.gen(function* () {
          yield* TestClock.setTime(1_000_000)
          const vm = yield* create("web")
          const steps: ReadonlyArray<UpdateVm> = [
            { role: "portal" },
            { vcpu_count: 4 },
            { mem_size_mib: 512 },
            { config_json: config("/k") },
            { name: "www" },
            { name: "web", role: "service", vcpu_count: 1, mem_size_mib: 1, config_json: config("/l") }
          ]
          let expected = vm
          for (const [index, wanted] of steps.entries()) {
            const now = 1001 + index
            yield* TestClock.setTime(now * 1000 + 999)
            const { config_json = undefined, ...others } = wanted
            expected = { ...expected, ...others, ...(config_json && { config_json }), updated_at: now }
            // By id in another case, and by name.
            const target = index % 2 === 0 ? vm.id.toUpperCase() : (yield* getVm(vm.id)).name
            expect(yield* update(target, wanted)).toStrictEqual(expected)
            expect(yield* shown(vm.id)).toStrictEqual(expected)
          }
          yield* TestClock.setTime(2_000_000)
          const { config_json: _, ...without } = expected
          expect(yield* update("web", { config_json: null })).toStrictEqual({ ...without, updated_at: 2000 })
          expect(yield* shown("web")).toStrictEqual({ ...without, updated_at: 2000 })
          expect(yield* listVms()).toHaveLength(1)
        })
      )
    )

    it.effect(
      "an update that changes nothing leaves updated_at",
      run(
        Effect.gen(function* () {
          yield* TestClock.setTime(1_000_000)
          const vm = yield* create("web", { config_json: config("/k") })
          const bare = yield* create("bare")
          yield* TestClock.setTime(2_000_000)
          const { config_json = null, mem_size_mib, name, vcpu_count } = vm
          const same: ReadonlyArray<UpdateVm> = [{}, { role: "work" }, { name, vcpu_count, mem_size_mib, config_json }]
          for (const wanted of same) expect(yield* update("web", wanted)).toStrictEqual(vm)
          expect(yield* update("bare", { config_json: null })).toStrictEqual(bare)
          expect(yield* shown("web")).toStrictEqual(vm)
          expect(yield* shown("bare")).toStrictEqual(bare)
        })
      )
    )

    it.effect(
      "update fails with Conflict when the new name is taken, and changes nothing then",
      run(
        Effect.gen(function* () {
          const vm = yield* create("web")
          const other = yield* create("db")
          expect(yield* Effect.flip(update("web", { name: "db", role: "portal" }))).toStrictEqual(
            Conflict.nameTaken("db")
          )
          expect(yield* listVms()).toStrictEqual([other, vm])
          const ghost = crypto.randomUUID()
          for (const name of ["ghost", ghost, "\u0000"]) {
            expect(yield* Effect.flip(update(name, { role: "portal" }))).toStrictEqual(NotFound.vm(name))
          }
        })
      )
    )

    it.live(
      "of 20 concurrent renames to one name one succeeds, and two that swap names do not wait for each other",
      run(
        Effect.gen(function* () {
          const names = Array.makeBy(20, (n) => `vm-${n}`)
          yield* Effect.forEach(names, (name) => create(name))
          const outcomes = yield* Effect.forEach(names, (name) => Effect.either(update(name, { name: "won" })), {
            concurrency: "unbounded"
          })
          expect(outcomes.filter(Either.isRight)).toHaveLength(1)
          expect(Array.getLefts(outcomes)).toEqual(Array.makeBy(19, () => Conflict.nameTaken("won")))
          const [a = "", b = ""] = (yield* listVms()).map(({ name }) => name).filter((name) => name !== "won")
          const swapped = yield* Effect.all(
            [Effect.either(update(a, { name: b })), Effect.either(update(b, { name: a }))],
            { concurrency: "unbounded" }
          )
          expect(swapped).toEqual([Either.left(Conflict.nameTaken(b)), Either.left(Conflict.nameTaken(a))])
        })
      )
    )

    it.effect(
      "while a VM is being started nothing of it changes; while it runs only its role does",
      run(
        Effect.gen(function* () {
          yield* TestClock.setTime(1_000_000)
          yield* create("web")
          yield* claim("web", claimOf("run-1"))
          const before = yield* getWithRun("web")
          for (const wanted of [{ role: "portal" }, { name: "www" }] as const) {
            expect(yield* Effect.flip(update("web", wanted))).toStrictEqual(Conflict.beingStarted("web"))
          }
          expect(yield* getWithRun("web")).toStrictEqual(before)

          yield* change("web", VmTransition.confirmStart("run-1", startedAs()))
          const running = yield* getWithRun("web")
          const fixed: ReadonlyArray<UpdateVm> = [
            { name: "www" },
            { vcpu_count: 2 },
            { mem_size_mib: 2 },
            { config_json: config("/k") }
          ]
          for (const wanted of fixed) {
            expect(yield* Effect.flip(update("web", { role: "portal", ...wanted }))).toStrictEqual(
              Conflict.running("update", "web")
            )
          }
          expect(yield* getWithRun("web")).toStrictEqual(running)
          yield* TestClock.setTime(5_000_000)
          const changed = { ...running.vm, role: "portal", updated_at: 5000 }
          expect(yield* update("web", { role: "portal", vcpu_count: 1 })).toStrictEqual(changed)
          expect(yield* getWithRun("web")).toStrictEqual({ run: running.run, vm: changed })
        })
      )
    )
  })

  describe(`VmStore contract, runs: ${layerName}`, () => {
    it.effect(
      "a VM is started and stopped: what its record and its run show in each phase",
      run(
        Effect.gen(function* () {
          yield* TestClock.setTime(1_000_000)
          const created = yield* create("web")
          const wanted = claimOf("run-1", { drives: [drive("/d")] })
          yield* TestClock.setTime(1_500_000)

          const claimed = yield* claim(created.id.toUpperCase(), wanted)
          expect(claimed).toStrictEqual({
            before: { vm: created, run: undefined },
            after: { vm: created, run: wanted }
          })
          expect(yield* getWithRun("web")).toStrictEqual(claimed.after)
          expect(yield* shown("web")).toStrictEqual(created)

          const confirmed = yield* change("web", VmTransition.confirmStart("run-1", startedAs({ pid: 4711 })))
          const running = {
            ...created,
            state: "running",
            updated_at: 1500,
            started_at: 1500,
            pid: 4711,
            socket_path: "/run/api.sock",
            uds_path: "/run/vsock.sock",
            console_log_path: "/log/console.log",
            vmm: "firecracker",
            ...host
          }
          const process = { pid: 4711, start_time: 99 }
          expect(confirmed).toStrictEqual({
            before: claimed.after,
            after: { vm: running, run: { ...wanted, phase: "running", process } }
          })
          expect(yield* shown("web")).toStrictEqual(running)
          expect(yield* listVms({ state: "running" })).toStrictEqual([running])

          yield* TestClock.setTime(1_700_000)
          const stopping = yield* change("web", VmTransition.beginStop("here"))
          expect(stopping.after).toStrictEqual({ vm: running, run: { ...wanted, phase: "stopping", process } })
          expect(yield* getWithRun("web")).toStrictEqual(stopping.after)
          // A second stop joins the first.
          expect((yield* change("web", VmTransition.beginStop("here"))).after).toStrictEqual(stopping.after)

          const { pid: _pid, socket_path: _socket, uds_path: _uds, vmm: _vmm, ...rest } = running
          const stopped = { ...rest, state: "stopped", stopped_at: 1699, updated_at: 1700 }
          // Whatever is said of its end: it was asked to stop.
          const ended = yield* end("web", "crashed", "run-1", 1699)
          expect(ended).toStrictEqual({ before: stopping.after, after: { vm: stopped, run: undefined } })
          expect(yield* shown("web")).toStrictEqual(stopped)
          expect(yield* getWithRun("web")).toStrictEqual({ vm: stopped, run: undefined })

          yield* TestClock.setTime(1_800_000)
          yield* start("web", claimOf("run-2", { vmm: "qemu" }))
          const again = yield* shown("web")
          expect(again).toMatchObject({ state: "running", vmm: "qemu" })
          expect(again).not.toHaveProperty("stopped_at")
        })
      )
    )

    it.effect(
      "the end of a VM that was not asked to stop is what was seen, and of one that is being started `failed`",
      run(
        Effect.gen(function* () {
          for (const state of ["stopped", "crashed"] as const) {
            yield* create(state)
            yield* start(state)
            yield* end(state, state)
            expect(yield* shown(state)).toMatchObject({ state, stopped_at: 2000 })
          }
          yield* create("early")
          yield* claim("early", claimOf("run-1"))
          yield* end("early", "crashed")
          expect((yield* getWithRun("early")).run).toBeUndefined()
          expect(yield* shown("early")).toMatchObject({ state: "failed" })
        })
      )
    )

    it.effect(
      "an abandoned start leaves the state, or makes it `failed`",
      run(
        Effect.gen(function* () {
          yield* TestClock.setTime(1_000_000)
          const vm = yield* create("web")
          yield* claim("web", claimOf("run-1"))
          yield* TestClock.setTime(1_001_000)
          yield* change("web", VmTransition.abandonStart("run-1"))
          expect(yield* getWithRun("web")).toStrictEqual({ vm, run: undefined })
          yield* claim("web", claimOf("run-2"))
          yield* change("web", VmTransition.abandonStart("run-2", "failed"))
          const failed = { ...vm, state: "failed", updated_at: 1001 }
          expect(yield* getWithRun("web")).toStrictEqual({ vm: failed, run: undefined })
        })
      )
    )

    it.effect(
      "confirming, abandoning or ending another run changes nothing",
      run(
        Effect.gen(function* () {
          yield* create("web")
          for (const prepare of [claim("web", claimOf("run-1")), change("web", VmTransition.beginStop("here"))]) {
            yield* prepare
            const before = yield* getWithRun("web")
            for (const decide of [
              VmTransition.confirmStart("run-0", startedAs()),
              VmTransition.abandonStart("run-0", "failed"),
              VmTransition.endRun("run-0", "crashed", 1)
            ]) {
              const { after, before: found } = yield* change("web", decide)
              expect(after).toStrictEqual(found)
              expect(yield* getWithRun("web")).toStrictEqual(before)
            }
            yield* change("web", VmTransition.confirmStart("run-1", startedAs()))
          }
        })
      )
    )

    it.effect(
      "a transition of an unknown VM fails with NotFound, and one whose decision fails changes nothing",
      run(
        Effect.gen(function* () {
          const vm = yield* create("web")
          for (const name of ["ghost", crypto.randomUUID(), "\u0000"]) {
            expect(yield* Effect.flip(getWithRun(name))).toStrictEqual(NotFound.vm(name))
            expect(yield* Effect.flip(claim(name, claimOf("run-1")))).toStrictEqual(NotFound.vm(name))
          }
          const store = yield* VmStore
          expect(yield* Effect.flip(store.transition("web", () => Either.left("no")))).toBe("no")
          expect(yield* getWithRun("web")).toStrictEqual({ vm, run: undefined })
        })
      )
    )

    it.effect(
      "a transition sees the other runs that have one of its drives",
      run(
        Effect.gen(function* () {
          for (const name of ["a", "b", "c", "idle"]) yield* create(name)
          yield* start("a", claimOf("run-a", { drives: [drive("/a"), drive("/a1"), drive('/"\\ü')] }))
          yield* claim("b", claimOf("run-b", { drives: [drive("/b")] }))
          yield* start("c", claimOf("run-c", { drives: [drive("/c")] }))
          const store = yield* VmStore
          const seen: Array<ReadonlyArray<string>> = []
          const wanted = [[], ["/b"], ["/c"], ["/a"], ["/"], ['/"\\ü'], ["/b", "/c", "/a1"]]
          for (const options of [undefined, ...wanted.map((paths) => ({ drives: paths.map((path) => drive(path)) }))]) {
            yield* store.transition(
              "c",
              (_, others) => {
                seen.push(others.map(({ run, vm }) => `${vm.name} ${run?.run_id} ${vm.vmm}`).sort())
                return Either.right(undefined)
              },
              options
            )
          }
          const [a, b] = ["a run-a firecracker", "b run-b undefined"]
          expect(seen).toEqual([[], [], [b], [], [a], [], [a], [a, b]])
        })
      )
    )

    it.live(
      "of 50 concurrent claims of one VM one succeeds",
      run(
        Effect.gen(function* () {
          yield* create("web")
          const outcomes = yield* Effect.forEach(
            Array.range(1, 50),
            (n) => Effect.either(claim("web", claimOf(`run-${n}`))),
            { concurrency: "unbounded" }
          )
          const won = Array.getRights(outcomes)
          expect(won).toHaveLength(1)
          expect(Array.getLefts(outcomes)).toEqual(Array.makeBy(49, () => Conflict.beingStarted("web")))
          expect(won[0]?.after).toStrictEqual(yield* getWithRun("web"))
        }).pipe(Effect.withMaxOpsBeforeYield(15))
      )
    )

    it.live(
      "of VMs that are started at once with one drive one gets it to write, or all to read",
      run(
        Effect.gen(function* () {
          const names = Array.makeBy(10, (n) => `vm-${n}`)
          yield* Effect.forEach(names, (name) => create(name))
          const claimAll = (is_writable: boolean) =>
            Effect.forEach(
              names,
              (name) => Effect.either(claim(name, claimOf(name, { drives: [drive("/disk", { is_writable })] }))),
              { concurrency: "unbounded" }
            )
          const writers = yield* claimAll(true)
          const [winner = ""] = Array.getRights(writers).map(({ after }) => after.vm.name)
          expect(Array.getLefts(writers)).toEqual(
            names
              .filter((name) => name !== winner)
              .map((name) => Conflict.cannotStart(name, `/disk is in use by VM '${winner}'`))
          )
          expect(Array.getLefts(yield* claimAll(false))).toHaveLength(10)
          yield* change(winner, VmTransition.abandonStart(winner))
          expect(Array.getRights(yield* claimAll(false))).toHaveLength(10)
        }).pipe(Effect.withMaxOpsBeforeYield(15))
      )
    )

    it.live(
      "of a claim and a delete of one VM at once one succeeds, 100 times",
      run(
        Effect.gen(function* () {
          yield* Effect.forEach(
            Array.range(1, 100),
            (n) =>
              Effect.gen(function* () {
                const { id, name } = yield* create(`vm-${n}`)
                const [claimed, deleted] = yield* Effect.all(
                  n % 2 === 0
                    ? [Effect.either(claim(id, claimOf(`run-${n}`))), Effect.either(remove(id))]
                    : [
                        Effect.either(Effect.delay(claim(id, claimOf(`run-${n}`)), "1 millis")),
                        Effect.either(remove(id))
                      ],
                  { concurrency: "unbounded" }
                )
                if (Either.isRight(claimed)) {
                  expect(deleted).toEqual(Either.left(Conflict.beingStarted(name)))
                  expect((yield* getWithRun(id)).run?.run_id).toBe(`run-${n}`)
                } else {
                  expect(claimed).toEqual(Either.left(NotFound.vm(id)))
                  expect(deleted).toMatchObject(Either.right({ id, name }))
                }
              }),
            { concurrency: 10 }
          )
        })
      )
    )

    it.effect(
      "delete returns the record, and fails while the VM is being started, runs or is being stopped",
      run(
        Effect.gen(function* () {
          const vm = yield* create("web", { config_json: config("/k") })
          yield* claim("web", claimOf("run-1"))
          for (const target of ["web", vm.id.toUpperCase()]) {
            expect(yield* Effect.flip(remove(target))).toStrictEqual(Conflict.beingStarted("web"))
          }
          yield* change("web", VmTransition.confirmStart("run-1", startedAs()))
          expect(yield* Effect.flip(remove("web"))).toStrictEqual(Conflict.running("delete", "web"))
          yield* change("web", VmTransition.beginStop("here"))
          expect(yield* Effect.flip(remove("web"))).toStrictEqual(Conflict.running("delete", "web"))
          const { after } = yield* end("web", "stopped")
          expect(yield* remove("web")).toStrictEqual(after.vm)
          expect(yield* listVms()).toEqual([])
        })
      )
    )

    it.effect(
      "running holds every record that has a run or says that it runs",
      run(
        Effect.gen(function* () {
          expect(yield* runningNames).toEqual(["says so"])
          for (const name of ["starts", "runs", "stops", "ended", "idle"]) yield* create(name)
          yield* claim("starts", claimOf("run-1"))
          for (const name of ["runs", "stops", "ended"]) yield* start(name)
          yield* change("stops", VmTransition.beginStop("here"))
          yield* end("ended", "crashed")
          expect(yield* runningNames).toEqual(["runs", "says so", "starts", "stops"])
          const store = yield* VmStore
          for (const one of yield* store.running) expect(one).toStrictEqual(yield* getWithRun(one.vm.id))

          yield* change("says so", VmTransition.endWithoutRun(1))
          expect(yield* runningNames).toEqual(["runs", "starts", "stops"])
        }),
        { initial: [record("says so", { state: "running", pid: 1 }), record("stopped", { cid: 4, state: "stopped" })] }
      )
    )

    it.effect(
      "runningExcept leaves out the runs of one daemon, whatever their phase",
      run(
        Effect.gen(function* () {
          const store = yield* VmStore
          const own = claimOf("own")
          for (const name of ["starts", "runs", "stops", "other", "other-boot", "other-host"]) yield* create(name)
          yield* claim("starts", own)
          for (const name of ["runs", "stops"]) yield* start(name, own)
          yield* change("stops", VmTransition.beginStop("here"))
          yield* start("other", claimOf("other", { daemon: { ...own.daemon, start_time: own.daemon.start_time + 1 } }))
          yield* start("other-boot", claimOf("other boot", { boot_id: "another" }))
          yield* start("other-host", claimOf("other host", { host: "another" }))
          const left = yield* store.runningExcept(own)
          expect(left.map(({ vm }) => vm.name).sort()).toEqual(["other", "other-boot", "other-host", "says so"])
          for (const one of left) expect(one).toStrictEqual(yield* getWithRun(one.vm.id))
        }),
        { initial: [record("says so", { state: "running", pid: 1 })] }
      )
    )

    it.effect(
      "a VM whose process was found is adopted, with a new run or with its own",
      run(
        Effect.gen(function* () {
          const adopted = claimOf("run-2", { phase: "running" })
          yield* change("web", VmTransition.adopt(undefined, adopted, startedAs({ pid: 7 })))
          expect(yield* shown("web")).toMatchObject({ state: "running", pid: 7, vmm: "firecracker", ...host })
          const { run: found, vm } = yield* getWithRun("web")
          expect(found).toMatchObject({ run_id: "run-2", phase: "running", process: { pid: 7 } })
          // Adopted once more by the next daemon, as the same run: the record stays.
          const next = { ...adopted, daemon: { pid: 2, start_time: 2 } }
          yield* change("web", VmTransition.adopt(found, next, startedAs({ pid: 7 })))
          expect(yield* getWithRun("web")).toStrictEqual({ vm, run: { ...found, daemon: next.daemon } })
        }),
        { initial: [record("web", { state: "crashed", stopped_at: 5, started_at: 4 })] }
      )
    )

    it.live(
      "200 VMs are started at once",
      run(
        Effect.gen(function* () {
          const names = Array.makeBy(200, (n) => `vm-${n}`)
          yield* Effect.forEach(names, (name) => create(name), { concurrency: 20 })
          yield* Effect.forEach(names, (name) => start(name, claimOf(name, { drives: [drive(`/${name}`)] })), {
            concurrency: "unbounded"
          })
          expect(yield* listVms({ state: "running" })).toHaveLength(200)
          expect(yield* runningNames).toEqual(names.sort())
        })
      )
    )

    it.live(
      "a database has one id, whoever asks first",
      run(
        Effect.gen(function* () {
          const { databaseId } = yield* VmStore
          const ids = yield* Effect.all(
            Array.makeBy(20, () => databaseId),
            { concurrency: "unbounded" }
          )
          const [id, ...others] = new Set([...ids, yield* databaseId])
          expect(others).toEqual([])
          expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
        })
      )
    )

    if (!hasSettings) return

    const id = "0b1f4b0e-4f4e-4c6e-9a57-0a4f6f8f7a11"
    const unreadable = ["", "{", "null", '{"vmm":7}', '{"vmm":"qemu","phase":"asleep"}', '"vmm"']
    for (const value of unreadable) {
      it.effect(
        `a run that can't be read, ${JSON.stringify(value)}, keeps its VM from changes, and no other`,
        run(
          Effect.gen(function* () {
            const web = yield* getVm("web")
            expect(web).toMatchObject({ name: "web", state: "running" })
            expect((yield* listVms()).map(({ name }) => name)).toEqual(["db", "web"])
            expect((yield* listByPages({ limit: 1 })).map(({ name }) => name)).toEqual(["db", "web"])
            expect(yield* runningNames).toEqual(["web"])

            expect(yield* Effect.flip(update("web", { role: "portal" }))).toStrictEqual(Conflict.beingStarted("web"))
            expect(yield* Effect.flip(remove("web"))).toStrictEqual(Conflict.beingStarted("web"))
            const expected = Conflict.onHost("web", `unknown, since nexusd can't read the setting ${runKey(id)}`)
            expect(yield* Effect.flip(claim("web", claimOf("run-2")))).toStrictEqual(expected)
            expect(yield* Effect.flip(change("web", VmTransition.beginStop("here")))).toStrictEqual(expected)
            yield* change("web", VmTransition.endRun("run-1", "crashed", 1))
            expect((yield* getWithRun("web")).run?.phase).toBe("starting")

            yield* start("db", claimOf("run-1", { drives: [drive("/d")] }))
            yield* end("db", "stopped")
            yield* remove("db")

            yield* change("web", VmTransition.loseHost({ name: "here", pidNamespace: "pid:[1]" }, 1))
            yield* remove("web")
            expect(yield* listVms()).toEqual([])
          }),
          {
            initial: [record("web", { id, state: "running" }), record("db", { cid: 4 })],
            settings: [{ key: runKey(id), value, type: "json" }]
          }
        )
      )
    }

    it.effect(
      "what a newer version adds to a run is kept",
      run(
        Effect.gen(function* () {
          yield* change("web", VmTransition.beginStop("here"))
          expect((yield* getWithRun("web")).run).toStrictEqual({
            ...claimOf("run-1", { phase: "stopping" }),
            ...{ later: [1] }
          })
        }),
        {
          initial: [record("web", { id, state: "running" })],
          settings: [
            {
              key: runKey(id),
              value: JSON.stringify({ ...claimOf("run-1", { phase: "running" }), later: [1] }),
              type: "json"
            }
          ]
        }
      )
    )
  })
}
