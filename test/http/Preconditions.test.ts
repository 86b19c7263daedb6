import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import * as Layer from "effect/Layer"
import { Conflict, NotFound, PreconditionFailed } from "../../src/domain/Errors.js"
import { Vm } from "../../src/domain/Vm.js"
import type { Precondition } from "../../src/domain/VmTransition.js"
import { NexusClient } from "../../src/http/Client.js"
import { parseEntityTags } from "../../src/http/EntityTag.js"
import { entityTag } from "../../src/http/handlers/VmEntityTag.js"
import type { VmLifecycle } from "../../src/services/VmLifecycle.js"
import { record } from "../support/Records.js"
import { jsonOf, send, TestServer } from "../support/TestServer.js"

const web = record("web", { config_json: '{"drives":[]}' })
const db = record("db", { cid: 4, state: "running" })
const path = { nameOrId: "web" }
const agent = NodeHttpClient.makeAgentLayer({ keepAlive: false })

/** Runs the body with a client of the real API, and the records web, and db, which says that it runs. */
const over =
  <A, E>(body: Effect.Effect<A, E, NexusClient | TestServer>, lifecycle: Partial<VmLifecycle["Type"]> = {}) =>
  () =>
    Effect.provide(
      body,
      Layer.unwrapEffect(
        Effect.map(TestServer, ({ address }) =>
          NexusClient.layer(address).pipe(Layer.provide(NodeHttpClient.layerWithoutAgent), Layer.provide(agent))
        )
      ).pipe(Layer.provideMerge(TestServer.layer({ initial: [web, db], lifecycle })))
    )

const vms = Effect.map(NexusClient, (client) => client.vms)

/** The record and its tag. */
const read = (nameOrId = "web") =>
  Effect.gen(function* () {
    const { get } = yield* vms
    const [vm, response] = yield* get({ path: { nameOrId }, withResponse: true })
    const tag = NexusClient.entityTag(response)
    return tag === undefined ? yield* Effect.dieMessage("no ETag") : { vm, tag }
  })

const put = (name: string, body: unknown, headers: Readonly<Record<string, string>> = {}) =>
  send({ method: "PUT", path: `/v1/vms/${name}`, body: JSON.stringify(body), headers: { ...json, ...headers } })
const json = { "content-type": "application/json" }

type Answer = Effect.Effect.Success<ReturnType<typeof send>>

const expectIssue = (answer: Answer, status: number, message: string | RegExp) => {
  expect(answer.status).toBe(status)
  expect(jsonOf(answer)).toMatchObject({
    error: typeof message === "string" ? message : expect.stringMatching(message)
  })
}

describe("PUT", () => {
  it.live(
    "creates a VM, and changes nothing when it is repeated",
    over(
      Effect.gen(function* () {
        const { replace } = yield* vms
        const call = replace({ path: { nameOrId: "new" }, payload: { role: "portal", ...sizes }, withResponse: true })
        const [vm, response] = yield* call
        expect(response.status).toBe(201)
        expect(response.headers["location"]).toBe(`/v1/vms/${vm.id}`)
        expect(vm).toMatchObject({ name: "new", role: "portal", state: "created", ...sizes })
        const [again, repeated] = yield* call
        expect(repeated.status).toBe(200)
        expect(repeated.headers["location"]).toBeUndefined()
        expect(again).toEqual(vm)
        expect(NexusClient.entityTag(repeated)).toBe(NexusClient.entityTag(response))
      })
    )
  )

  it.live(
    "gives what is left out its default, and removes the configuration",
    over(
      Effect.gen(function* () {
        const answer = yield* put("web", { mem_size_mib: 256 })
        expect(answer.status).toBe(200)
        const { config_json: _, updated_at, ...rest } = web
        expect(jsonOf(answer)).toEqual({ ...rest, mem_size_mib: 256, updated_at: expect.any(Number) })
        expect(jsonOf(answer)).not.toMatchObject({ updated_at })
      })
    )
  )

  it.live(
    "changes only the role of a VM that runs",
    over(
      Effect.gen(function* () {
        expectIssue(yield* put("db", { vcpu_count: 2 }), 409, "cannot update VM 'db': VM is running, stop it first")
        expect(jsonOf(yield* put("db", {}))).toEqual(db)
        expect(jsonOf(yield* put("db", { role: "service" }))).toMatchObject({ role: "service", state: "running" })
      })
    )
  )

  it.live(
    "refuses ids and names that could not be created, and never touches a record by its id",
    over(
      Effect.gen(function* () {
        for (const name of [web.id, web.id.toUpperCase(), "WEB", "a%2Fb", "-a", "%2e%2e", "x".repeat(64)]) {
          const answer = yield* put(name, { vcpu_count: 2 })
          expectIssue(answer, 400, /^nameOrId: .* is not a VM name: 1 to 63 characters of a-z, 0-9 and '-'/)
          expect(jsonOf(answer)).toMatchObject({ issues: [{ path: "nameOrId" }] })
        }
        const { list } = yield* vms
        expect(yield* list({ urlParams: {} })).toEqual([db, web])
      })
    )
  )

  it.live(
    "refuses a name, unknown fields and bad values in the body",
    over(
      Effect.gen(function* () {
        expectIssue(yield* put("web", { name: "web" }), 400, /^name: is unexpected/)
        expectIssue(yield* put("web", { vcpu_count: 0, x: 1 }), 400, /^x: is unexpected.*vcpu_count: expected/)
        expectIssue(yield* put("web", { config_json: null }), 400, /^config_json: /)
        expectIssue(yield* send({ method: "PUT", path: "/v1/vms/web", headers: json }), 400, /JSON/)
        expect((yield* read()).vm).toEqual(web)
      })
    )
  )
})

