import * as Http from "node:http"
import type { AddressInfo } from "node:net"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { describe, expect, it } from "@effect/vitest"
import * as Array from "effect/Array"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Conflict, NotFound, StoreUnavailable } from "../../src/domain/Errors.js"
import { version } from "../../src/domain/Version.js"
import { CreateVm, type Vm } from "../../src/domain/Vm.js"
import type { VmCursor } from "../../src/domain/VmQuery.js"
import { NexusClient } from "../../src/http/Client.js"
import type { TestAddress } from "../support/HttpBytes.js"
import { record } from "../support/Records.js"
import { outage, secret, TestServer } from "../support/TestServer.js"

const clientOf = (address: TestAddress) => NexusClient.layer(address).pipe(Layer.provide(NodeHttpClient.layer))

/** Runs the body with a client of the real API, which begins with these records. */
const overApi =
  <A, E>(body: Effect.Effect<A, E, NexusClient | TestServer>, initial: ReadonlyArray<Vm> = []) =>
  () =>
    Effect.provide(
      body,
      Layer.unwrapEffect(Effect.map(TestServer, ({ address }) => clientOf(address))).pipe(
        Layer.provideMerge(TestServer.layer({ initial }))
      )
    )

const create = (params: Parameters<typeof CreateVm.make>[0]) =>
  Effect.flatMap(NexusClient, (client) => client.vms.create({ payload: CreateVm.make(params) }))
const list = (urlParams = {}) => Effect.flatMap(NexusClient, (client) => client.vms.list({ urlParams }))
const get = (nameOrId: string) => Effect.flatMap(NexusClient, (client) => client.vms.get({ path: { nameOrId } }))
const remove = (nameOrId: string) => Effect.flatMap(NexusClient, (client) => client.vms.delete({ path: { nameOrId } }))
const health = Effect.flatMap(NexusClient, (client) => client.health.check({}))
const names = (urlParams = {}) =>
  Effect.map(
    list(urlParams),
    Array.map((vm) => vm.name)
  )

/** Every call that needs the store. */
const calls = {
  create: create({ name: "new" }),
  list: list(),
  get: get("web"),
  delete: remove("web"),
  health
}

/** A daemon that gives one answer to everything, and remembers what it was asked. */
const fakeDaemon = (status: number, body: unknown) =>
  Effect.acquireRelease(
    Effect.async<{ readonly address: TestAddress; readonly asked: Array<string>; readonly server: Http.Server }>(
      (resume) => {
        const asked: Array<string> = []
        const server = Http.createServer((request, response) => {
          asked.push(`${request.method} ${request.url}`)
          request.resume()
          response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body))
        })
        server.listen(0, "127.0.0.1", () => {
          const { port } = server.address() as AddressInfo
          resume(Effect.succeed({ address: { host: "127.0.0.1", port }, asked, server }))
        })
      }
    ),
    ({ server }) =>
      Effect.async<void>((resume) => {
        server.close(() => resume(Effect.void))
        server.closeAllConnections()
      })
  )

