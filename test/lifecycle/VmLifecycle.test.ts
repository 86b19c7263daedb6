import { existsSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { describe, expect, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { Conflict, NotFound, StartFailed, VmmUnavailable, WaitTimeout } from "../../src/domain/Errors.js"
import { CreateVm, newVm } from "../../src/domain/Vm.js"
import * as VmStoreMemory from "../../src/services/VmStoreMemory.js"
import { assertTrue, bootArgs, makeWorld, stopOptions } from "./LifecycleWorld.js"

const textOf = (stream: Stream.Stream<Uint8Array, unknown>) =>
  Effect.map(Stream.runCollect(stream), (chunks) => Buffer.concat(Chunk.toReadonlyArray(chunks)).toString())

const timeout = Duration.seconds(10)

describe("VmLifecycle", () => {
  it.scopedLive("start runs the guest, and the record shows its process", () =>
    Effect.gen(function* () {
      const { create, host, startDaemon, stateFolder, store } = yield* makeWorld()
      const { lifecycle } = yield* startDaemon()
      const { id } = yield* create("web")
      const vm = yield* lifecycle.start("web")
      const folder = join(stateFolder, "vms", id)
      expect(vm).toMatchObject({
        state: "running",
        vmm: "firecracker",
        pid: host.running(id)[0]?.process.pid,
        socket_path: join(folder, "api.sock"),
        uds_path: join(folder, "vsock.sock"),
        console_log_path: join(folder, "console.log")
      })
      expect(vm.started_at).toBeDefined()
      expect(yield* store.get("web")).toStrictEqual(vm)
      expect(readFileSync(join(folder, "console.log"), "utf8")).toContain("GUEST-UP")
      expect(yield* Effect.flip(lifecycle.start("web"))).toStrictEqual(Conflict.alreadyRunning("web"))
      const stopped = yield* lifecycle.stop("web", stopOptions)
      expect(stopped.state).toBe("stopped")
      expect(stopped).not.toHaveProperty("pid")
      expect(host.running()).toEqual([])
      expect(yield* Effect.flip(lifecycle.stop("web", stopOptions))).toStrictEqual(Conflict.notRunning("web"))
      expect(yield* lifecycle.logs("web", { tail: 100, follow: false }).pipe(Effect.flatMap(textOf))).toMatch(
        /^GUEST-UP .*\nGUEST-POWEROFF\n$/
      )
      yield* lifecycle.delete("web")
      expect(existsSync(folder)).toBe(false)
      expect(yield* Effect.flip(lifecycle.start("web"))).toStrictEqual(NotFound.vm("web"))
    })
  )

  it.scopedLive("a guest that does not listen is killed after the timeout", () =>
    Effect.gen(function* () {
      const { create, host, kernel, startDaemon } = yield* makeWorld()
      const { lifecycle } = yield* startDaemon()
      yield* create("deaf", bootArgs(kernel, "guest=deaf"))
      yield* lifecycle.start("deaf")
      const stopped = yield* lifecycle.stop("deaf", { force: false, timeout: Duration.millis(50) })
      expect(stopped.state).toBe("stopped")
      expect(host.running()).toEqual([])
    })
  )

  it.scopedLive("a guest that ends by itself is stopped, one that panics has crashed", () =>
    Effect.gen(function* () {
      const { create, kernel, startDaemon } = yield* makeWorld()
      const { lifecycle } = yield* startDaemon()
      yield* create("off", bootArgs(kernel, "guest=off"))
      yield* create("panic", bootArgs(kernel, "guest=panic"))
      yield* lifecycle.start("off")
      yield* lifecycle.start("panic")
      expect((yield* lifecycle.wait("off", { states: ["stopped", "crashed"], timeout })).state).toBe("stopped")
      expect((yield* lifecycle.wait("panic", { states: ["stopped", "crashed"], timeout })).state).toBe("crashed")
    })
  )

  it.scopedLive("VMs outlive nexusd, and the next one adopts them", () =>
    Effect.gen(function* () {
      const { create, host, startDaemon, store } = yield* makeWorld()
      const first = yield* startDaemon()
      yield* create("web")
      const before = yield* first.lifecycle.start("web")
      yield* first.stop
      expect(host.running()).toHaveLength(1)
      const second = yield* startDaemon()
      expect(yield* store.get("web")).toStrictEqual(before)
      expect((yield* second.lifecycle.stop("web", stopOptions)).state).toBe("stopped")
    })
  )

  it.scopedLive("of a hundred starts at once, one starts the VM", () =>
    Effect.gen(function* () {
      const { create, host, startDaemon } = yield* makeWorld()
      const daemons = [yield* startDaemon(), yield* startDaemon()]
      yield* create("web")
      const results = yield* Effect.forEach(
        Array.from({ length: 100 }, (_, index) => daemons[index % 2]),
        (daemon) => Effect.either(daemon?.lifecycle.start("web") ?? Effect.die("no daemon")),
        { concurrency: "unbounded" }
      )
      expect(results.filter(({ _tag }) => _tag === "Right")).toHaveLength(1)
      expect(host.running()).toHaveLength(1)
    })
  )

  it.scopedLive("a caller that leaves in the midst changes nothing", () =>
    Effect.gen(function* () {
      const { create, host, startDaemon, store } = yield* makeWorld()
      const { lifecycle } = yield* startDaemon()
      yield* create("web")
      const reached = yield* Effect.makeLatch()
      const goOn = yield* Effect.makeLatch()
      host.beforeGuest = () => Effect.zipRight(reached.open, goOn.await)
      const starting = yield* Effect.fork(lifecycle.start("web"))
      yield* reached.await
      yield* Fiber.interrupt(starting)
      for (const call of [lifecycle.start("web"), lifecycle.stop("web", stopOptions), lifecycle.delete("web")]) {
        expect(yield* Effect.flip(call)).toStrictEqual(Conflict.beingStarted("web"))
      }
      expect((yield* store.get("web")).state).toBe("created")
      yield* goOn.open
      yield* lifecycle.wait("web", { states: ["running"], timeout })
      const process = host.running()[0] ?? expect.fail()
      process.isStopped = true
      const stopping = yield* Effect.fork(lifecycle.stop("web", stopOptions))
      const phase = Effect.map(store.getWithRun("web"), ({ run }) => run?.phase)
      yield* Effect.repeat(Effect.delay(phase, "1 millis"), { until: (now) => now === "stopping" })
      yield* Fiber.interrupt(stopping)
      yield* lifecycle.wait("web", { states: ["stopped"], timeout })
      expect(host.running()).toEqual([])
    })
  )

  it.scopedLive("a second stop joins the first, and may force it", () =>
    Effect.gen(function* () {
      const { create, host, kernel, startDaemon } = yield* makeWorld()
      const { lifecycle } = yield* startDaemon()
      yield* create("deaf", bootArgs(kernel, "guest=deaf"))
      yield* lifecycle.start("deaf")
      const first = yield* Effect.fork(lifecycle.stop("deaf", { force: false, timeout: Duration.minutes(10) }))
      yield* Effect.yieldNow()
      const forced = yield* lifecycle.stop("deaf", { force: true, timeout: undefined })
      expect(forced.state).toBe("stopped")
      expect(yield* Fiber.join(first)).toStrictEqual(forced)
      expect(host.running()).toEqual([])
    })
  )

  it.scopedLive("a start that its VMM fails leaves the VM failed, its log, and can be repeated", () =>
    Effect.gen(function* () {
      const { create, host, startDaemon, stateFolder, store } = yield* makeWorld()
      const { lifecycle } = yield* startDaemon()
      const { id } = yield* create("web")
      host.beforeGuest = () => Effect.fail(new StartFailed({ message: "PUT /boot-source: no such kernel" }))
      expect(yield* Effect.flip(lifecycle.start("web"))).toStrictEqual(
        new StartFailed({ message: "cannot start VM 'web': PUT /boot-source: no such kernel" })
      )
      expect(yield* store.getWithRun("web")).toMatchObject({ vm: { state: "failed" }, run: undefined })
      expect(host.running()).toEqual([])
      expect(existsSync(join(stateFolder, "vms", id, "vmm.log"))).toBe(true)
      host.beforeGuest = () => Effect.void
      expect((yield* lifecycle.start("web")).state).toBe("running")
    })
  )

  it.scopedLive("without a VMM, or with one that goes, the state stays", () =>
    Effect.gen(function* () {
      const { create, host, startDaemon, store } = yield* makeWorld()
      const { lifecycle } = yield* startDaemon()
      yield* create("web")
      host.unavailable = "install Firecracker"
      expect(yield* Effect.flip(lifecycle.start("web"))).toStrictEqual(
        new VmmUnavailable({ message: "install Firecracker" })
      )
      expect(yield* store.getWithRun("web")).toMatchObject({ vm: { state: "created" }, run: undefined })
    })
  )

  it.scopedLive("files that can't be used are named, and nothing is claimed", () =>
    Effect.gen(function* () {
      const { create, folder, kernel, startDaemon, stateFolder, store } = yield* makeWorld()
      const { lifecycle } = yield* startDaemon()
      const refusal = (name: string) => Effect.map(Effect.flip(lifecycle.start(name)), ({ message }) => message)
      const missing = join(folder, "missing")
      yield* create("kernel", { "boot-source": { kernel_image_path: missing } })
      expect(yield* refusal("kernel")).toBe(`cannot start VM 'kernel': ${missing}: no such file`)
      yield* create("initrd", { "boot-source": { kernel_image_path: kernel, initrd_path: folder } })
      expect(yield* refusal("initrd")).toBe(
        `cannot start VM 'initrd': ${folder}: expected a regular file or a block device, found a folder`
      )
      const drives = [{ drive_id: "d", path_on_host: join(stateFolder, "own"), is_root_device: false }]
      mkdirSync(stateFolder, { recursive: true })
      writeFileSync(join(stateFolder, "own"), "")
      yield* create("own", { drives })
      expect(yield* refusal("own")).toBe(
        `cannot start VM 'own': ${join(stateFolder, "own")}: is one of Nexus's own files`
      )
      for (const name of ["kernel", "initrd", "own"]) {
        expect(yield* store.getWithRun(name)).toMatchObject({ vm: { state: "created" }, run: undefined })
      }
      const { lifecycle: bare } = yield* startDaemon({ settings: { kernelImage: undefined } })
      yield* create("bare")
      expect((yield* Effect.flip(bare.start("bare"))).message).toMatch(
        /^cannot start VM 'bare': no kernel is configured: .*--kernel.*vm\.kernel_image/
      )
    })
  )

  it.scopedLive("a link laid into a VM's folder makes its start fail, and leaves no claim", () =>
    Effect.gen(function* () {
      const { create, host, kernel, startDaemon, stateFolder, store } = yield* makeWorld()
      const { lifecycle } = yield* startDaemon()
      const { id } = yield* create("web", bootArgs(kernel, "guest=off"))
      yield* lifecycle.start("web")
      yield* lifecycle.wait("web", { states: ["stopped"], timeout })
      const log = join(stateFolder, "vms", id, "vmm.log")
      rmSync(log)
      symlinkSync(kernel, log)
      expect(yield* Effect.flip(lifecycle.start("web"))).toStrictEqual(
        Conflict.cannotStart("web", `${log}: expected no symbolic link`)
      )
      expect(readFileSync(kernel, "utf8")).toBe("kernel")
      expect(yield* store.getWithRun("web")).toMatchObject({ vm: { state: "stopped" }, run: undefined })
      expect(host.running()).toEqual([])
      const console = join(stateFolder, "vms", id, "console.log")
      rmSync(console)
      symlinkSync(kernel, console)
      expect(yield* Effect.flip(lifecycle.logs("web", { tail: 1, follow: false }))).toStrictEqual(
        new Conflict({ message: `cannot read the log of VM 'web': ${console}: expected no symbolic link` })
      )
    })
  )

  it.scopedLive("a foreign id, or a folder that is too deep, is a conflict that says so", () =>
    Effect.gen(function* () {
      const foreign = { ...newVm(CreateVm.make({ name: "web" }), "../../escape", 3, 1) }
      const world = yield* makeWorld(() => VmStoreMemory.layer({ initial: [foreign] }))
      const { lifecycle } = yield* world.startDaemon()
      expect((yield* Effect.flip(lifecycle.start("web"))).message).toContain('its id "../../escape" is not a UUID')
      expect(yield* textOf(Stream.unwrap(lifecycle.logs("web", { tail: 1, follow: true })))).toBe("")
      yield* lifecycle.delete("web")
      const deep = yield* makeWorld(undefined, "x".repeat(60))
      yield* deep.create("web")
      const daemon = yield* deep.startDaemon()
      expect((yield* Effect.flip(daemon.lifecycle.start("web"))).message).toMatch(/107 bytes .* XDG_STATE_HOME/)
    })
  )

  it.scopedLive("two VMs share a drive only to read it, by whatever path", () =>
    Effect.gen(function* () {
      const { create, folder, startDaemon, store } = yield* makeWorld()
      const daemons = [yield* startDaemon(), yield* startDaemon()] as const
      const disk = join(folder, "disk")
      const link = join(folder, "link")
      writeFileSync(disk, "disk")
      symlinkSync(disk, link)
      const drives = (path_on_host: string, is_read_only: boolean) => ({
        drives: [{ drive_id: "root", path_on_host, is_root_device: true, is_read_only }]
      })
      yield* create("a", drives(disk, false))
      yield* create("b", drives(link, false))
      yield* create("c", drives(link, true))
      yield* create("d", drives(disk, true))
      const results = yield* Effect.all(
        [Effect.either(daemons[0].lifecycle.start("a")), Effect.either(daemons[1].lifecycle.start("b"))],
        { concurrency: "unbounded" }
      )
      expect(results.map(({ _tag }) => _tag).sort()).toEqual(["Left", "Right"])
      const winner = (yield* store.get("a")).state === "running" ? "a" : "b"
      for (const name of ["c", "d"]) {
        expect((yield* Effect.flip(daemons[0].lifecycle.start(name))).message).toContain(`is in use by VM '${winner}'`)
      }
      yield* daemons[1].lifecycle.stop(winner, stopOptions)
      yield* daemons[0].lifecycle.start("c")
      yield* daemons[1].lifecycle.start("d")
      expect(yield* Effect.flip(daemons[0].lifecycle.start("a"))).toStrictEqual(
        Conflict.cannotStart("a", `${disk} is in use by VM 'c'`)
      )
    })
  )

  it.scopedLive("a log is followed over rotations until the VM ends, and is then complete", () =>
    Effect.gen(function* () {
      const { create, host, startDaemon, stateFolder } = yield* makeWorld()
      const { lifecycle } = yield* startDaemon({ settings: { logMaxSizeBytes: 2_000 } })
      const { id } = yield* create("web")
      expect(yield* textOf(Stream.unwrap(lifecycle.logs("web", { tail: 10, follow: true })))).toBe("")
      yield* lifecycle.start("web")
      const following = yield* Effect.fork(textOf(Stream.unwrap(lifecycle.logs("web", { tail: 10, follow: true }))))
      const rotated = join(stateFolder, "vms", id, "console.log.1")
      const rotations = new Set<bigint>()
      const guest = host.running()[0] ?? expect.fail()
      let line = 0
      while (rotations.size < 3) {
        guest.print(`line ${line++}\n`)
        yield* Effect.sleep("1 millis")
        const stats = statSync(rotated, { bigint: true, throwIfNoEntry: false })
        if (stats !== undefined) rotations.add(stats.mtimeNs)
      }
      yield* lifecycle.stop("web", stopOptions)
      const lines = (yield* Fiber.join(following)).split("\n")
      expect(lines[0]).toMatch(/^GUEST-UP/)
      expect(lines.slice(1)).toEqual([...Array.from({ length: line }, (_, n) => `line ${n}`), "GUEST-POWEROFF", ""])
    })
  )

  it.scopedLive("the VMM's own log is emptied while it grows", () =>
    Effect.gen(function* () {
      const { create, startDaemon, stateFolder } = yield* makeWorld()
      const { lifecycle } = yield* startDaemon()
      const { id } = yield* create("web")
      yield* lifecycle.start("web")
      const log = join(stateFolder, "vms", id, "vmm.log")
      writeFileSync(log, Buffer.alloc(2 * 1024 * 1024, "x"))
      yield* Effect.repeat(
        Effect.delay(
          Effect.sync(() => statSync(log).size),
          "10 millis"
        ),
        { until: (size) => size === 0 }
      )
    })
  )

  it.scopedLive("wait returns at once, or at the change, or says what the VM is", () =>
    Effect.gen(function* () {
      const { create, startDaemon, store } = yield* makeWorld()
      const { lifecycle } = yield* startDaemon()
      yield* create("web")
      expect((yield* lifecycle.wait("web", { states: ["stopped", "created"], timeout })).state).toBe("created")
      expect(
        yield* Effect.flip(lifecycle.wait("web", { states: ["running"], timeout: Duration.millis(20) }))
      ).toStrictEqual(new WaitTimeout({ message: "VM 'web' is created, and was not running within 20ms" }))
      // Another nexusd's change, and one of this one.
      for (const { start } of [(yield* startDaemon()).lifecycle, lifecycle]) {
        const waiting = yield* Effect.fork(lifecycle.wait("web", { states: ["running"], timeout }))
        yield* Effect.yieldNow()
        yield* start("web")
        expect((yield* Fiber.join(waiting)).state).toBe("running")
        yield* lifecycle.stop("web", stopOptions)
      }
      const waiting = yield* Effect.fork(Effect.flip(lifecycle.wait("web", { states: ["running"], timeout })))
      yield* Effect.yieldNow()
      yield* store.delete("web")
      expect(yield* Fiber.join(waiting)).toStrictEqual(NotFound.vm("web"))
    })
  )

  it.scopedLive("nexusd that stops lets a start that is under way finish", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld()
      const { lifecycle, stop } = yield* world.startDaemon()
      yield* world.create("web")
      const reached = yield* Effect.makeLatch()
      const goOn = yield* Effect.makeLatch()
      world.host.beforeGuest = () => Effect.zipRight(reached.open, goOn.await)
      yield* Effect.fork(lifecycle.start("web"))
      yield* reached.await
      const stopping = yield* Effect.fork(stop)
      yield* Effect.yieldNow()
      yield* goOn.open
      yield* Fiber.join(stopping)
      expect((yield* world.store.get("web")).state).toBe("running")
      yield* assertTrue(world)
    })
  )

  it.scopedLive("a record that changes while its start is planned is started as it is then", () =>
    Effect.gen(function* () {
      const { create, host, kernel, startDaemon, store } = yield* makeWorld()
      let isChanged = false
      const { lifecycle } = yield* startDaemon({
        store: (same) => ({
          ...same,
          transition: (nameOrId, decide, options) => {
            if (isChanged) return same.transition(nameOrId, decide, options)
            isChanged = true
            return Effect.zipRight(
              Effect.ignore(store.update("web", { vcpu_count: 2 })),
              same.transition(nameOrId, decide, options)
            )
          }
        })
      })
      yield* create("web", bootArgs(kernel, ""))
      expect((yield* lifecycle.start("web")).vcpu_count).toBe(2)
      expect(host.running()[0]?.spec.vcpu_count).toBe(2)
    })
  )
})