const sizes = { vcpu_count: 2, mem_size_mib: 256 }

describe("ETag", () => {
  it.live(
    "comes with every answer that is one record, and is that of the record",
    over(
      Effect.gen(function* () {
        const calls = yield* vms
        const state = ["created"] as const
        const answers = [
          yield* calls.create({ payload: { name: "new", role: "work", ...sizes }, withResponse: true }),
          yield* calls.get({ path, withResponse: true }),
          yield* calls.update({ path, payload: { role: "portal" }, withResponse: true }),
          yield* calls.replace({ path, payload: { role: "service", ...sizes }, withResponse: true }),
          yield* calls.start({ path, withResponse: true }),
          yield* calls.stop({ path, payload: undefined, withResponse: true }),
          yield* calls.stop({ path, payload: { host_lost: true }, withResponse: true }),
          yield* calls.wait({ path, urlParams: { state }, withResponse: true })
        ] as const
        for (const [vm, response] of answers) {
          expect(NexusClient.entityTag(response)).toMatch(/^"[\w-]{22}"$/)
          expect(NexusClient.entityTag(response)).toBe(entityTag(vm))
        }
        const list = yield* calls.list({ urlParams: {}, withResponse: true })
        expect(NexusClient.entityTag(list[1])).toBeUndefined()
      }),
      {
        start: () => Effect.succeed(db),
        stop: () => Effect.succeed(web),
        loseHost: () => Effect.succeed(web),
        wait: () => Effect.succeed(web)
      }
    )
  )

  it("depends on each field, and not on the order in which they were set", () => {
    const full: Vm = record("web", {
      ...{ started_at: 1, stopped_at: 2, pid: 3, socket_path: "a", uds_path: "b", console_log_path: "c" },
      ...{ config_json: "{}", vmm: "qemu", host: "h" }
    })
    const fields = Object.entries(full)
    expect(fields.map(([name]) => name).sort()).toEqual(Object.keys(Vm.fields).sort())
    const of = (entries: ReadonlyArray<readonly [string, unknown]>) => entityTag(Object.fromEntries(entries) as Vm)
    expect(of(fields.toReversed())).toBe(entityTag(full))
    const others = fields.flatMap(([name, value]) => [
      of(fields.filter(([other]) => other !== name)),
      of([...fields.filter(([other]) => other !== name), [name, typeof value === "number" ? value + 1 : `${value}x`]])
    ])
    expect(new Set([entityTag(full), ...others]).size).toBe(2 * fields.length + 1)
    // What two fields hold can't be taken for what others hold.
    expect(entityTag(record("a", { id: "x", role: "work,work" }))).not.toBe(
      entityTag(record("a", { id: "x", role: "work", state: "work,created" }))
    )
  })
})