describe("NexusClient", () => {
  it.live(
    "creates, gets, lists and deletes a record",
    overApi(
      Effect.gen(function* () {
        const now = Math.floor(Date.now() / 1000)
        const vm = yield* create({ name: "big", role: "portal", vcpu_count: 4, mem_size_mib: 1024 })
        expect(vm).toStrictEqual({
          id: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/),
          name: "big",
          role: "portal",
          state: "created",
          cid: 3,
          vcpu_count: 4,
          mem_size_mib: 1024,
          created_at: expect.any(Number),
          updated_at: vm.created_at
        })
        expect(vm.created_at - now).toBeGreaterThanOrEqual(0)
        expect(vm.created_at - now).toBeLessThan(5)
        expect(yield* get("big")).toStrictEqual(vm)
        expect(yield* get(vm.id)).toStrictEqual(vm)
        expect(yield* list()).toStrictEqual([vm])
        expect(yield* remove("big")).toBeUndefined()
        expect(yield* list()).toStrictEqual([])
      })
    )
  )

  it.live(
    "creates a work VM of 1 vCPU and 128 MiB from a name alone",
    overApi(
      Effect.gen(function* () {
        expect(yield* create({ name: "web" })).toMatchObject({ role: "work", vcpu_count: 1, mem_size_mib: 128, cid: 3 })
        expect(yield* create({ name: "db" })).toMatchObject({ cid: 4 })
      })
    )
  )

  it.live(
    "returns the record's path in Location after a create",
    overApi(
      Effect.gen(function* () {
        const client = yield* NexusClient
        const payload = CreateVm.make({ name: "web" })
        const [vm, response] = yield* client.vms.create({ payload, withResponse: true })
        expect(response.status).toBe(201)
        expect(response.headers["location"]).toBe(`/v1/vms/${vm.id}`)
      })
    )
  )

  it.live(
    "deletes by name or id, and returns 204",
    overApi(
      Effect.gen(function* () {
        const client = yield* NexusClient
        const { id } = yield* create({ name: "web" })
        yield* create({ name: "stays" })
        const [, response] = yield* client.vms.delete({ path: { nameOrId: id }, withResponse: true })
        expect(response.status).toBe(204)
        expect(yield* names()).toEqual(["stays"])
      })
    )
  )

  it.live(
    "reads page after page",
    overApi(
      Effect.gen(function* () {
        const { vms } = yield* NexusClient
        for (const name of ["a", "b", "c", "d", "e"]) yield* create({ name })
        const seen: Array<ReadonlyArray<string>> = []
        let cursor: VmCursor | undefined
        do {
          const urlParams = cursor === undefined ? { limit: 2 } : { limit: 2, cursor }
          const [page, response] = yield* vms.list({ urlParams, withResponse: true })
          seen.push(page.map(({ name }) => name))
          cursor = NexusClient.nextPage(response)
        } while (cursor !== undefined)
        expect(seen).toEqual([["e", "d"], ["c", "b"], ["a"]])
      })
    )
  )

  it.live(
    "filters a list by role, by state, by both, and by the beginning of the name",
    overApi(
      Effect.gen(function* () {
        expect(yield* names()).toEqual(["p2", "w2", "p1", "w1"])
        expect(yield* names({ role: "portal" })).toEqual(["p2", "p1"])
        expect(yield* names({ state: "running" })).toEqual(["p2", "w2"])
        expect(yield* names({ role: "portal", state: "running" })).toEqual(["p2"])
        expect(yield* names({ role: "service" })).toEqual([])
        expect(yield* names({ name_prefix: "p" })).toEqual(["p2", "p1"])
        expect(yield* names({ name_prefix: "p", state: "created" })).toEqual(["p1"])
      }),
      [
        record("w1", { cid: 3 }),
        record("p1", { cid: 4, role: "portal" }),
        record("w2", { cid: 5, state: "running" }),
        record("p2", { cid: 6, role: "portal", state: "running" })
      ]
    )
  )

  const bare = record("bare", { cid: 4 })
  const full = record("full", {
    state: "crashed",
    started_at: 1001,
    stopped_at: 1002,
    pid: 42,
    socket_path: "/run/fc.sock",
    uds_path: "/run/v.sock",
    console_log_path: "/var/log/ü.log",
    config_json: '{"a":null}'
  })

  it.live(
    "returns the fields that are set, and omits the others",
    overApi(
      Effect.gen(function* () {
        expect(yield* get("full")).toStrictEqual(full)
        expect(yield* get("bare")).toStrictEqual(bare)
        expect(yield* list()).toStrictEqual([bare, full])
      }),
      [full, bare]
    )
  )

  it.live(
    "returns the version and the database from health",
    overApi(
      Effect.gen(function* () {
        expect(yield* health).toStrictEqual({
          status: "ok",
          version,
          database: { path: ":memory:", table_count: 0, size_bytes: 0 }
        })
      })
    )
  )
})

