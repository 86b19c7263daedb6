import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { describe, expect, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import {
  Conflict,
  NotFound,
  StartFailed,
  StoreUnavailable,
  VmmUnavailable,
  WaitTimeout
} from "../../src/domain/Errors.js"
import { NexusClient } from "../../src/http/Client.js"
import type { VmLifecycle } from "../../src/services/VmLifecycle.js"
import { record } from "../support/Records.js"
import { jsonOf, send, TestServer } from "../support/TestServer.js"

type Calls = Partial<VmLifecycle["Type"]>

const web = record("web", { config_json: '{"drives":[]}' })
const db = record("db", { cid: 4 })
const path = { nameOrId: "web" }

/** Runs the body with a client of the real API over these calls of the lifecycle, and the records web and db. */
const over =
  <A, E>(lifecycle: Calls, body: Effect.Effect<A, E, NexusClient | TestServer>) =>
  () =>
    Effect.provide(
      body,
      Layer.unwrapEffect(
        Effect.map(TestServer, ({ address }) =>
          NexusClient.layer(address).pipe(Layer.provide(NodeHttpClient.layerWithoutAgent), Layer.provide(agent))
        )
      ).pipe(Layer.provideMerge(TestServer.layer({ initial: [web, db], lifecycle })))
    )

const agent = NodeHttpClient.makeAgentLayer({ keepAlive: false })

const vms = Effect.map(NexusClient, (client) => client.vms)

describe("PATCH", () => {
  it.live(
    "changes what is given, and leaves the rest",
    over(
      {},
      Effect.gen(function* () {
        const { update } = yield* vms
        const { updated_at, ...changed } = yield* update({ path, payload: { name: "new", vcpu_count: 2 } })
        const { updated_at: before, ...rest } = web
        expect(changed).toEqual({ ...rest, name: "new", vcpu_count: 2 })
        expect(updated_at).toBeGreaterThan(before)
      })
    )
  )

  it.live(
    "removes config_json where it is null",
    over(
      {},
      Effect.gen(function* () {
        const { update } = yield* vms
        expect(yield* update({ path, payload: { config_json: null } })).not.toHaveProperty("config_json")
      })
    )
  )

  it.live(
    "leaves updated_at where nothing changes",
    over(
      {},
      Effect.gen(function* () {
        const { update } = yield* vms
        expect(yield* update({ path, payload: {} })).toEqual(web)
        expect(yield* update({ path, payload: { vcpu_count: web.vcpu_count, name: "web" } })).toEqual(web)
      })
    )
  )

  it.live(
    "fails with NotFound, and with Conflict for a name that is taken",
    over(
      {},
      Effect.gen(function* () {
        const { update } = yield* vms
        expect(yield* Effect.flip(update({ path: { nameOrId: "ghost" }, payload: {} }))).toEqual(NotFound.vm("ghost"))
        expect(yield* Effect.flip(update({ path, payload: { name: "db" } }))).toEqual(Conflict.nameTaken("db"))
      })
    )
  )

  for (const [body, problem] of [
    ['{"cid":5}', /^cid: is unexpected/],
    ['{"vcpu_count":33}', /^vcpu_count: expected a whole number from 1 to 32, got 33$/],
    ['{"role":null}', /^role: expected one of portal, work, service, got null$/],
    ['{"config_json":"{\\"vsock\\":{}}"}', /^config_json.vsock: vsock is derived from the record: leave it out$/],
    ["null", /^expected a JSON object$/]
  ] as const) {
    it.live(
      `refuses ${body}`,
      over(
        {},
        Effect.gen(function* () {
          const answer = yield* send({ method: "PATCH", path: "/v1/vms/web", body })
          expect(answer.status).toBe(400)
          expect(jsonOf(answer)["error"]).toMatch(problem)
        })
      )
    )
  }
})

describe("POST with config_json", () => {
  const config_json = '{ "boot-source": {"kernel_image_path":"/boot/vmlinux"} }'

  it.live(
    "keeps the text as it was sent",
    over(
      {},
      Effect.gen(function* () {
        const answer = yield* send({
          method: "POST",
          path: "/v1/vms",
          body: JSON.stringify({ name: "x", config_json })
        })
        expect([answer.status, jsonOf(answer)["config_json"]]).toEqual([201, config_json])
        expect((yield* (yield* vms).get({ path: { nameOrId: "x" } })).config_json).toBe(config_json)
      })
    )
  )

  it.live(
    "names each bad member by its path",
    over(
      {},
      Effect.gen(function* () {
        const bad = JSON.stringify({ drives: [{ drive_id: "a", path_on_host: "disk", is_root_device: true, x: 1 }] })
        const answer = yield* send({
          method: "POST",
          path: "/v1/vms",
          body: JSON.stringify({ name: "x", config_json: bad })
        })
        expect(answer.status).toBe(400)
        expect(jsonOf(answer)["issues"]).toEqual([
          { path: "config_json.drives.0.x", message: expect.stringContaining("unexpected") },
          { path: "config_json.drives.0.path_on_host", message: expect.stringContaining("an absolute path") }
        ])
      })
    )
  )
})

describe("start", () => {
  it.live(
    "returns the record",
    over(
      { start: (nameOrId) => Effect.succeed({ ...web, name: nameOrId, state: "running", pid: 4711 }) },
      Effect.gen(function* () {
        expect(yield* (yield* vms).start({ path })).toEqual({ ...web, state: "running", pid: 4711 })
      })
    )
  )

  for (const [status, error] of [
    [404, NotFound.vm("web")],
    [409, Conflict.beingStarted("web")],
    [500, new StartFailed({ message: "Firecracker: Invalid kernel" })],
    [503, new VmmUnavailable({ message: "no VMM found: install firecracker" })],
    [503, new StoreUnavailable({ message: "locked" })]
  ] as const) {
    it.live(
      `fails with ${error._tag}, status ${status}`,
      over(
        { start: () => error },
        Effect.gen(function* () {
          expect(yield* Effect.flip((yield* vms).start({ path }))).toEqual(error)
          const answer = yield* send({ method: "POST", path: "/v1/vms/web/start" })
          expect([answer.status, jsonOf(answer)]).toEqual([status, { _tag: error._tag, error: error.message }])
        })
      )
    )
  }
})

describe("start and stop from a web page of another site", () => {
  for (const call of ["start", "stop"]) {
    it.live(
      `are refused: ${call}`,
      over(
        {},
        Effect.gen(function* () {
          const headers = { origin: "https://evil.example" }
          const answer = yield* send({ method: "POST", path: `/v1/vms/web/${call}`, headers })
          expect(answer.status).toBe(403)
        })
      )
    )
  }
})

describe("stop", () => {
  const asked: Array<unknown> = []
  const stopped = { ...web, state: "stopped" }
  const stop: Calls["stop"] = (nameOrId, { force, timeout }) =>
    Effect.sync(() => {
      asked.push([nameOrId, force, timeout && Duration.toSeconds(timeout)])
      return stopped
    })
  const loseHost: Calls["loseHost"] = (nameOrId) =>
    Effect.sync(() => {
      asked.push([nameOrId, "lost"])
      return stopped
    })

  it.live(
    "passes its options on",
    over(
      { stop, loseHost },
      Effect.gen(function* () {
        asked.length = 0
        const client = yield* vms
        expect(yield* client.stop({ path, payload: undefined })).toEqual(stopped)
        for (const payload of [{}, { force: true }, { timeout_s: 0 }, { timeout_s: 600 }, { host_lost: true }]) {
          yield* client.stop({ path, payload })
        }
        yield* client.stop({ path, payload: { host_lost: false, force: false } })
        expect(asked).toEqual([
          ["web", false, undefined],
          ["web", false, undefined],
          ["web", true, undefined],
          ["web", false, 0],
          ["web", false, 600],
          ["web", "lost"],
          ["web", false, undefined]
        ])
      })
    )
  )

  for (const body of ["null", "[]", '{"forced":true}', '{"timeout_s":601}', '{"timeout_s":-1}', '{"force":"yes"}']) {
    it.live(
      `refuses the body ${body}`,
      over(
        {},
        Effect.map(send({ method: "POST", path: "/v1/vms/web/stop", body }), ({ status }) => expect(status).toBe(400))
      )
    )
  }

  it.live(
    "fails with Conflict",
    over(
      { stop: () => Conflict.notRunning("web") },
      Effect.gen(function* () {
        const error = yield* Effect.flip((yield* vms).stop({ path, payload: undefined }))
        expect(error).toEqual(Conflict.notRunning("web"))
      })
    )
  )
})

describe("logs", () => {
  /** Not UTF-8, with a character cut by the chunks' border. */
  const bytes = Buffer.from([0xff, 0x00, 0x0d, 0x0a, 0xe2, 0x82, 0xac, 0x1b])
  const log = Stream.make(bytes.subarray(0, 5), bytes.subarray(5))
  const asked: Array<unknown> = []
  const logs: Calls["logs"] = (nameOrId, options) =>
    Effect.sync(() => {
      asked.push([nameOrId, options])
      return log
    })

  it.live(
    "are the last 100 lines by default, as text",
    over(
      { logs },
      Effect.gen(function* () {
        asked.length = 0
        expect(yield* (yield* vms).logs({ path, urlParams: {} })).toBe(bytes.toString())
        const answer = yield* send({ path: "/v1/vms/web/logs?tail=0&follow=false" })
        expect([answer.status, answer.headers["content-type"]]).toEqual([200, "text/plain; charset=utf-8"])
        yield* send({ path: "/v1/vms/web/logs?tail=10000&follow=true" })
        expect(asked).toEqual([
          ["web", { tail: 100, follow: false }],
          ["web", { tail: 0, follow: false }],
          ["web", { tail: 10_000, follow: true }]
        ])
      })
    )
  )

  it.live(
    "are the bytes of the log, as a stream",
    over(
      { logs },
      Effect.gen(function* () {
        const stream = yield* (yield* NexusClient).logStream({ path, urlParams: {} })
        expect(Buffer.concat(Chunk.toArray(yield* Stream.runCollect(stream)))).toEqual(bytes)
      })
    )
  )

  it.live("come as they are written with follow, until the client disconnects", () =>
    Effect.gen(function* () {
      const lines = yield* Queue.unbounded<Uint8Array>()
      const ended = yield* Deferred.make<Exit.Exit<unknown, unknown>>()
      const followed = Stream.ensuringWith(Stream.fromQueue(lines), (exit) => Deferred.succeed(ended, exit))
      yield* Effect.promise(() => Effect.runPromise(over({ logs: () => Effect.succeed(followed) }, read(lines))()))
      expect(Exit.isInterrupted(yield* Deferred.await(ended))).toBe(true)
    })
  )

  const read = (lines: Queue.Queue<Uint8Array>) =>
    Effect.gen(function* () {
      // The head arrives before the first byte.
      const stream = yield* (yield* NexusClient).logStream({ path, urlParams: { follow: "true" } })
      const received: Array<string> = []
      yield* Queue.offer(lines, Buffer.from("1"))
      yield* Stream.runForEachWhile(stream, (chunk) =>
        Effect.gen(function* () {
          received.push(Buffer.from(chunk).toString())
          yield* Queue.offer(lines, Buffer.from(String(received.length + 1)))
          return received.length < 3
        })
      )
      expect(received).toEqual(["1", "2", "3"])
    })

  it.live(
    "are cut off where the store fails in their midst",
    over(
      { logs: () => Effect.succeed(Stream.concat(log, new StoreUnavailable({ message: "gone" }))) },
      Effect.gen(function* () {
        const { logStream } = yield* NexusClient
        const reading = Effect.flatMap(logStream({ path, urlParams: {} }), Stream.runDrain)
        // The connection may be closed before the head is sent.
        expect(["RequestError", "ResponseError"]).toContain((yield* Effect.flip(reading))._tag)
      })
    )
  )

  it.live(
    "fail with NotFound and Conflict, as a stream too",
    over(
      { logs: (nameOrId) => (nameOrId === "ghost" ? NotFound.vm(nameOrId) : Conflict.onHost(nameOrId, "other")) },
      Effect.gen(function* () {
        const { logStream, vms } = yield* NexusClient
        const urlParams = { follow: "true" } as const
        expect(yield* Effect.flip(logStream({ path, urlParams }))).toEqual(Conflict.onHost("web", "other"))
        expect(yield* Effect.flip(vms.logs({ path: { nameOrId: "ghost" }, urlParams }))).toEqual(NotFound.vm("ghost"))
      })
    )
  )

  for (const query of ["tail=-1", "tail=10001", "tail=x", "follow=yes", "lines=3"]) {
    it.live(
      `refuse ?${query}`,
      over(
        {},
        Effect.map(send({ path: `/v1/vms/web/logs?${query}` }), ({ status }) => expect(status).toBe(400))
      )
    )
  }
})

describe("wait", () => {
  const asked: Array<unknown> = []
  const wait: Calls["wait"] = (nameOrId, { states, timeout }) =>
    Effect.sync(() => {
      asked.push([nameOrId, states, Duration.toSeconds(timeout)])
      return web
    })

  it.live(
    "passes the states and the timeout on, by default 60 s",
    over(
      { wait },
      Effect.gen(function* () {
        asked.length = 0
        const client = yield* vms
        expect(yield* client.wait({ path, urlParams: { state: ["running", "stopped"] } })).toEqual(web)
        yield* client.wait({ path, urlParams: { state: ["failed"], timeout_s: 600 } })
        expect(asked).toEqual([
          ["web", ["running", "stopped"], 60],
          ["web", ["failed"], 600]
        ])
      })
    )
  )

  it.live(
    "fails with WaitTimeout, status 408",
    over(
      { wait: () => new WaitTimeout({ message: "VM 'web' is not running after 60 s" }) },
      Effect.gen(function* () {
        const error = yield* Effect.flip((yield* vms).wait({ path, urlParams: { state: ["running"] } }))
        expect(error).toEqual(new WaitTimeout({ message: "VM 'web' is not running after 60 s" }))
        expect((yield* send({ path: "/v1/vms/web/wait?state=running" })).status).toBe(408)
      })
    )
  )

  for (const query of [
    "",
    "?state=",
    "?state=running,",
    "?state=gone",
    "?state=running&timeout_s=0",
    "?state=running&x=1"
  ]) {
    it.live(
      `refuses "${query}"`,
      over(
        {},
        Effect.map(send({ path: `/v1/vms/web/wait${query}` }), ({ status }) => expect(status).toBe(400))
      )
    )
  }
})

describe("delete", () => {
  it.live(
    "goes through the lifecycle",
    over(
      { delete: () => Conflict.running("delete", "web") },
      Effect.gen(function* () {
        expect(yield* Effect.flip((yield* vms).delete({ path }))).toEqual(Conflict.running("delete", "web"))
      })
    )
  )
})
