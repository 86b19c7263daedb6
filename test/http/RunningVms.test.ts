import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { describe, expect, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { formatAddress } from "../../src/domain/Address.js"
import { Conflict, PreconditionFailed } from "../../src/domain/Errors.js"
import { NexusClient } from "../../src/http/Client.js"
import * as Server from "../../src/http/Server.js"
import { HttpApiServer } from "../../src/http/server/HttpApiServer.js"
import { StoreFigures } from "../../src/services/StoreFigures.js"
import { StoreHealth } from "../../src/services/StoreHealth.js"
import { VmEvents } from "../../src/services/VmEvents.js"
import { VmLifecycle } from "../../src/services/VmLifecycle.js"
import { VmStore } from "../../src/services/VmStore.js"
import { killed, type MemoryHost } from "../../src/services/vmm/VmmMemory.js"
import { assertTrue, bootArgs, makeWorld } from "../lifecycle/LifecycleWorld.js"
import { openEvents, takeEvents } from "../support/EventStream.js"
import { requestBytes, sendAndHangUp, type TestAddress } from "../support/HttpBytes.js"

/** The real API over the real lifecycle and VMs in memory; `stop` ends the server alone. */
const serve = Effect.gen(function* () {
  const world = yield* makeWorld()
  const { lifecycle } = yield* world.startDaemon()
  const scope = yield* Scope.make()
  const stop = Scope.close(scope, Exit.void)
  yield* Effect.addFinalizer(() => stop)
  const health = StoreHealth.of({ check: Effect.die("not asked") })
  const figures = StoreFigures.of({ vmCounts: Effect.die("not asked"), sizeBytes: Effect.die("not asked") })
  const { address } = yield* Server.layer({ address: { host: "127.0.0.1", port: 0 } }).pipe(
    Layer.provide(
      Layer.succeedContext(
        Context.make(VmStore, world.store).pipe(
          Context.add(VmEvents, world.events),
          Context.add(VmLifecycle, lifecycle),
          Context.add(StoreHealth, health),
          Context.add(StoreFigures, figures)
        )
      )
    ),
    Layer.buildWithScope(scope),
    Effect.map(Context.get(HttpApiServer))
  )
  if (!("port" in address)) return yield* Effect.dieMessage("asked for TCP")
  const agent = NodeHttpClient.makeAgentLayer({ keepAlive: false })
  const client = yield* NexusClient.layer(address).pipe(
    Layer.provide(NodeHttpClient.layerWithoutAgent),
    Layer.provide(agent),
    Layer.build,
    Effect.map(Context.get(NexusClient))
  )
  return { ...world, address, client, stop }
})

const path = { nameOrId: "web" }

const hangUp = (address: TestAddress, call: "start" | "stop") =>
  sendAndHangUp(address, requestBytes(address, { method: "POST", path: `/v1/vms/web/${call}` }))

/** Waits until a condition holds. */
const until = <A>(get: Effect.Effect<A, unknown>, isDone: (value: A) => boolean) =>
  Effect.repeat(Effect.orDie(get), { until: isDone, schedule: Schedule.spaced("10 millis") })

/** Keeps starts from going on. */
const block = (host: MemoryHost) =>
  Effect.gen(function* () {
    const begun = yield* Deferred.make<void>()
    const proceed = yield* Deferred.make<void>()
    host.beforeGuest = () => Effect.zipRight(Deferred.succeed(begun, undefined), Deferred.await(proceed))
    return { begun: Deferred.await(begun), proceed: Deferred.succeed(proceed, undefined) }
  })

describe("VMs that run, over HTTP", () => {
  it.scopedLive("a start goes on when its client disconnects; until its end nothing else may happen to the VM", () =>
    Effect.gen(function* () {
      const { address, client, create, host, ...world } = yield* serve
      const before = yield* create("web")
      const { begun, proceed } = yield* block(host)
      yield* hangUp(address, "start")
      yield* begun
      expect(yield* client.vms.get({ path })).toEqual(before)
      for (const call of [
        client.vms.start({ path }),
        client.vms.stop({ path, payload: undefined }),
        client.vms.update({ path, payload: { vcpu_count: 2 } }),
        client.vms.replace({ path, payload: { role: "work", vcpu_count: 1, mem_size_mib: 128 } }),
        client.vms.delete({ path })
      ]) {
        expect(yield* Effect.either(call)).toEqual(Either.left(Conflict.beingStarted("web")))
      }
      yield* proceed
      const { started_at, state } = yield* client.vms.wait({ path, urlParams: { state: ["running"] } })
      expect([state, started_at]).toEqual(["running", expect.any(Number)])
      yield* assertTrue({ host, ...world })
    })
  )

  it.scopedLive("starts, stops and crashes are events, with the record as the calls show it", () =>
    Effect.gen(function* () {
      const { address, client, create, host } = yield* serve
      const web = yield* create("web")
      const stream = yield* Effect.acquireRelease(
        Effect.promise(() => openEvents({ url: `http://${formatAddress(address)}` })),
        ({ close }) => Effect.sync(close)
      )
      const take = (count: number) =>
        Effect.map(
          Effect.promise(() => takeEvents(stream, count)),
          (events) => events.map(({ data, event }) => ({ event, vm: JSON.parse(data) }))
        )
      yield* take(1)
      const started = yield* client.vms.start({ path })
      expect(yield* take(1)).toEqual([{ event: "updated", vm: started }])
      const stopped = yield* client.vms.stop({ path, payload: { force: true } })
      expect(yield* take(1)).toEqual([{ event: "updated", vm: stopped }])
      yield* client.vms.start({ path })
      yield* take(1)
      for (const running of host.running(web.id)) running.end(killed)
      expect(yield* take(1)).toMatchObject([{ event: "updated", vm: { id: web.id, state: "crashed" } }])
      yield* client.vms.delete({ path })
      expect(yield* take(1)).toEqual([{ event: "deleted", vm: { id: web.id, name: "web" } }])
    })
  )

  it.scopedLive("a stop goes on when its client disconnects", () =>
    Effect.gen(function* () {
      const { address, client, create, kernel, ...world } = yield* serve
      yield* create("web", bootArgs(kernel, "guest=deaf"))
      yield* client.vms.start({ path })
      yield* hangUp(address, "stop")
      yield* until(client.vms.get({ path }), ({ state }) => state === "stopped")
      yield* assertTrue(world)
    })
  )

  it.scopedLive("of twenty starts at once one succeeds", () =>
    Effect.gen(function* () {
      const { client, create, ...world } = yield* serve
      yield* create("web")
      const starts = yield* Effect.all(
        Array.from({ length: 20 }, () => Effect.either(client.vms.start({ path }))),
        { concurrency: "unbounded" }
      )
      expect(starts.filter(Either.isRight)).toHaveLength(1)
      for (const { _tag } of starts.filter(Either.isLeft).map(({ left }) => left)) expect(_tag).toBe("Conflict")
      yield* assertTrue(world)
    })
  )

  it.scopedLive("300 stops that wait for a guest leave the other calls their places", () =>
    Effect.gen(function* () {
      const { client, create, kernel } = yield* serve
      yield* create("web", bootArgs(kernel, "guest=deaf"))
      yield* client.vms.start({ path })
      const stop = client.vms.stop({ path, payload: { timeout_s: 600 } })
      const stops = yield* Effect.fork(
        Effect.all(
          Array.from({ length: 300 }, () => stop),
          { concurrency: "unbounded" }
        )
      )
      yield* Effect.sleep("300 millis")
      expect((yield* client.vms.get({ path })).state).toBe("running")
      yield* client.vms.stop({ path, payload: { force: true } })
      expect((yield* stops).map(({ state }) => state)).toEqual(Array.from({ length: 300 }, () => "stopped"))
    })
  )

  it.scopedLive("a followed log ends with the VM, and so does a wait for that", () =>
    Effect.gen(function* () {
      const { client, create } = yield* serve
      yield* create("web")
      yield* client.vms.start({ path })
      const log = yield* client.logStream({ path, urlParams: { follow: "true" } })
      const followed = yield* Effect.fork(Stream.runCollect(log))
      const waited = yield* Effect.fork(client.vms.wait({ path, urlParams: { state: ["stopped", "crashed"] } }))
      const stopped = yield* client.vms.stop({ path, payload: undefined })
      expect(yield* waited).toEqual(stopped)
      const text = Buffer.concat(Chunk.toArray(yield* followed)).toString()
      expect(text).toMatch(/^GUEST-UP [^\n]*\nGUEST-POWEROFF\n$/)
      expect(yield* client.vms.logs({ path, urlParams: { tail: 1 } })).toBe("GUEST-POWEROFF\n")
    })
  )

  it.scopedLive("of a VM that runs only the role changes", () =>
    Effect.gen(function* () {
      const { client, create } = yield* serve
      yield* create("web")
      const { updated_at: _, ...running } = yield* client.vms.start({ path })
      for (const payload of [{ name: "db" }, { vcpu_count: 2 }, { mem_size_mib: 256 }, { config_json: "{}" }]) {
        expect(yield* Effect.flip(client.vms.update({ path, payload }))).toEqual(Conflict.running("update", "web"))
      }
      const same = { role: "work", vcpu_count: running.vcpu_count, mem_size_mib: running.mem_size_mib } as const
      expect(yield* client.vms.replace({ path, payload: same })).toMatchObject(running)
      for (const payload of [
        { ...same, vcpu_count: 2 },
        { ...same, mem_size_mib: 256 },
        { ...same, config_json: "{}" }
      ]) {
        expect(yield* Effect.flip(client.vms.replace({ path, payload }))).toEqual(Conflict.running("update", "web"))
      }
      expect(yield* Effect.flip(client.vms.delete({ path }))).toEqual(Conflict.running("delete", "web"))
      expect(yield* client.vms.update({ path, payload: { role: "portal" } })).toMatchObject({
        ...running,
        role: "portal"
      })
    })
  )

  it.scopedLive("with If-Match a VM is started, stopped and deleted as it was read, and not otherwise", () =>
    Effect.gen(function* () {
      const { client, create, host, ...world } = yield* serve
      yield* create("web")
      const read = Effect.map(client.vms.get({ path, withResponse: true }), ([vm, response]) => ({
        vm,
        headers: { "if-match": NexusClient.entityTag(response) ?? "" }
      }))
      const stale = { headers: (yield* read).headers, failure: PreconditionFailed.changed("web") }
      yield* client.vms.update({ path, payload: { vcpu_count: 2 } })
      const { headers: created } = yield* read
      expect(yield* Effect.flip(client.vms.start({ path, headers: stale.headers }))).toEqual(stale.failure)
      expect(host.running()).toEqual([])
      const started = yield* client.vms.start({ path, headers: created })
      const running = yield* read
      expect(running.vm).toEqual(started)
      for (const headers of [stale.headers, created]) {
        expect(yield* Effect.flip(client.vms.start({ path, headers }))).toEqual(stale.failure)
        expect(yield* Effect.flip(client.vms.stop({ path, headers, payload: undefined }))).toEqual(stale.failure)
        expect(yield* Effect.flip(client.vms.delete({ path, headers }))).toEqual(stale.failure)
      }
      expect(host.running()).toHaveLength(1)
      const { headers } = running
      expect(yield* Effect.flip(client.vms.start({ path, headers }))).toEqual(Conflict.alreadyRunning("web"))
      expect(yield* Effect.flip(client.vms.delete({ path, headers }))).toEqual(Conflict.running("delete", "web"))
      const stopped = yield* client.vms.stop({ path, headers, payload: undefined })
      expect(yield* read).toMatchObject({ vm: stopped })
      expect(yield* Effect.flip(client.vms.delete({ path, headers }))).toEqual(stale.failure)
      yield* assertTrue({ host, ...world })
      yield* client.vms.delete({ path, headers: (yield* read).headers })
    })
  )

  it.scopedLive("of a start and a change of one version at once one succeeds", () =>
    Effect.gen(function* () {
      const { client, create, host, ...world } = yield* serve
      for (let round = 0; round < 20; round++) {
        const path = { nameOrId: `web-${round}` }
        yield* create(path.nameOrId)
        const [, response] = yield* client.vms.get({ path, withResponse: true })
        const headers = { "if-match": NexusClient.entityTag(response) ?? "" }
        const start = Effect.asVoid(client.vms.start({ path, headers }))
        const update = Effect.asVoid(client.vms.update({ path, headers, payload: { vcpu_count: 2 } }))
        const outcomes = yield* Effect.all(
          (round % 2 === 0 ? [start, update] : [update, start]).map((call) => Effect.either(call)),
          { concurrency: "unbounded" }
        )
        expect(outcomes.filter(Either.isRight)).toHaveLength(1)
        const { state, vcpu_count } = yield* client.vms.get({ path })
        expect([state, vcpu_count]).toEqual(state === "running" ? ["running", 1] : ["created", 2])
      }
      yield* assertTrue({ host, ...world })
    })
  )

  it.scopedLive("a start that is under way is answered while the server stops", () =>
    Effect.gen(function* () {
      const { client, create, host, stop } = yield* serve
      yield* create("web")
      const { begun, proceed } = yield* block(host)
      const starting = yield* Effect.fork(client.vms.start({ path }))
      yield* begun
      const stopping = yield* Effect.fork(stop)
      yield* Effect.sleep("50 millis")
      yield* proceed
      expect((yield* starting).state).toBe("running")
      yield* Fiber.join(stopping)
    })
  )
})
