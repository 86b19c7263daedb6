import { existsSync, mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { describe, expect, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { Conflict } from "../../src/domain/Errors.js"
import type { VmChange, VmRun, VmWithRun } from "../../src/domain/VmRun.js"
import { notePaused } from "../../src/services/lifecycle/LogRotation.js"
import { filesOf } from "../../src/services/lifecycle/VmFolder.js"
import { killed } from "../../src/services/vmm/VmmMemory.js"
import { assertTrue, bootArgs, makeWorld, stopOptions, type World } from "./LifecycleWorld.js"

const timeout = Duration.seconds(10)

/** A nexusd that started VM `web`, and was killed. */
const abandoned = (args = "") =>
  Effect.gen(function* () {
    const world = yield* makeWorld()
    const daemon = yield* world.startDaemon()
    const { id } = yield* world.create("web", bootArgs(world.kernel, args))
    yield* daemon.lifecycle.start("web")
    yield* daemon.kill
    return { ...world, id, daemon }
  })

/** Changes a record and its run, as no daemon would. */
const change = ({ store }: World, decide: (current: VmWithRun) => VmChange) =>
  store.transition("web", (current) => Either.right(decide(current)))
const changeRun = (world: World, changed: Partial<VmRun>) =>
  change(world, ({ run }) => ({ set: {}, run: run && { ...run, ...changed } }))

const state = ({ store }: World) => Effect.map(store.get("web"), (vm) => vm.state)

describe("a nexusd that starts", () => {
  it.scopedLive("adopts a VM whose nexusd is gone, and notices its end", () =>
    Effect.gen(function* () {
      const world = yield* abandoned()
      const { lifecycle, process } = yield* world.startDaemon()
      yield* assertTrue(world)
      expect((yield* world.store.getWithRun("web")).run?.daemon).toEqual(process)
      world.host.running()[0]?.end(killed)
      expect((yield* lifecycle.wait("web", { states: ["crashed"], timeout })).state).toBe("crashed")
    })
  )

  it.scopedLive("says how a VM ended meanwhile: as its VMM's log does, else it has crashed", () =>
    Effect.gen(function* () {
      const off = yield* abandoned()
      off.host.running()[0]?.powerOff()
      yield* off.startDaemon()
      expect(yield* state(off)).toBe("stopped")
      const dead = yield* abandoned()
      dead.host.running()[0]?.end(killed)
      yield* dead.startDaemon()
      expect(yield* state(dead)).toBe("crashed")
    })
  )

  it.scopedLive("says that a VM has crashed which ran before the host's restart", () =>
    Effect.gen(function* () {
      const world = yield* abandoned()
      world.host.running()[0]?.powerOff()
      yield* world.startDaemon({ facts: { bootId: "boot-2" } })
      expect(yield* state(world)).toBe("crashed")
    })
  )

  it.scopedLive("does not take a process for a VM's because of its pid", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld()
      const first = yield* world.startDaemon()
      const { id } = yield* world.create("web")
      yield* world.create("other")
      yield* first.lifecycle.start("web")
      yield* first.lifecycle.start("other")
      yield* first.kill
      world.host.running(id)[0]?.end(killed)
      const other = world.host.running()[0] ?? expect.fail()
      yield* changeRun(world, { process: other.process })
      yield* world.startDaemon()
      expect(yield* state(world)).toBe("crashed")
      yield* assertTrue(world)
    })
  )

  it.scopedLive("finishes a stop that another nexusd began", () =>
    Effect.gen(function* () {
      for (const args of ["", "guest=deaf"]) {
        const world = yield* abandoned(args)
        yield* changeRun(world, { phase: "stopping" })
        const { lifecycle } = yield* world.startDaemon()
        yield* lifecycle.wait("web", { states: ["stopped"], timeout })
        yield* assertTrue(world)
        // Dead already: the stop was asked for.
        const dead = yield* abandoned()
        yield* changeRun(dead, { phase: "stopping" })
        dead.host.running()[0]?.end(killed)
        yield* dead.startDaemon()
        expect(yield* state(dead)).toBe("stopped")
      }
    })
  )

  it.scopedLive(
    "of an unfinished start: adopts a guest that runs, kills one that does not, fails one that is gone",
    () =>
      Effect.gen(function* () {
        const unfinished = (guest: "running" | "not started" | "gone") =>
          Effect.gen(function* () {
            const world = yield* abandoned()
            yield* change(world, ({ run }) => ({
              set: { state: "created", pid: undefined },
              run: run && { ...run, phase: "starting" }
            }))
            const process = world.host.running()[0] ?? expect.fail()
            if (guest === "gone") process.end(killed)
            else process.guest = guest
            yield* world.startDaemon()
            yield* assertTrue(world)
            return yield* state(world)
          })
        expect(yield* unfinished("running")).toBe("running")
        expect(yield* unfinished("not started")).toBe("failed")
        expect(yield* unfinished("gone")).toBe("failed")
      })
  )

  it.scopedLive("adopts a stopped VMM without waiting for it, and a forced stop kills it", () =>
    Effect.gen(function* () {
      const world = yield* abandoned()
      const process = world.host.running()[0] ?? expect.fail()
      process.isStopped = true
      const { lifecycle } = yield* world.startDaemon()
      yield* assertTrue(world)
      expect((yield* lifecycle.stop("web", { force: true, timeout: undefined })).state).toBe("stopped")
    })
  )

  it.scopedLive("leaves a guest paused that its user has paused", () =>
    Effect.gen(function* () {
      const world = yield* abandoned()
      const process = world.host.running()[0] ?? expect.fail()
      process.setPaused(true)
      yield* world.startDaemon()
      yield* Effect.sleep("20 millis")
      expect(process.guest).toBe("paused")
    })
  )

  it.scopedLive("resumes a guest that a rotation left paused", () =>
    Effect.gen(function* () {
      const world = yield* abandoned()
      const process = world.host.running()[0] ?? expect.fail()
      yield* notePaused(Either.getOrThrow(filesOf(world.stateFolder, world.id)))
      process.setPaused(true)
      yield* world.startDaemon()
      yield* Effect.repeat(
        Effect.delay(
          Effect.sync(() => process.guest),
          "1 millis"
        ),
        { until: (guest) => guest === "running" }
      )
    })
  )

  it.scopedLive("adopts the process of a record that was restored or reset, with its drives", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld()
      const disk = join(world.folder, "disk")
      writeFileSync(disk, "disk")
      const drives = [{ drive_id: "root", path_on_host: disk, is_root_device: true }]
      const first = yield* world.startDaemon()
      yield* world.create("web", { drives })
      yield* world.create("other", { drives })
      yield* first.lifecycle.start("web")
      yield* first.kill
      yield* change(world, () => ({ set: { state: "created", pid: undefined }, run: undefined }))
      const { lifecycle } = yield* world.startDaemon()
      yield* assertTrue(world)
      expect(yield* state(world)).toBe("running")
      expect(yield* Effect.flip(lifecycle.start("other"))).toStrictEqual(
        Conflict.cannotStart("other", `${disk} is in use by VM 'web'`)
      )
    })
  )

  it.scopedLive("a record that says running, without run and process, has crashed", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld()
      yield* world.create("web")
      yield* change(world, () => ({ set: { state: "running", pid: 1 }, run: undefined }))
      yield* world.startDaemon()
      expect(yield* state(world)).toBe("crashed")
      expect((yield* world.store.get("web")).pid).toBeUndefined()
    })
  )

  it.scopedLive("leaves a process without a record alone, with its folder, and sweeps folders of deleted records", () =>
    Effect.gen(function* () {
      const world = yield* abandoned()
      const vms = join(world.stateFolder, "vms")
      yield* change(world, () => ({ set: { state: "stopped" }, run: undefined }))
      yield* world.store.delete("web")
      const folders = {
        swept: "00000000-0000-4000-8000-000000000001",
        ofOther: "00000000-0000-4000-8000-000000000002",
        unnamed: "not-a-uuid"
      }
      for (const name of Object.values(folders)) {
        mkdirSync(join(vms, name))
        const owner = name === folders.ofOther ? "another-database" : yield* world.store.databaseId
        writeFileSync(join(vms, name, "database"), `${owner}\n`)
      }
      yield* world.startDaemon()
      yield* Effect.repeat(
        Effect.delay(
          Effect.sync(() => existsSync(join(vms, folders.swept))),
          "1 millis"
        ),
        { until: (exists) => !exists }
      )
      expect(world.host.running(world.id)).toHaveLength(1)
      for (const kept of [world.id, folders.ofOther, folders.unnamed]) expect(existsSync(join(vms, kept))).toBe(true)
    })
  )

  for (const [what, facts] of [
    ["another host", { name: "there" }],
    ["another pid namespace", { pidNamespace: "pid:[2]" }]
  ] as const) {
    it.scopedLive(`leaves the VMs of ${what} alone`, () =>
      Effect.gen(function* () {
        const world = yield* abandoned()
        const before = yield* world.store.getWithRun("web")
        const { lifecycle } = yield* world.startDaemon({ facts })
        expect(yield* world.store.getWithRun("web")).toStrictEqual(before)
        expect(yield* Effect.flip(lifecycle.start("web"))).toBeInstanceOf(Conflict)
        expect(yield* Effect.flip(lifecycle.stop("web", stopOptions))).toBeInstanceOf(Conflict)
        expect(yield* world.store.getWithRun("web")).toStrictEqual(before)
        expect(world.host.running()).toHaveLength(1)
      })
    )
  }

  it.scopedLive("of a host that is lost makes its VMs crashed, and touches no process", () =>
    Effect.gen(function* () {
      const world = yield* abandoned()
      const { lifecycle } = yield* world.startDaemon({ facts: { name: "there" } })
      expect(yield* Effect.flip(lifecycle.logs("web", { tail: 1, follow: false }))).toStrictEqual(
        Conflict.onHost("web", "here")
      )
      expect((yield* lifecycle.loseHost("web")).state).toBe("crashed")
      expect(world.host.running()).toHaveLength(1)
    })
  )

  it.scopedLive("of a container that is gone: its VMs can be given up, and those of this one can't", () =>
    Effect.gen(function* () {
      const world = yield* abandoned()
      const { lifecycle } = yield* world.startDaemon({ facts: { pidNamespace: "pid:[2]" } })
      expect(yield* state(world)).toBe("running")
      expect((yield* lifecycle.loseHost("web")).state).toBe("crashed")
      yield* world.create("own")
      yield* lifecycle.start("own")
      expect(yield* Effect.flip(lifecycle.loseHost("own"))).toBeInstanceOf(Conflict)
    })
  )
})