const others = '"other", W/"weak", "a,b", ""'

describe("If-Match", () => {
  /** Each change of web, under that header. */
  const changes = (tag: string): ReadonlyArray<Effect.Effect<unknown, unknown, NexusClient>> => {
    const headers = { "if-match": tag }
    return [
      Effect.flatMap(vms, ({ update }) => update({ path, headers, payload: { vcpu_count: 3 } })),
      Effect.flatMap(vms, ({ replace }) => replace({ path, headers, payload: { role: "work", ...sizes } })),
      Effect.flatMap(vms, ({ start }) => start({ path, headers })),
      Effect.flatMap(vms, ({ stop }) => stop({ path, headers, payload: undefined })),
      Effect.flatMap(vms, ({ stop }) => stop({ path, headers, payload: { host_lost: true } })),
      Effect.flatMap(vms, (calls) => calls.delete({ path, headers }))
    ]
  }
  const check = (precondition: Precondition | undefined) => precondition?.(web) ?? Either.right(undefined)
  const lifecycle: Partial<VmLifecycle["Type"]> = {
    start: (_, precondition) => Effect.as(check(precondition), web),
    stop: (_, __, precondition) => Effect.as(check(precondition), web),
    loseHost: (_, precondition) => Effect.as(check(precondition), web)
  }

  it.live(
    "lets changes of the version that was read through, and no others",
    over(
      Effect.gen(function* () {
        const { tag, vm } = yield* read()
        for (const stale of [others, `W/${tag}`, `"${tag.slice(1, -1)}x"`]) {
          for (const change of changes(stale)) {
            expect(yield* Effect.flip(change)).toEqual(PreconditionFailed.changed("web"))
          }
        }
        expect((yield* read()).vm).toEqual(vm)
        for (const [index] of changes(tag).entries()) {
          const current = yield* read()
          const header = index % 2 === 0 ? current.tag : `${others} ,, ${current.tag}`
          // The stub's starts and stops are of the first version.
          yield* changes(index >= 2 && index <= 4 ? tag : header)[index] ?? Effect.void
        }
        expect(yield* Effect.flip(read())).toEqual(NotFound.vm("web"))
      }),
      lifecycle
    )
  )

  it.live(
    "* stands for any version, and fails PUT where there is none",
    over(
      Effect.gen(function* () {
        const headers = { "if-match": "*" }
        expectIssue(yield* put("new", {}, headers), 412, "VM 'new' does not exist: without If-Match it is created")
        expectIssue(yield* put("new", {}, { "if-match": others }), 412, /^VM 'new' does not exist/)
        expect((yield* put("web", {}, headers)).status).toBe(200)
        const { delete: remove, update } = yield* vms
        expect(yield* Effect.flip(update({ path: { nameOrId: "new" }, headers, payload: {} }))).toEqual(
          NotFound.vm("new")
        )
        yield* remove({ path, headers })
      })
    )
  )

  it.live(
    "is checked before the state of the VM",
    over(
      Effect.gen(function* () {
        const { delete: remove } = yield* vms
        const { tag } = yield* read("db")
        const call = (tag: string) => remove({ path: { nameOrId: "db" }, headers: { "if-match": tag } })
        expect(yield* Effect.flip(call('"other"'))).toEqual(PreconditionFailed.changed("db"))
        expect(yield* Effect.flip(call(tag))).toEqual(Conflict.running("delete", "db"))
      })
    )
  )

  it.live(
    "of 20 changes of one version at once one succeeds",
    over(
      Effect.gen(function* () {
        const { update } = yield* vms
        const { tag: etag } = yield* read()
        const outcomes = yield* Effect.forEach(
          Array.from({ length: 20 }, (_, index) => index + 2),
          (vcpu_count) => Effect.either(update({ path, headers: { "if-match": etag }, payload: { vcpu_count } })),
          { concurrency: "unbounded" }
        )
        expect(outcomes.filter(Either.isRight)).toHaveLength(1)
        for (const outcome of outcomes.filter(Either.isLeft)) {
          expect(outcome.left).toEqual(PreconditionFailed.changed("web"))
        }
      })
    )
  )

  for (const header of ["", ",", "abc", '"abc', 'abc"', 'w/"a"', '*, "a"', '"a" "b"', '"a\tb"', "W/", 'W/ "a"']) {
    it.live(
      `of ${JSON.stringify(header)} is a 400, and changes nothing`,
      over(
        Effect.gen(function* () {
          for (const name of ["if-match", "if-none-match"]) {
            const answers = [
              yield* put("web", { vcpu_count: 2 }, { [name]: header }),
              yield* send({ method: "DELETE", path: "/v1/vms/web", headers: { [name]: header } }),
              yield* send({ method: "GET", path: "/v1/vms/web", headers: { [name]: header } })
            ]
            for (const answer of answers) {
              expectIssue(answer, 400, new RegExp(`^${name}: expected \\* or entity tags in double quotes`))
            }
          }
          expect((yield* read()).vm).toEqual(web)
        })
      )
    )
  }
})

