import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { describe, expect, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { Conflict, NotFound } from "../../src/domain/Errors.js"
import { bootArgs, makeWorld, stopOptions } from "./LifecycleWorld.js"

const textOf = (stream: Stream.Stream<Uint8Array, unknown>) =>
  Effect.map(Stream.runCollect(stream), (chunks) => Buffer.concat(Chunk.toReadonlyArray(chunks)).toString())

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
      const timeout = Duration.seconds(10)
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
})