describe("two nexusd on one host", () => {
  const two = Effect.gen(function* () {
    const world = yield* makeWorld()
    const first = yield* world.startDaemon()
    yield* world.create("web")
    yield* first.lifecycle.start("web")
    const before = yield* world.store.getWithRun("web")
    const second = yield* world.startDaemon()
    expect(yield* world.store.getWithRun("web")).toStrictEqual(before)
    return { ...world, first, second }
  })

  it.scopedLive("one stops what the other started, also if it has just looked for processes", () =>
    Effect.gen(function* () {
      const { first, second, ...world } = yield* two
      yield* world.create("other")
      yield* first.lifecycle.start("other")
      expect((yield* second.lifecycle.stop("other", stopOptions)).state).toBe("stopped")
      yield* assertTrue(world)
      yield* first.lifecycle.start("other")
      yield* first.kill
      expect((yield* second.lifecycle.stop("other", stopOptions)).state).toBe("stopped")
      yield* assertTrue(world)
    })
  )

  it.scopedLive("one starts what the other stopped", () =>
    Effect.gen(function* () {
      const { first, second, ...world } = yield* two
      expect((yield* second.lifecycle.stop("web", stopOptions)).state).toBe("stopped")
      yield* assertTrue(world)
      expect((yield* first.lifecycle.start("web")).state).toBe("running")
    })
  )

  it.scopedLive("one takes over, at a stop, what the other left when it was killed", () =>
    Effect.gen(function* () {
      const { first, second, ...world } = yield* two
      yield* first.kill
      expect((yield* second.lifecycle.stop("web", stopOptions)).state).toBe("stopped")
      yield* assertTrue(world)
    })
  )

  it.scopedLive("one takes over the other's VMs soon after it was killed", () =>
    Effect.gen(function* () {
      const { first, second, ...world } = yield* two
      yield* first.kill
      const owner = Effect.map(world.store.getWithRun("web"), ({ run }) => run?.daemon)
      yield* Effect.repeat(Effect.delay(owner, "50 millis"), { until: (daemon) => daemon?.pid === second.process.pid })
      world.host.running()[0]?.end(killed)
      yield* second.lifecycle.wait("web", { states: ["crashed"], timeout })
    })
  )
})