describe("If-None-Match", () => {
  it.live(
    "of the record's tag makes GET a 304 without a body",
    over(
      Effect.gen(function* () {
        const { tag } = yield* read()
        for (const method of ["GET", "HEAD"]) {
          for (const header of [tag, `W/${tag}`, `${others},${tag}`, "*"]) {
            const answer = yield* send({ method, path: "/v1/vms/web", headers: { "if-none-match": header } })
            expect([answer.status, answer.body, answer.headers["etag"]]).toEqual([304, "", tag])
            expect(answer.headers).not.toHaveProperty("content-type")
          }
          const answer = yield* send({ method, path: "/v1/vms/web", headers: { "if-none-match": others } })
          expect([answer.status, answer.headers["etag"]]).toEqual([200, tag])
        }
        const { get } = yield* vms
        const call = get({ path, headers: { "if-none-match": tag } })
        expect(yield* Effect.flip(call)).toMatchObject({ _tag: "NotModified" })
        yield* Effect.flatMap(vms, ({ update }) => update({ path, payload: { vcpu_count: 2 } }))
        expect(yield* call).toMatchObject({ vcpu_count: 2 })
      })
    )
  )

  it.live(
    "* lets PUT create, and nothing else",
    over(
      Effect.gen(function* () {
        const headers = { "if-none-match": "*" }
        const { replace } = yield* vms
        expect((yield* put("new", {}, headers)).status).toBe(201)
        expectIssue(yield* put("new", {}, headers), 412, "VM 'new' already exists: without If-None-Match it is updated")
        expect(yield* Effect.flip(replace({ path, headers, payload: { role: "work", ...sizes } }))).toEqual(
          PreconditionFailed.exists("web")
        )
        expect((yield* read()).vm).toEqual(web)
      })
    )
  )

  it.live(
    "is checked by the other changes too",
    over(
      Effect.gen(function* () {
        const { delete: remove, update } = yield* vms
        const { tag } = yield* read()
        const headers = { "if-none-match": tag }
        expect(yield* Effect.flip(update({ path, headers, payload: {} }))).toEqual(PreconditionFailed.unchanged("web"))
        expect(yield* Effect.flip(remove({ path, headers }))).toEqual(PreconditionFailed.unchanged("web"))
        yield* remove({ path, headers: { "if-none-match": others } })
      })
    )
  )
})

describe("parseEntityTags", () => {
  const opaque = FastCheck.stringMatching(/^[!#-~\u0080-\u00ff]{0,9}$/)
  const separator = FastCheck.constantFrom(",", " , ", ",,", "\t,\t ,")
  it.prop(
    "reads every list, whatever the space and empty elements between its tags",
    [FastCheck.array(FastCheck.tuple(FastCheck.boolean(), opaque, separator), { minLength: 1, maxLength: 9 })],
    ([tags]) => {
      const text = tags.map(([isWeak, tag, separator]) => `${isWeak ? "W/" : ""}"${tag}"${separator}`).join("")
      expect(parseEntityTags(text)).toEqual(tags.map(([isWeak, tag]) => ({ isWeak, opaque: `"${tag}"` })))
    }
  )

  it("takes time in proportion to the header's length", () => {
    for (const text of [" ".repeat(100_000), " \t,".repeat(50_000), `${'"a",'.repeat(50_000)}"`]) {
      expect(parseEntityTags(text)).toBeUndefined()
    }
  })
})