describe("errors of NexusClient", () => {
  it.live(
    "fails with NotFound for an unknown name or id",
    overApi(
      Effect.gen(function* () {
        expect(yield* Effect.flip(get("ghost"))).toStrictEqual(new NotFound({ message: "VM 'ghost' not found" }))
        expect(yield* Effect.flip(remove("ghost"))).toStrictEqual(new NotFound({ message: "VM 'ghost' not found" }))
        const id = crypto.randomUUID()
        expect(yield* Effect.flip(get(id))).toStrictEqual(new NotFound({ message: `VM '${id}' not found` }))
      })
    )
  )

  it.live(
    "fails with Conflict for a taken name",
    overApi(
      Effect.gen(function* () {
        yield* create({ name: "dup" })
        expect(yield* Effect.flip(create({ name: "dup" }))).toStrictEqual(
          new Conflict({ message: "VM name 'dup' already exists" })
        )
      })
    )
  )

  it.live(
    "fails with Conflict when a running VM is deleted, by name or id, and keeps it",
    overApi(
      Effect.gen(function* () {
        const web = yield* get("web")
        const refusal = new Conflict({ message: "cannot delete VM 'web': VM is running, stop it first" })
        expect(yield* Effect.flip(remove("web"))).toStrictEqual(refusal)
        expect(yield* Effect.flip(remove(web.id))).toStrictEqual(refusal)
        expect(yield* list()).toStrictEqual([web])
      }),
      [record("web", { state: "running" })]
    )
  )

  it.live("fails with Conflict when no CID is free", () =>
    Effect.gen(function* () {
      const daemon = yield* fakeDaemon(409, { _tag: "Conflict", error: "no free CID" })
      const failure = yield* Effect.flip(create({ name: "web" })).pipe(Effect.provide(clientOf(daemon.address)))
      expect(failure).toStrictEqual(new Conflict({ message: "no free CID" }))
    }).pipe(Effect.scoped)
  )

  it.live(
    "fails with BadRequest for an unknown query parameter, and names it",
    overApi(
      Effect.gen(function* () {
        const { address } = yield* TestServer
        const asking = Layer.effect(
          HttpClient.HttpClient,
          Effect.map(HttpClient.HttpClient, HttpClient.mapRequest(HttpClientRequest.setUrlParam("colour", "blue")))
        ).pipe(Layer.provide(NodeHttpClient.layer))
        const failure = yield* Effect.flip(list()).pipe(
          Effect.provide(NexusClient.layer(address).pipe(Layer.provide(asking)))
        )
        expect(failure).toMatchObject({ _tag: "BadRequest", issues: [{ path: "colour" }] })
        expect(failure.message).toContain("colour")
      })
    )
  )

  it.live(
    "fails with StoreUnavailable, or Degraded from health, while the store is unavailable",
    overApi(
      Effect.gen(function* () {
        const { storeIs } = yield* TestServer
        const { health, ...vms } = calls
        yield* storeIs("unavailable")
        for (const call of Object.values(vms)) {
          expect(yield* Effect.flip<unknown, unknown, NexusClient>(call)).toStrictEqual(
            new StoreUnavailable({ message: outage })
          )
        }
        expect(yield* Effect.flip(health)).toMatchObject({
          _tag: "Degraded",
          status: "degraded",
          message: outage,
          version
        })
        yield* storeIs("healthy")
        expect(yield* health).toMatchObject({ status: "ok" })
        expect(yield* names()).toEqual(["web"])
        expect(yield* create({ name: "new" })).toMatchObject({ name: "new" })
      }),
      [record("web")]
    )
  )

  it.live(
    "fails with InternalError for a defect, with the request's id and no details",
    overApi(
      Effect.gen(function* () {
        const { logs, storeIs } = yield* TestServer
        yield* storeIs("broken")
        for (const call of Object.values(calls)) {
          const failure = yield* Effect.flip<unknown, unknown, NexusClient>(call)
          expect(failure).toMatchObject({ _tag: "InternalError", request_id: expect.stringMatching(/^[0-9a-f-]{36}$/) })
          expect(JSON.stringify(failure)).not.toMatch(/SQL|SELECT|\/srv|\.ts/)
        }
        expect(logs).toHaveLength(Object.keys(calls).length)
        expect(logs.every((line) => line.includes(secret))).toBe(true)
      }),
      [record("web")]
    )
  )

  it.live("fails with RequestError when nothing listens", () =>
    Effect.gen(function* () {
      const { address } = yield* Effect.scoped(fakeDaemon(200, []))
      const failure = yield* Effect.flip(list()).pipe(Effect.provide(clientOf(address)))
      expect(failure).toMatchObject({ _tag: "RequestError", reason: "Transport" })
    })
  )
})

describe("names in the path", () => {
  const odd = ["a/b?c", "ü", "%", "%2F", "%zz", " ", "a b", "a+b", "#", "a&b=c", "日本", "..a", "'", "\u0001", "My_VM"]

  for (const name of odd) {
    it.live(
      `returns the record named ${JSON.stringify(name)} and no other`,
      overApi(
        Effect.gen(function* () {
          expect(yield* Effect.flip(get(name))).toStrictEqual(new NotFound({ message: `VM '${name}' not found` }))
          expect(yield* Effect.flip(remove(name))).toStrictEqual(new NotFound({ message: `VM '${name}' not found` }))
          expect(yield* names()).toEqual(["a"])
        }),
        [record("a")]
      )
    )
  }

  it.live(
    "shows and deletes a record of any such name",
    overApi(
      Effect.gen(function* () {
        for (const name of odd) {
          expect(yield* get(name)).toMatchObject({ name })
          yield* remove(name)
        }
        expect(yield* names()).toEqual([])
      }),
      odd.map((name, index) => record(name, { cid: 3 + index }))
    )
  )

  // No client can send these: they mean another path (https://url.spec.whatwg.org/#double-dot-path-segment).
  for (const name of ["..", ".", ""]) {
    it.live(
      `fails with NotFound for ${JSON.stringify(name)}, and changes nothing`,
      overApi(
        Effect.gen(function* () {
          expect(yield* Effect.flip(get(name))).toMatchObject({ _tag: "NotFound" })
          expect(yield* Effect.flip(remove(name))).toMatchObject({ _tag: "NotFound" })
          expect(yield* names()).toEqual(["a"])
        }),
        [record("a")]
      )
    )
  }
})

describe("NexusClient with other daemons of the plan", () => {
  const overFake =
    <A, E>(status: number, body: unknown, ask: Effect.Effect<A, E, NexusClient>) =>
    () =>
      Effect.gen(function* () {
        const { address, asked } = yield* fakeDaemon(status, body)
        const answer = yield* Effect.provide(ask, clientOf(address))
        expect(asked).toHaveLength(1)
        return answer
      }).pipe(Effect.scoped)

  const refusals = [
    ["create", create({ name: "dup" }), 409, "VM name 'dup' already exists", "Conflict"],
    ["create", create({ name: "dup" }), 400, "missing field `name`", "BadRequest"],
    ["create", create({ name: "dup" }), 500, "query: cannot create VM", "InternalError"],
    ["list", list(), 400, "bad filter", "BadRequest"],
    ["list", list(), 500, "query: cannot list VMs", "InternalError"],
    ["get", get("ghost"), 404, "VM 'ghost' not found", "NotFound"],
    ["get", get("ghost"), 500, "query: cannot get VM", "InternalError"],
    ["delete", remove("ghost"), 404, "VM 'ghost' not found", "NotFound"],
    ["delete", remove("web"), 409, "cannot delete VM 'web': VM is running, stop it first", "Conflict"],
    ["delete", remove("web"), 500, "query: cannot delete VM", "InternalError"]
  ] as const

  for (const [call, ask, status, error, tag] of refusals) {
    it.live(
      `${call} fails with ${tag} for a ${status} with error alone`,
      overFake(
        status,
        { error },
        Effect.gen(function* () {
          const failure = yield* Effect.flip<unknown, unknown, NexusClient>(ask)
          expect(failure).toMatchObject({ _tag: tag, message: error })
        })
      )
    )
  }

  // Which of the errors of that status it is, only a `_tag` could say.
  for (const [call, ask] of [
    ["create", create({ name: "web" })],
    ["list", list()],
    ["health", health]
  ] as const) {
    it.live(
      `${call} keeps the message of a 503 with error alone`,
      overFake(
        503,
        { error: "the store does not answer" },
        Effect.gen(function* () {
          const failure = yield* Effect.flip<unknown, unknown, NexusClient>(ask)
          expect(failure).toMatchObject({
            _tag: expect.stringMatching(/^(StoreUnavailable|Overloaded|Degraded)$/),
            message: "the store does not answer"
          })
        })
      )
    )
  }

  it.live(
    "fails with Degraded for a degraded health",
    overFake(
      503,
      { status: "degraded", error: "database is locked", database: { path: "/var/nexus.db" } },
      Effect.gen(function* () {
        expect(yield* Effect.flip(health)).toMatchObject({
          _tag: "Degraded",
          status: "degraded",
          message: "database is locked",
          database: { path: "/var/nexus.db" }
        })
      })
    )
  )

  it.live(
    "accepts an error with unknown fields",
    overFake(
      404,
      { error: "VM 'x' not found", code: 17, hint: { see: "list" } },
      Effect.gen(function* () {
        expect(yield* Effect.flip(get("x"))).toMatchObject({ _tag: "NotFound", message: "VM 'x' not found" })
      })
    )
  )

  const oldHealth = { status: "ok", database: { path: "/var/nexus.db", table_count: 3, size_bytes: 45056 } }

  it.live(
    "accepts health without a version",
    overFake(
      200,
      oldHealth,
      Effect.gen(function* () {
        expect(yield* health).toStrictEqual(oldHealth)
      })
    )
  )

  // They check no bounds at creation, and may know fields that we don't.
  const foreign = { ...record("My_VM"), id: "abc", vcpu_count: 0, mem_size_mib: 4_294_967_295, zone: "eu" }

  it.live(
    "accepts a record that could not be created here",
    overFake(
      200,
      foreign,
      Effect.gen(function* () {
        expect(yield* get("My_VM")).toStrictEqual(foreign)
      })
    )
  )

  it.live(
    "accepts a list of such records",
    overFake(
      200,
      [foreign, foreign],
      Effect.gen(function* () {
        expect(yield* list()).toStrictEqual([foreign, foreign])
      })
    )
  )

  it.live(
    "accepts such a record from a create",
    overFake(
      201,
      foreign,
      Effect.gen(function* () {
        expect(yield* create({ name: "my-vm" })).toStrictEqual(foreign)
      })
    )
  )

  it.live("accepts a 204 without a body from a delete", overFake(204, undefined, remove("My_VM")))

  it.live("sends nothing that the plan's daemon does not know", () =>
    Effect.gen(function* () {
      const { address, asked } = yield* fakeDaemon(200, [])
      const ask = Effect.zipRight(list({ role: "work", state: "running" }), list())
      yield* Effect.provide(ask, clientOf(address))
      expect(asked).toEqual(["GET /v1/vms?role=work&state=running", "GET /v1/vms"])
    }).pipe(Effect.scoped)
  )
})
