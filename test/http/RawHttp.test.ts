import { createHash } from "node:crypto"
import * as Net from "node:net"
import { gzipSync } from "node:zlib"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type { Vm } from "../../src/domain/Vm.js"
import { type Answer, type Request, requestBytes, sendAndHangUp, sendBytes } from "../support/HttpBytes.js"
import { record } from "../support/Records.js"
import { jsonOf, secret, send, TestServer } from "../support/TestServer.js"

/** Runs the body against a server of its own that begins with these records. */
const over =
  <A, E>(body: Effect.Effect<A, E, TestServer>, initial: ReadonlyArray<Vm> = []) =>
  () =>
    Effect.provide(body, TestServer.layer({ initial }))

/** What no answer may show: SQL, a path inside the code, a stack. */
const inside = /SELECT|INSERT|UPDATE |DELETE FROM|SQLITE_|no such column|node_modules|\/src\/|\.[cm]?[jt]s\b|\n\s+at /

/** Every answer that is no success, whatever caused it, is JSON that says what went wrong. */
const expectFailure = (answer: Answer | undefined, ...statuses: ReadonlyArray<number>) => {
  if (answer === undefined) throw new Error("the server closed the connection without an answer")
  expect(statuses, answer.body).toContain(answer.status)
  expect(answer.headers["content-type"]).toMatch(/^application\/json(;|$)/)
  const body = jsonOf(answer)
  expect(body["error"]).toEqual(expect.stringMatching(/\S/))
  expect(answer.body).not.toMatch(inside)
  return body
}

const requestId = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/** A request that gets as far as the API: what comes back bears a request id, and is to be taken for what it says. */
const ask = (request: Request) =>
  Effect.tap(send(request), ({ headers }) => {
    expect(headers["x-request-id"]).toMatch(requestId)
    expect(headers["x-content-type-options"]).toBe("nosniff")
  })

const post = (body: unknown, more?: Partial<Request>) =>
  ask({ method: "POST", path: "/v1/vms", body: typeof body === "string" ? body : JSON.stringify(body), ...more })

const listed = Effect.map(send({ path: "/v1/vms" }), (answer) => {
  expect(answer.status).toBe(200)
  return (JSON.parse(answer.body) as ReadonlyArray<Vm>).map(({ name }) => name)
})

const pathsOf = (body: Readonly<Record<string, unknown>>) =>
  (body["issues"] as ReadonlyArray<{ readonly path: string }>).map(({ path }) => path).sort()

describe("a record over HTTP", () => {
  it.live(
    "is created from a name alone, as the plan's client sends it",
    over(
      Effect.gen(function* () {
        const { address } = yield* TestServer
        const [answer] = yield* sendBytes(
          address,
          `POST /v1/vms HTTP/1.1\r\ncontent-type: application/json\r\nhost: 127.0.0.1:${address.port}\r\n` +
            'user-agent: whatever/1\r\nconnection: close\r\ncontent-length: 12\r\n\r\n{"name":"x"}'
        )
        expect(answer?.status).toBe(201)
        expect(answer?.headers["content-type"]).toMatch(/^application\/json(;|$)/)
        const vm = JSON.parse(answer?.body ?? "") as Vm
        expect(vm).toMatchObject({
          name: "x",
          role: "work",
          state: "created",
          cid: 3,
          vcpu_count: 1,
          mem_size_mib: 128
        })
        expect(answer?.headers["location"]).toBe(`/v1/vms/${vm.id}`)
      })
    )
  )

  it.live(
    "is created by fetch, which finds it at Location",
    over(
      Effect.gen(function* () {
        const { url } = yield* TestServer
        const init = { method: "POST", body: '{"name":"x"}', headers: { "content-type": "application/json" } }
        const created = yield* Effect.promise(() => fetch(`${url}/v1/vms`, init))
        expect(created.status).toBe(201)
        const found = yield* Effect.promise(() => fetch(new URL(created.headers.get("location") ?? "", url)))
        expect(found.status).toBe(200)
        expect(yield* Effect.promise(() => found.json())).toStrictEqual(yield* Effect.promise(() => created.json()))
      })
    )
  )

  it.live(
    "has no field that is not set, in any answer",
    over(
      Effect.gen(function* () {
        const created = yield* post({ name: "x" })
        const fields = "id name role state cid vcpu_count mem_size_mib created_at updated_at".split(" ").sort()
        expect(Object.keys(jsonOf(created)).sort()).toEqual(fields)
        const shown = yield* ask({ path: "/v1/vms/x" })
        expect(jsonOf(shown)).toStrictEqual(jsonOf(created))
        const list = yield* ask({ path: "/v1/vms" })
        expect(JSON.parse(list.body)).toStrictEqual([jsonOf(created)])
        for (const answer of [created, shown, list]) expect(answer.body).not.toContain("null")
      })
    )
  )

  it.live(
    "has every field that is set",
    over(
      Effect.gen(function* () {
        const { body } = yield* ask({ path: "/v1/vms/full" })
        expect(JSON.parse(body)).toMatchObject({
          state: "stopped",
          started_at: 1,
          stopped_at: 2,
          pid: 3,
          uds_path: "/u"
        })
      }),
      [record("full", { state: "stopped", started_at: 1, stopped_at: 2, pid: 3, uds_path: "/u" })]
    )
  )

  it.live(
    "is deleted with an empty 204, and then with 404",
    over(
      Effect.gen(function* () {
        const answer = yield* ask({ method: "DELETE", path: "/v1/vms/web" })
        expect(answer.status).toBe(204)
        expect(answer.body).toBe("")
        expect(answer.headers["content-length"] ?? "0").toBe("0")
        expect(answer.headers["transfer-encoding"]).toBeUndefined()
        const body = expectFailure(yield* ask({ method: "DELETE", path: "/v1/vms/web" }), 404)
        expect(body).toStrictEqual({ _tag: "NotFound", error: "VM 'web' not found" })
      }),
      [record("web")]
    )
  )

  it.live(
    "fails with the contract's messages for a taken name and a running VM",
    over(
      Effect.gen(function* () {
        expect(expectFailure(yield* post({ name: "web" }), 409)["error"]).toBe("VM name 'web' already exists")
        expect(expectFailure(yield* ask({ method: "DELETE", path: "/v1/vms/web" }), 409)["error"]).toBe(
          "cannot delete VM 'web': VM is running, stop it first"
        )
      }),
      [record("web", { state: "running" })]
    )
  )

  it.live(
    "is listed newest first: by creation time, then the later insert",
    over(
      Effect.gen(function* () {
        expect(yield* listed).toEqual(["newest", "later", "earlier", "oldest"])
        yield* post({ name: "now" })
        expect(yield* listed).toEqual(["now", "newest", "later", "earlier", "oldest"])
      }),
      [
        record("earlier", { cid: 3, created_at: 2000 }),
        record("newest", { cid: 4, created_at: 3000 }),
        record("later", { cid: 5, created_at: 2000 }),
        record("oldest", { cid: 6, created_at: 1000 })
      ]
    )
  )

  it.live(
    "is served by a daemon whose health is 200 and ok",
    over(
      Effect.gen(function* () {
        const answer = yield* ask({ path: "/v1/health" })
        expect(answer.status).toBe(200)
        expect(jsonOf(answer)).toStrictEqual({
          status: "ok",
          version: "0.1.0",
          database: { path: ":memory:", table_count: 0, size_bytes: 0 }
        })
      })
    )
  )

  it.live(
    "returns the same headers for HEAD as for GET, without a body",
    over(
      Effect.gen(function* () {
        for (const path of [
          "/v1/vms",
          "/v1/vms/web",
          "/v1/vms/ghost",
          "/v1/health",
          "/openapi.json",
          "/docs",
          "/",
          "/nope"
        ]) {
          const shown = yield* ask({ path })
          const head = yield* ask({ method: "HEAD", path })
          expect(head.status, path).toBe(shown.status)
          expect(head.body, path).toBe("")
          expect(head.headers["content-type"], path).toBe(shown.headers["content-type"])
          expect(head.headers["content-length"], path).toBe(shown.headers["content-length"])
        }
      }),
      [record("web")]
    )
  )

  it.live(
    "is not kept by a cache if it is an error",
    over(
      Effect.gen(function* () {
        for (const [path, status] of [
          ["/nope", 404],
          ["/v1/vms/ghost", 404],
          ["/v1/events?since=x", 410]
        ] as const) {
          const answer = yield* ask({ path })
          expect(answer.status, path).toBe(status)
          expect(answer.headers["cache-control"], path).toBe("no-store")
        }
      })
    )
  )

  it.live(
    "comes with a request id that no other answer has",
    over(
      Effect.gen(function* () {
        const ids = yield* Effect.forEach([1, 2, 3], () =>
          Effect.map(ask({ path: "/v1/vms" }), ({ headers }) => headers["x-request-id"])
        )
        expect(new Set(ids).size).toBe(3)
      })
    )
  )
})

describe("the bounds of a new record", () => {
  const longest = `a${"-".repeat(61)}z`
  const accepted = [
    { name: "a" },
    { name: "7" },
    { name: longest },
    { name: "a--b" },
    { name: "xn--bcher-kva" },
    // One digit short of a UUID, and one that is no hexadecimal digit.
    { name: "0b1f4b0e-4f4e-4c6e-9a57-0a4f6f8f7a1" },
    { name: "0b1f4b0e-4f4e-4c6e-9a57-0a4f6f8f7a1g" },
    { name: "x", role: "portal" },
    { name: "x", role: "work" },
    { name: "x", role: "service" },
    { name: "x", vcpu_count: 1 },
    { name: "x", vcpu_count: 32 },
    { name: "x", mem_size_mib: 1 },
    { name: "x", mem_size_mib: 1048576 }
  ]

  for (const params of accepted) {
    it.live(
      `accept ${JSON.stringify(params)}`,
      over(
        Effect.gen(function* () {
          const answer = yield* post(params)
          expect(answer.status, answer.body).toBe(201)
          expect(jsonOf(answer)).toMatchObject({ role: "work", vcpu_count: 1, mem_size_mib: 128, ...params })
        })
      )
    )
  }

  const badNames = [
    "",
    "-",
    "-a",
    "a-",
    `${longest}z`,
    "A",
    "aB",
    "a_b",
    "a.b",
    "a b",
    " a",
    "a\n",
    "a\u0000",
    "ü",
    "a/b",
    "..",
    "0b1f4b0e-4f4e-4c6e-9a57-0a4f6f8f7a11",
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff"
  ]
  const refused: ReadonlyArray<readonly [body: Record<string, unknown>, ...paths: ReadonlyArray<string>]> = [
    [{}, "name"],
    [{ vcpu_count: 2 }, "name"],
    ...badNames.map((name) => [{ name }, "name"] as const),
    ...[null, 1, true, [], ["x"], {}].map((name) => [{ name }, "name"] as const),
    ...[null, 1, true, [], ["work"], {}, "", "Work", "work ", "admin"].map(
      (role) => [{ name: "x", role }, "role"] as const
    ),
    ...[null, "2", "", true, [], [2], {}, 0, -1, 33, 1.5, 1e10].map(
      (vcpu_count) => [{ name: "x", vcpu_count }, "vcpu_count"] as const
    ),
    ...[null, "128", "", true, [], [128], {}, 0, -128, 1048577, 128.5, 1e100].map(
      (mem_size_mib) => [{ name: "x", mem_size_mib }, "mem_size_mib"] as const
    ),
    [{ name: "x", colour: "blue" }, "colour"],
    [{ name: "x", id: "0b1f4b0e-4f4e-4c6e-9a57-0a4f6f8f7a11" }, "id"],
    [{ name: "x", cid: 7 }, "cid"],
    [{ name: "x", state: "running" }, "state"],
    [{ name: "x", vcpuCount: 2 }, "vcpuCount"],
    [{ name: "x", Role: "work" }, "Role"],
    [{ name: "x", constructor: 1 }, "constructor"],
    [JSON.parse('{"name":"x","__proto__":{"role":"portal"}}'), "__proto__"],
    [
      { name: "My_VM", role: "admin", vcpu_count: 0, mem_size_mib: "128", colour: "blue", zone: 1 },
      "colour",
      "mem_size_mib",
      "name",
      "role",
      "vcpu_count",
      "zone"
    ]
  ]

  for (const [params, ...paths] of refused) {
    it.live(
      `refuse ${JSON.stringify(params).slice(0, 90)}, naming ${paths.join(", ")}`,
      over(
        Effect.gen(function* () {
          const body = expectFailure(yield* post(params), 400)
          expect(pathsOf(body)).toEqual(paths)
          for (const path of paths) expect(body["error"]).toContain(path)
          expect(yield* listed).toEqual([])
        })
      )
    )
  }

  it.live(
    "state the rule that a name breaks",
    over(
      Effect.gen(function* () {
        const { error } = expectFailure(yield* post({ name: "My_VM" }), 400)
        expect(error).toContain("My_VM")
        expect(error).toMatch(/1 to 63/)
        expect(error).toMatch(/a-z.*0-9/)
        expect(error).toMatch(/UUID/)
      })
    )
  )

  it.live(
    "state the bounds that a number breaks",
    over(
      Effect.gen(function* () {
        const { error } = expectFailure(yield* post({ name: "x", vcpu_count: 33, mem_size_mib: 0 }), 400)
        expect(error).toMatch(/vcpu_count.*1.*32.*33/)
        expect(error).toMatch(/mem_size_mib.*1.*1048576.*0/)
      })
    )
  )
})

describe("the body of a request", () => {
  const notAnObject = [
    ["no byte", ""],
    ["nothing but space", "  \r\n"],
    ["half an object", '{"name":'],
    ["an object and a half", '{"name":"x"}}'],
    ["two objects", '{"name":"x"}{"name":"y"}'],
    ["a trailing comma", '{"name":"x",}'],
    ["single quotes", "{'name':'x'}"],
    ["a form", "name=x"],
    ["no UTF-8", Buffer.from([0x22, 0xff, 0xfe])],
    ["null", "null"],
    ["an array", '[{"name":"x"}]'],
    ["an empty array", "[]"],
    ["a string", '"x"'],
    ["a number", "1"],
    ["a boolean", "true"]
  ] as const

  for (const [what, body] of notAnObject) {
    it.live(
      `fails with 400 and a readable message when it is ${what}`,
      over(
        Effect.gen(function* () {
          const { error } = expectFailure(yield* ask({ method: "POST", path: "/v1/vms", body }), 400)
          // Words of the schema library, and a `null` that was not sent.
          expect(error).not.toMatch(/Encoded side|Struct\b/)
          if (body !== "null") expect(error).not.toMatch(/\bnull\b/)
          expect(yield* listed).toEqual([])
        })
      )
    )
  }

  it.live(
    "fails with 400 when it is missing",
    over(
      Effect.gen(function* () {
        expectFailure(yield* ask({ method: "POST", path: "/v1/vms" }), 400)
        expectFailure(yield* ask({ method: "POST", path: "/v1/vms", headers: { "content-type": "text/plain" } }), 400)
        expect(yield* listed).toEqual([])
      })
    )
  )

  const types = [
    undefined,
    "",
    "text/plain",
    "text/plain; charset=utf-8",
    "text/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/octet-stream",
    "application/jsonp",
    "application/json-patch+json",
    "text/plain; application/json",
    "text/plain, application/json"
  ]
  for (const type of types) {
    it.live(
      `fails with 415 when sent as ${type ?? "nothing"}`,
      over(
        Effect.gen(function* () {
          const { error } = expectFailure(yield* post({ name: "x" }, { headers: { "content-type": type } }), 415)
          expect(error).toContain("application/json")
          expect(yield* listed).toEqual([])
        })
      )
    )
  }

  for (const type of ["application/json; charset=utf-8", "application/json;charset=UTF-8", "Application/JSON"]) {
    it.live(
      `is accepted when sent as ${type}`,
      over(
        Effect.gen(function* () {
          expect((yield* post({ name: "x" }, { headers: { "content-type": type } })).status).toBe(201)
        })
      )
    )
  }

  for (const [what, body] of [
    ["that is compressed", gzipSync('{"name":"x"}')],
    ["that is only said to be compressed", Buffer.from('{"name":"x"}')]
  ] as const) {
    it.live(
      `fails with 415 for ${what}`,
      over(
        Effect.gen(function* () {
          const headers = {
            "content-encoding": "gzip",
            "content-type": "application/json",
            "content-length": `${body.length}`
          }
          expectFailure(yield* ask({ method: "POST", path: "/v1/vms", body, headers }), 415)
          expect(yield* listed).toEqual([])
        })
      )
    )
  }

  const limit = 1024 * 1024
  const ofSize = (size: number) => `{"name":"big"${" ".repeat(size - 14)}}`
  const inChunks = (body: string, size = 64 * 1024) => {
    const chunks: Array<string> = []
    for (let at = 0; at < body.length; at += size) {
      const chunk = body.slice(at, at + size)
      chunks.push(`${chunk.length.toString(16)}\r\n${chunk}\r\n`)
    }
    return `${chunks.join("")}0\r\n\r\n`
  }
  const chunked = { "content-type": "application/json", "content-length": undefined, "transfer-encoding": "chunked" }
  const transfers = [
    ["of announced length", (body: string) => ({ body, headers: {} })],
    ["in chunks", (body: string) => ({ body: inChunks(body), headers: chunked })]
  ] as const

  for (const [how, transfer] of transfers) {
    it.live(
      `is accepted up to 1 MiB, ${how}`,
      over(
        Effect.gen(function* () {
          const answer = yield* ask({ method: "POST", path: "/v1/vms", ...transfer(ofSize(limit)) })
          expect(answer.status, answer.body).toBe(201)
        })
      )
    )

    it.live(
      `fails with 413 one byte above, ${how}, and the server goes on serving`,
      over(
        Effect.gen(function* () {
          const request = { method: "POST", path: "/v1/vms", ...transfer(ofSize(limit + 1)) }
          const { error } = expectFailure(yield* ask(request), 413)
          expect(error).toContain("1048576")
          expect(yield* listed).toEqual([])
        })
      )
    )

    it.live(
      `fails with 413 at many MiB, ${how}, and the connection stays usable`,
      over(
        Effect.gen(function* () {
          const { address } = yield* TestServer
          const transferred = transfer(ofSize(8 * limit))
          const first = requestBytes(address, {
            method: "POST",
            path: "/v1/vms",
            ...transferred,
            headers: { ...transferred.headers, connection: "keep-alive" }
          })
          const second = requestBytes(address, { path: "/v1/vms" })
          const [refusal, answer] = yield* sendBytes(address, Buffer.concat([first, second]))
          expectFailure(refusal, 413)
          // A server may close such a connection instead (RFC 9110, 15.5.14).
          if (answer !== undefined || refusal?.headers["connection"] !== "close") expect(answer?.body).toBe("[]")
        })
      )
    )
  }

  it.live(
    "fails with 413 before it is sent, when it is announced as too large",
    over(
      Effect.gen(function* () {
        const { address } = yield* TestServer
        const headers = { "content-type": "application/json", "content-length": String(limit + 1) }
        const [answer] = yield* sendBytes(address, requestBytes(address, { method: "POST", path: "/v1/vms", headers }))
        expectFailure(answer, 413)
      })
    )
  )

  it.live(
    "is assembled from small chunks",
    over(
      Effect.gen(function* () {
        const body = inChunks('{"name":"in-chunks","role":"portal"}', 1)
        const answer = yield* ask({ method: "POST", path: "/v1/vms", body, headers: chunked })
        expect(answer.status).toBe(201)
        expect(jsonOf(answer)).toMatchObject({ name: "in-chunks", role: "portal" })
      })
    )
  )

  it.live(
    "is accepted after Expect: 100-continue",
    over(
      Effect.gen(function* () {
        expect((yield* post({ name: "x" }, { headers: { expect: "100-continue" } })).status).toBe(201)
      })
    )
  )

  const megabyte = "a".repeat(1_000_000)
  for (const [what, params, path] of [
    ["a name", { name: megabyte }, "name"],
    ["a name in an array", { name: [megabyte] }, "name"],
    ["a role", { name: "x", role: megabyte }, "role"],
    ["a number of vCPUs", { name: "x", vcpu_count: megabyte }, "vcpu_count"],
    ["an unknown field", { name: "x", colour: megabyte }, "colour"]
  ] as const) {
    it.live(
      `fails with a short 400 for ${what} of 1 MB`,
      over(
        Effect.gen(function* () {
          const answer = yield* post(params)
          expect(pathsOf(expectFailure(answer, 400))).toEqual([path])
          expect(answer.body.length).toBeLessThan(2000)
          expect(yield* listed).toEqual([])
        })
      )
    )
  }

  it.live(
    "fails with 400 for a thousand unknown fields",
    over(
      Effect.gen(function* () {
        const unknown = Object.fromEntries(Array.from({ length: 1000 }, (_, n) => [`f${n}`, n]))
        expectFailure(yield* post({ name: "x", ...unknown }), 400)
        expect(yield* listed).toEqual([])
      })
    )
  )

  it.live(
    "fails with 400 when nested ten thousand deep",
    over(
      Effect.gen(function* () {
        expectFailure(yield* post(`{"name":${"[".repeat(10_000)}${"]".repeat(10_000)}}`), 400)
        expect(yield* listed).toEqual([])
      })
    )
  )
})

describe("pages", () => {
  it.live(
    "link to the next with the same parameters, until the last",
    over(
      Effect.gen(function* () {
        for (const name of ["a", "b", "c"]) yield* post({ name, role: "portal" })
        yield* post({ name: "other" })
        const first = yield* send({ path: "/v1/vms?role=portal&limit=2" })
        expect(JSON.parse(first.body).map(({ name }: { name: string }) => name)).toEqual(["c", "b"])
        const link = first.headers["link"] ?? ""
        expect(link).toMatch(/^<\/v1\/vms\?role=portal&limit=2&cursor=\d+\.\d+>; rel="next"$/)
        const second = yield* send({ path: /<(.*)>/.exec(link)?.[1] ?? "" })
        expect(second.status).toBe(200)
        expect(JSON.parse(second.body).map(({ name }: { name: string }) => name)).toEqual(["a"])
        expect(second.headers).not.toHaveProperty("link")
        expect((yield* send({ path: "/v1/vms" })).headers).not.toHaveProperty("link")
        expect((yield* send({ path: "/v1/vms?limit=1000" })).headers).not.toHaveProperty("link")
      })
    )
  )
})

describe("query parameters", () => {
  const unknown: ReadonlyArray<readonly [Request, path: string]> = [
    [{ method: "POST", path: "/v1/vms?colour=blue", body: '{"name":"x"}' }, "colour"],
    [{ method: "POST", path: "/v1/vms?role=portal", body: '{"name":"x"}' }, "role"],
    [{ path: "/v1/vms?colour=blue" }, "colour"],
    [{ path: "/v1/vms?Role=work" }, "Role"],
    [{ path: "/v1/vms?name=web" }, "name"],
    [{ path: "/v1/vms?role[]=work" }, "role[]"],
    [{ path: "/v1/vms?__proto__=work" }, "__proto__"],
    [{ path: "/v1/vms?role=work&offset=1" }, "offset"],
    ...["0", "1001", "-1", "1.5", "", "ten", "1e2", "0x10"].map(
      (limit) => [{ path: `/v1/vms?limit=${limit}` }, "limit"] as const
    ),
    [{ path: "/v1/vms?limit=1&limit=2" }, "limit"],
    ...["", "x", "1", "1.", "1.2.3", "1.5e3", "1.NaN", `1.${"9".repeat(20)}`].map(
      (cursor) => [{ path: `/v1/vms?cursor=${cursor}` }, "cursor"] as const
    ),
    ...["", "%00", "x".repeat(256)].map(
      (prefix) => [{ path: `/v1/vms?name_prefix=${prefix}` }, "name_prefix"] as const
    ),
    [{ path: "/v1/vms/web?verbose" }, "verbose"],
    [{ path: "/v1/vms/web?role=work" }, "role"],
    [{ path: "/v1/vms/ghost?verbose=1" }, "verbose"],
    [{ method: "DELETE", path: "/v1/vms/web?force=true" }, "force"],
    [{ path: "/v1/health?verbose=1" }, "verbose"],
    [{ path: "/?x=%zz" }, "x"],
    [{ path: "/v1/vms?role=admin" }, "role"],
    [{ path: "/v1/vms?role=Work" }, "role"],
    [{ path: "/v1/vms?role=work%20" }, "role"],
    [{ path: "/v1/vms?role=work,portal" }, "role"],
    [{ path: "/v1/vms?role=%zz" }, "role"],
    [{ path: "/v1/vms?role=" }, "role"],
    [{ path: "/v1/vms?role" }, "role"],
    [{ path: "/v1/vms?role=work&role=portal" }, "role"],
    [{ path: "/v1/vms?role=work&role=work" }, "role"],
    [{ path: "/v1/vms?state=deleted" }, "state"],
    [{ path: "/v1/vms?state=" }, "state"],
    [{ path: "/v1/vms?state=running&state=created" }, "state"]
  ]

  for (const [request, path] of unknown) {
    it.live(
      `fail with 400 and change nothing: ${request.method ?? "GET"} ${request.path}`,
      over(
        Effect.gen(function* () {
          const body = expectFailure(yield* ask(request), 400)
          expect(pathsOf(body)).toEqual([path])
          expect(body["error"]).toContain(path)
          expect(yield* listed).toEqual(["web"])
        }),
        [record("web")]
      )
    )
  }

  it.live(
    "are all named when they are bad",
    over(
      Effect.gen(function* () {
        const body = expectFailure(yield* ask({ path: "/v1/vms?role=admin&state=gone&colour=blue" }), 400)
        expect(pathsOf(body)).toEqual(["colour", "role", "state"])
      })
    )
  )

  it.live(
    "are named when they are given more than once",
    over(
      Effect.gen(function* () {
        const body = expectFailure(yield* ask({ path: "/v1/vms?limit=5&limit=6&role=work&role=work&state=gone" }), 400)
        expect(body["error"]).toContain("role: given more than once; state: expected one of")
        expect(body["error"]).toContain("limit: given more than once")
      })
    )
  )

  it.live(
    "filter in any order, and an empty query does not",
    over(
      Effect.gen(function* () {
        for (const [query, expected] of [
          ["?", ["p", "w"]],
          ["?role=portal", ["p"]],
          ["?state=running", ["w"]],
          ["?state=running&role=work", ["w"]],
          ["?role=portal&state=running", []],
          ["?role=%77ork", ["w"]]
        ] as const) {
          const answer = yield* ask({ path: `/v1/vms${query}` })
          expect(answer.status, query).toBe(200)
          const names = (JSON.parse(answer.body) as ReadonlyArray<Vm>).map(({ name }) => name)
          expect(names, query).toEqual(expected)
        }
      }),
      [record("w", { state: "running" }), record("p", { cid: 4, role: "portal" })]
    )
  )
})

describe("paths and methods", () => {
  const nowhere: ReadonlyArray<Request> = [
    { path: "//" },
    { path: "/v1" },
    { path: "/v1/" },
    { path: "/v2/vms" },
    { path: "/v1/vmss" },
    { path: "/v1/vms/" },
    { path: "/v1/vms/web/" },
    { path: "/v1/vms/web/console" },
    { path: "/V1/vms" },
    { path: "/v1/VMS" },
    { path: "/v1/Health" },
    { path: "/v1/health/" },
    { path: "/openapi.json/" },
    { path: "/OpenAPI.json" },
    { path: "/docs/" },
    { path: "/docs/index.html" },
    { path: "/../etc/passwd" },
    { path: "/favicon.ico" },
    { method: "POST", path: "/V1/VMS", body: '{"name":"x"}' },
    { method: "POST", path: "/v1/x/../vms", body: '{"name":"x"}' },
    { method: "POST", path: "/nope", body: '{"name":"x"}' },
    { method: "DELETE", path: "/v1/vms/web/" },
    { method: "OPTIONS", path: "*" }
  ]

  for (const request of nowhere) {
    it.live(
      `fail with 404: ${request.method ?? "GET"} ${request.path}`,
      over(
        Effect.gen(function* () {
          expectFailure(yield* ask(request), 404)
          expect(yield* listed).toEqual(["web"])
        }),
        [record("web")]
      )
    )
  }

  const allowed: Readonly<Record<string, ReadonlyArray<string>>> = {
    "/v1/vms": ["GET", "HEAD", "POST"],
    "/v1/vms/web": ["DELETE", "GET", "HEAD", "PATCH", "PUT"],
    "/v1/vms/a%2Fb": ["DELETE", "GET", "HEAD", "PATCH", "PUT"],
    "/v1/vms/web/start": ["POST"],
    "/v1/vms/web/stop": ["POST"],
    "/v1/vms/web/logs": ["GET", "HEAD"],
    "/v1/vms/web/wait": ["GET", "HEAD"],
    "/v1/health": ["GET", "HEAD"],
    "/openapi.json": ["GET", "HEAD"],
    "/docs": ["GET", "HEAD"],
    "/": ["GET", "HEAD"]
  }

  for (const [path, methods] of Object.entries(allowed)) {
    it.live(
      `allow ${methods.join(", ")} on ${path}, and name them to others`,
      over(
        Effect.gen(function* () {
          for (const method of ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"]) {
            if (methods.includes(method)) continue
            const answer = yield* ask({ method, path, headers: { "content-length": "0" } })
            const { error } = expectFailure(answer, 405)
            expect(answer.headers["allow"]?.split(", ").sort()).toEqual(methods)
            expect(error).toContain(method)
          }
          expect(yield* listed).toEqual(["web"])
        }),
        [record("web")]
      )
    )
  }

  for (const [path, name] of [
    ["a%2Fb%3Fc", "a/b?c"],
    ["%C3%BC", "ü"],
    ["%25", "%"],
    ["%2525", "%25"],
    ["a%20b", "a b"],
    ["a+b", "a+b"],
    ["%2E%2E", ".."],
    ["..", ".."],
    ["%27%20OR%201%3D1", "' OR 1=1"],
    ["%00", "\u0000"]
  ] as const) {
    it.live(
      `read /v1/vms/${path} as ${JSON.stringify(name)}`,
      over(
        Effect.gen(function* () {
          expect(expectFailure(yield* ask({ path: `/v1/vms/${path}` }), 404)["error"]).toBe(`VM '${name}' not found`)
          const removal = yield* ask({ method: "DELETE", path: `/v1/vms/${path}` })
          expect(expectFailure(removal, 404)["error"]).toBe(`VM '${name}' not found`)
          expect(yield* listed).toEqual(["web"])
        }),
        [record("web")]
      )
    )
  }

  for (const name of ["%zz", "%", "a%2", "%ff", "%C3", "%E0%A4%A", "%c0%af"]) {
    it.live(
      `fail with 400 for the bad percent-encoding of /v1/vms/${name}`,
      over(
        Effect.gen(function* () {
          // 405 would say that GET is not allowed where it is.
          expectFailure(yield* ask({ path: `/v1/vms/${name}` }), 400, 404)
          expectFailure(yield* ask({ method: "DELETE", path: `/v1/vms/${name}` }), 400, 404)
          expect(yield* listed).toEqual(["web"])
        }),
        [record("web")]
      )
    )
  }

  it.live(
    "fail for a name of 1 MB, and the server goes on serving",
    over(
      Effect.gen(function* () {
        expectFailure(yield* send({ path: `/v1/vms/${"a".repeat(1_000_000)}` }), 431, 414)
        expect(yield* listed).toEqual([])
      })
    )
  )

  it.live(
    "fail with 404 for a name of 10 kB",
    over(
      Effect.gen(function* () {
        expectFailure(yield* ask({ path: `/v1/vms/${"a".repeat(10_000)}` }), 404)
      })
    )
  )

  // RFC 9112, 3.2.2: a server must take it.
  it.live(
    "accept a target in absolute form, for any method",
    over(
      Effect.gen(function* () {
        const { url } = yield* TestServer
        expect((yield* ask({ path: `${url}/v1/vms` })).body).toBe("[]")
        expect((yield* post({ name: "x" }, { path: `${url}/v1/vms` })).status).toBe(201)
        expect((yield* ask({ method: "DELETE", path: `${url}/v1/vms/x` })).status).toBe(204)
      })
    )
  )
})

describe("malformed and unusual requests", () => {
  const head = (address: { readonly port: number }) => `Host: 127.0.0.1:${address.port}\r\nConnection: close\r\n`
  const json = "Content-Type: application/json\r\n"
  const vms = "/v1/vms HTTP/1.1\r\n"

  const garbage: ReadonlyArray<readonly [what: string, bytes: (head: string) => string | Uint8Array]> = [
    ["words", () => "hello\r\n\r\n"],
    ["a TLS hello", () => Buffer.from("16030100a5010000a10303", "hex")],
    ["zeros", () => new Uint8Array(64)],
    ["an HTTP/2 preface", () => "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
    ["a version that is none", (common) => `GET /v1/vms HTTP/9.9\r\n${common}\r\n`],
    ["a method that is none", (common) => `FROB ${vms}${common}\r\n`],
    ["a header without a colon", (common) => `GET ${vms}${common}nonsense\r\n\r\n`],
    ["a path with a raw ü", (common) => `GET /v1/vms/ü HTTP/1.1\r\n${common}\r\n`],
    ["a length that is no number", (common) => `POST ${vms}${common}${json}Content-Length: x\r\n\r\n`],
    ["a negative length", (common) => `POST ${vms}${common}${json}Content-Length: -1\r\n\r\n`],
    [
      "two lengths",
      (common) => `POST ${vms}${common}${json}Content-Length: 12\r\nContent-Length: 2\r\n\r\n{"name":"x"}`
    ],
    [
      "a length and chunks",
      (common) =>
        `POST ${vms}${common}${json}Content-Length: 12\r\nTransfer-Encoding: chunked\r\n\r\nc\r\n{"name":"x"}\r\n0\r\n\r\n`
    ],
    [
      "a chunk of no size",
      (common) => `POST ${vms}${common}${json}Transfer-Encoding: chunked\r\n\r\nzz\r\n{"name":"x"}\r\n0\r\n\r\n`
    ],
    ["no Host", () => `GET ${vms}Connection: close\r\n\r\n`],
    ["no Host, with a body", () => `POST ${vms}Connection: close\r\n${json}Content-Length: 12\r\n\r\n{"name":"x"}`]
  ]

  for (const [what, bytes] of garbage) {
    it.live(
      `fail with 400 for ${what}, and the server goes on serving`,
      over(
        Effect.gen(function* () {
          const { address } = yield* TestServer
          const [answer] = yield* sendBytes(address, bytes(head(address)))
          expect(expectFailure(answer, 400)).toMatchObject({ _tag: "BadRequest" })
          expect(answer?.headers["x-request-id"]).toMatch(requestId)
          expect(answer?.headers["x-content-type-options"]).toBe("nosniff")
          expect(yield* listed).toEqual([])
        })
      )
    )
  }

  it.live(
    "fail with 417 for an unknown expectation",
    over(
      Effect.gen(function* () {
        expectFailure(yield* send({ path: "/v1/vms", headers: { expect: "miracles" } }), 417)
        expect(yield* listed).toEqual([])
      })
    )
  )

  for (const [what, headers] of [
    ["one long header", { "x-long": "a".repeat(20_000) }],
    ["many headers", Object.fromEntries(Array.from({ length: 1000 }, (_, n) => [`x-${n}`, "a".repeat(20)]))]
  ] as const) {
    it.live(
      `fail with 431 for a head too large by ${what}, and the server goes on serving`,
      over(
        Effect.gen(function* () {
          const answer = yield* ask({ path: "/v1/vms", headers })
          expect(expectFailure(answer, 431)).toMatchObject({ _tag: "HeadTooLarge" })
          expect(yield* listed).toEqual([])
        })
      )
    )
  }

  const filler = Array.from({ length: 1000 }, (_, index) => `${index.toString(36)}:\r\n`).join("")
  const behind: ReadonlyArray<readonly [name: string, line: string, statuses: ReadonlyArray<number>]> = [
    ["Origin", "Origin: http://evil.example", [403]],
    ["Sec-Fetch-Site", "Sec-Fetch-Site: cross-site", [403]],
    ["a second Host", "Host: evil.example", [400]],
    ["a second Content-Type", "Content-Type: text/plain", [415]],
    ["Content-Encoding", "Content-Encoding: gzip", [415]],
    ["Transfer-Encoding", "Transfer-Encoding: gzip", [400]]
  ]
  for (const [name, line, statuses] of behind) {
    it.live(
      `are checked for ${name} after 1,000 other header lines`,
      over(
        Effect.gen(function* () {
          const { address } = yield* TestServer
          const lines = `${head(address)}${json}Content-Length: 12\r\n${filler}${line}\r\n`
          const [answer] = yield* sendBytes(address, `POST ${vms}${lines}\r\n{"name":"x"}`)
          expectFailure(answer, ...statuses)
          expect(yield* listed).toEqual([])
        })
      )
    )
  }

  for (const [name, lines, body] of [
    ["Content-Type", `Content-Length: 12\r\n${filler}Content-Type: text/plain\r\n`, '{"name":"x"}'],
    ["Content-Length", `${json}${filler}Content-Length: 2000000\r\n`, '{"name":"x"}'],
    [
      "Transfer-Encoding",
      `Content-Type: text/plain\r\n${filler}Transfer-Encoding: chunked\r\n`,
      'c\r\n{"name":"x"}\r\n0\r\n\r\n'
    ]
  ] as const) {
    it.live(
      `are checked for the only ${name}, after 1,000 other header lines`,
      over(
        Effect.gen(function* () {
          const { address } = yield* TestServer
          const [answer] = yield* sendBytes(address, `POST ${vms}${head(address)}${lines}\r\n${body}`)
          expectFailure(answer, name === "Content-Length" ? 413 : 415)
          expect(yield* listed).toEqual([])
        })
      )
    )
  }

  it.live(
    "may have more than 1,000 header lines within 16 KiB",
    over(
      Effect.gen(function* () {
        const { address } = yield* TestServer
        const lines = `${filler}${head(address)}${json}Content-Length: 12\r\n`
        const [answer] = yield* sendBytes(address, `POST ${vms}${lines}\r\n{"name":"x"}`)
        expect(answer?.status, answer?.body).toBe(201)
      })
    )
  )

  for (const [what, lines, status] of [
    ["two Origins", (own: string) => `Origin: ${own}\r\nOrigin: http://evil.example\r\n`, 403],
    ["two Sec-Fetch-Sites", () => "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Site: cross-site\r\n", 403],
    ["an unknown Sec-Fetch-Site", () => "Sec-Fetch-Site: elsewhere\r\n", 403],
    ["two Hosts", () => "Host: evil.example\r\n", 400],
    ["two Content-Types", () => "Content-Type: text/plain\r\n", 415],
    ["two Content-Types that agree", () => json, 415]
  ] as const) {
    it.live(
      `fail with ${status} for ${what}, and change nothing`,
      over(
        Effect.gen(function* () {
          const { address, url } = yield* TestServer
          const all = `${head(address)}${json}${lines(url)}Content-Length: 12\r\n`
          const [answer] = yield* sendBytes(address, `POST ${vms}${all}\r\n{"name":"x"}`)
          expectFailure(answer, status)
          expect(yield* listed).toEqual([])
        })
      )
    )
  }

  const chunks = 'c\r\n{"name":"x"}\r\n0\r\n\r\n'
  for (const coding of ["gzip", "gzip, chunked", "gzip\r\nTransfer-Encoding: chunked", "identity", "xchunked", ""]) {
    it.live(
      `fail for Transfer-Encoding ${JSON.stringify(coding)}, with 501 if it is a coding (RFC 9112, 6.1)`,
      over(
        Effect.gen(function* () {
          const { address } = yield* TestServer
          const lines = `Host: 127.0.0.1:${address.port}\r\n${json}Transfer-Encoding: ${coding}\r\n`
          const answers = yield* sendBytes(address, `POST ${vms}${lines}\r\n${chunks}`)
          expect(answers).toHaveLength(1)
          // The parser of Node.js 26 refuses an empty coding itself.
          const status = coding === "" && answers[0]?.status === 400 ? 400 : 501
          const _tag = status === 400 ? "BadRequest" : "NotImplemented"
          expect(expectFailure(answers[0], status)).toMatchObject({ _tag })
          expect(answers[0]?.headers["connection"]).toBe("close")
          expect(yield* listed).toEqual([])
        })
      )
    )
  }

  it.live(
    "fail with 405 in JSON for any CONNECT, and the connection ends",
    over(
      Effect.gen(function* () {
        const { address } = yield* TestServer
        for (const target of ["example.com:443", `127.0.0.1:${address.port}`, "/v1/vms"]) {
          const bytes = `CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\nGET ${vms}${head(address)}\r\n`
          const answers = yield* sendBytes(address, bytes)
          expect(answers, target).toHaveLength(1)
          expect(expectFailure(answers[0], 405)).toMatchObject({ _tag: "MethodNotAllowed", allowed: [] })
          // RFC 9110, 10.2.1: an empty Allow says that no method is allowed.
          expect(answers[0]?.headers).toMatchObject({ allow: "", "x-request-id": expect.stringMatching(requestId) })
        }
      })
    )
  )

  it.live(
    "return the answer of a request before garbage on its connection, then 400",
    over(
      Effect.gen(function* () {
        const { address } = yield* TestServer
        const keepAlive = { connection: "keep-alive" }
        const post = requestBytes(address, {
          method: "POST",
          path: "/v1/vms",
          body: '{"name":"x"}',
          headers: keepAlive
        })
        const answers = yield* sendBytes(address, Buffer.concat([post, Buffer.from("garbage\r\n\r\n")]))
        expect(answers.map(({ status }) => status)).toEqual([201, 400])
        expect(yield* listed).toEqual(["x"])
      })
    )
  )

  it.live(
    "truncate the answer in progress, without a 400 in it, when its request's body is garbage",
    over(
      Effect.gen(function* () {
        const { address } = yield* TestServer
        const refusedEarly = `POST ${vms}Host: 127.0.0.1:${address.port}\r\nContent-Type: text/plain\r\n`
        const answers = yield* sendBytes(address, `${refusedEarly}Transfer-Encoding: chunked\r\n\r\nzz\r\n`)
        expect(answers.map(({ status }) => status)).toEqual([415])
      })
    )
  )

  for (const [what, bytes] of [
    ["garbage", "garbage\r\n\r\n"],
    ["CONNECT", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"]
  ] as const) {
    it.live(`free the connection of a client that stays after ${what}`, () =>
      Effect.gen(function* () {
        const { address } = yield* TestServer
        const socket = yield* Effect.acquireRelease(
          Effect.sync(() => Net.connect({ ...address, allowHalfOpen: true })),
          (socket) => Effect.sync(() => socket.destroy())
        )
        yield* Effect.async<void>((resume) => {
          socket.resume().once("end", () => resume(Effect.void))
          socket.write(bytes)
        })
        const list = Effect.flatMap(sendBytes(address, requestBytes(address, { path: "/v1/vms" })), ([answer]) =>
          Effect.fromNullable(answer)
        )
        expect(
          yield* Effect.retry(list, Schedule.spaced("50 millis")).pipe(Effect.timeout("60 seconds"))
        ).toMatchObject({
          status: 200
        })
      }).pipe(Effect.scoped, Effect.provide(TestServer.layer({ listener: { maxConnections: 1 } })))
    )
  }

  it.live(
    "leave nothing behind when clients disconnect half way",
    over(
      Effect.gen(function* () {
        const { address, logs } = yield* TestServer
        const post = Buffer.from(requestBytes(address, { method: "POST", path: "/v1/vms", body: '{"name":"half"}' }))
        const get = requestBytes(address, { path: "/docs" })
        const cuts = [1, 10, 60, post.indexOf("\r\n\r\n") + 2, post.indexOf("\r\n\r\n") + 4, post.length - 1]
        yield* Effect.forEach([...cuts, ...cuts, ...cuts], (cut) => sendAndHangUp(address, post.subarray(0, cut)), {
          concurrency: "unbounded"
        })
        yield* Effect.forEach([get, get, get], (bytes) => sendAndHangUp(address, bytes))
        expect(yield* listed).toEqual([])
        expect(jsonOf(yield* ask({ path: "/v1/health" }))).toMatchObject({ status: "ok" })
        expect(logs.filter((line) => line.startsWith("ERROR"))).toEqual([])
      })
    )
  )
})

describe("a defect or an outage in the daemon", () => {
  const everyCall: ReadonlyArray<Request> = [
    { method: "POST", path: "/v1/vms", body: '{"name":"new"}' },
    { path: "/v1/vms" },
    { path: "/v1/vms?role=work" },
    { path: "/v1/vms/web" },
    { method: "DELETE", path: "/v1/vms/web" },
    { path: "/v1/health" }
  ]

  for (const request of everyCall) {
    it.live(
      `fails ${request.method ?? "GET"} ${request.path} with 500 and an id, under which the log has the rest`,
      over(
        Effect.gen(function* () {
          const { logs, storeIs } = yield* TestServer
          yield* storeIs("broken")
          const answer = yield* ask(request)
          const body = expectFailure(answer, 500)
          expect(body["request_id"]).toBe(answer.headers["x-request-id"])
          expect(logs).toHaveLength(1)
          expect(logs[0]).toContain(answer.headers["x-request-id"])
          expect(logs[0]).toContain(secret)
          yield* storeIs("healthy")
          expect(yield* listed).toEqual(["web"])
        }),
        [record("web")]
      )
    )

    it.live(
      `fails ${request.method ?? "GET"} ${request.path} with 503 while the store is unavailable`,
      over(
        Effect.gen(function* () {
          const { storeIs } = yield* TestServer
          yield* storeIs("unavailable")
          const body = expectFailure(yield* ask(request), 503)
          if (request.path === "/v1/health") expect(body).toMatchObject({ status: "degraded" })
          yield* storeIs("healthy")
          expect(yield* listed).toEqual(["web"])
          expect((yield* ask({ path: "/v1/health" })).status).toBe(200)
        }),
        [record("web")]
      )
    )
  }

  it.live(
    "returns a record outside all bounds, without blaming the client",
    over(
      Effect.gen(function* () {
        for (const path of ["/v1/vms", "/v1/vms/odd"]) {
          const answer = yield* ask({ path })
          if (answer.status !== 200) expectFailure(answer, 500)
        }
      }),
      [record("odd", { cid: 1 })]
    )
  )
})

describe("the documents", () => {
  interface Operation {
    readonly security?: ReadonlyArray<object>
    readonly responses: Readonly<
      Record<
        string,
        { readonly description?: string; readonly content?: Record<string, unknown>; readonly headers?: object }
      >
    >
    readonly parameters?: ReadonlyArray<{ readonly name: string; readonly in: string; readonly schema: object }>
  }
  interface Document {
    readonly openapi: string
    readonly info: { readonly title: string; readonly version: string }
    readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
    readonly servers: ReadonlyArray<{ readonly url: string }>
    readonly security: ReadonlyArray<object>
    readonly components: {
      readonly schemas: Readonly<Record<string, { readonly properties: Record<string, object> }>>
      readonly securitySchemes: Readonly<Record<string, object>>
    }
  }
  const openApi = Effect.map(ask({ path: "/openapi.json" }), (answer) => {
    expect(answer.status).toBe(200)
    expect(answer.headers["content-type"]).toMatch(/^application\/json(;|$)/)
    return JSON.parse(answer.body) as Document
  })

  it.live(
    "are OpenAPI 3.1, with every call and all its answers",
    over(
      Effect.gen(function* () {
        const { info, openapi, paths } = yield* openApi
        expect(openapi).toMatch(/^3\.1\.\d+$/)
        expect(info).toMatchObject({ title: "Nexus", version: "0.1.0" })
        const vm = Object.keys(paths).find((path) => /^\/v1\/vms\/\{\w+\}$/.test(path)) ?? "/v1/vms/{…}"
        const calls = ["logs", "start", "stop", "wait"].map((call) => `${vm}/${call}`)
        const own = ["/livez", "/metrics", "/readyz", "/v1/events", "/v1/health"]
        expect(Object.keys(paths).sort()).toEqual([...own, "/v1/vms", vm, ...calls])

        const answers = {
          [`POST /v1/vms`]: [201, 400, 409, 413, 415, 500, 503],
          [`GET /v1/vms`]: [200, 400, 500, 503],
          [`GET ${vm}`]: [200, 304, 400, 404, 412, 500, 503],
          [`PATCH ${vm}`]: [200, 400, 404, 409, 412, 500, 503],
          [`PUT ${vm}`]: [200, 201, 400, 409, 412, 500, 503],
          [`DELETE ${vm}`]: [204, 400, 404, 409, 412, 500, 503],
          [`POST ${vm}/start`]: [200, 400, 404, 409, 412, 500, 503],
          [`POST ${vm}/stop`]: [200, 400, 404, 409, 412, 500, 503],
          [`GET ${vm}/logs`]: [200, 400, 404, 409, 500, 503],
          [`GET ${vm}/wait`]: [200, 400, 404, 408, 500, 503],
          [`GET /v1/events`]: [200, 400, 410, 500, 503],
          [`GET /v1/health`]: [200, 400, 500, 503],
          [`GET /livez`]: [200, 400, 500, 503],
          [`GET /readyz`]: [200, 400, 500, 503],
          [`GET /metrics`]: [200, 400, 500, 503]
        }
        const textTypes: Readonly<Record<string, string>> = {
          [`GET ${vm}/logs`]: "text/plain; charset=utf-8",
          "GET /v1/events": "text/event-stream",
          "GET /metrics": "text/plain; version=0.0.4; charset=utf-8"
        }
        for (const [call, statuses] of Object.entries(answers)) {
          const [method = "", path = ""] = call.split(" ")
          const responses = paths[path]?.[method.toLowerCase()]?.responses ?? {}
          expect(Object.keys(responses), call).toEqual(expect.arrayContaining(statuses.map(String)))
          for (const [status, { content, headers }] of Object.entries(responses)) {
            const type = (status === "200" && textTypes[call]) || "application/json"
            const isEmpty = status === "204" || status === "304"
            if (!isEmpty) expect(content, `${call} ${status}`).toHaveProperty([type, "schema"])
            const isRecord = JSON.stringify(content)?.endsWith('schemas/Vm"}}}') ?? status === "304"
            if (isRecord) expect(headers, `${call} ${status}`).toHaveProperty("ETag")
          }
        }
        expect(paths["/v1/vms"]?.["post"]?.responses["201"]?.headers).toHaveProperty("Location")
      })
    )
  )

  it.live(
    "hold the bounds, defaults and examples",
    over(
      Effect.gen(function* () {
        const { components, paths } = yield* openApi
        const { CreateVm, Vm } = components.schemas
        expect(CreateVm).toMatchObject({ required: ["name"], additionalProperties: false })
        expect(CreateVm?.properties).toMatchObject({
          name: { type: "string", pattern: expect.any(String), examples: [expect.any(String)] },
          role: { enum: ["portal", "work", "service"], default: "work" },
          vcpu_count: { type: "integer", minimum: 1, maximum: 32, default: 1 },
          mem_size_mib: { type: "integer", minimum: 1, maximum: 1048576, default: 128 }
        })
        const { examples, pattern } = { ...CreateVm?.properties["name"] } as {
          readonly examples?: ReadonlyArray<string>
          readonly pattern?: string
        }
        const name = new RegExp(pattern ?? "")
        expect(name.test(examples?.[0] ?? "")).toBe(true)
        expect(name.test("a".repeat(63))).toBe(true)
        for (const bad of ["", "A", "-a", "a-", "a_b", "a".repeat(64), crypto.randomUUID()]) {
          expect(name.test(bad), bad).toBe(false)
        }
        expect(Vm).toMatchObject({ examples: [{ name: expect.any(String), cid: expect.any(Number) }] })
        expect(Vm?.properties).toMatchObject({
          // What a foreign database holds is sent as it is.
          role: { type: "string", description: expect.stringContaining("portal, work, service") },
          state: { type: "string", description: expect.stringContaining("created, running, stopped, crashed, failed") },
          cid: { type: "integer", description: expect.stringContaining("3 to 4294967294") }
        })
        const filters = paths["/v1/vms"]?.["get"]?.parameters ?? []
        expect(filters).toMatchObject([
          { name: "role", in: "query", schema: { enum: ["portal", "work", "service"] } },
          { name: "state", in: "query", schema: { enum: ["created", "running", "stopped", "crashed", "failed"] } },
          { name: "name_prefix", in: "query", schema: { type: "string" } },
          { name: "limit", in: "query", schema: { type: "integer", minimum: 1, maximum: 1000 } },
          { name: "cursor", in: "query", schema: { type: "string" } }
        ])
      })
    )
  )

  it.live(
    "refer only to schemas that they define, and not to the library's own error",
    over(
      Effect.gen(function* () {
        const document = yield* openApi
        const text = JSON.stringify(document)
        expect(text).not.toContain("HttpApiDecodeError")
        const references = Array.from(text.matchAll(/"\$ref":"#\/components\/schemas\/([^"]+)"/g), ([, name]) => name)
        expect(references).toContain("Vm")
        expect(Object.keys(document.components.schemas)).toEqual(expect.arrayContaining(references))
      })
    )
  )

  it.live(
    "state the server's address, the license, and the optional token",
    over(
      Effect.gen(function* () {
        const { components, info, paths, security, servers } = yield* openApi
        expect(info).toMatchObject({ license: { name: "MIT", identifier: "MIT" } })
        expect(servers.map(({ url }) => url)).toEqual(["/", "http://127.0.0.1:9600"])
        expect(security).toEqual([{}, { token: [] }])
        expect(components.securitySchemes).toMatchObject({ token: { type: "http", scheme: "bearer" } })
        // An operation's own `security` replaces the document's.
        const own = Object.entries(paths).flatMap(([path, operations]) =>
          Object.values(operations).flatMap(({ security }) => (security === undefined ? [] : [[path, security]]))
        )
        expect(own.sort()).toEqual([
          ["/livez", [{}]],
          ["/readyz", [{}]]
        ])
      })
    )
  )

  it.live(
    "have one schema for a record, and no title of the library's",
    over(
      Effect.gen(function* () {
        const { paths } = yield* openApi
        const Vm = { "application/json": { schema: { $ref: "#/components/schemas/Vm" } } }
        const one = paths["/v1/vms/{nameOrId}"]?.["get"]?.responses["200"]
        expect(paths["/v1/vms"]?.["post"]?.responses["201"]?.content).toEqual(Vm)
        expect(one?.content).toEqual(Vm)
        expect(JSON.stringify(yield* openApi)).not.toContain('"title":"int"')
      })
    )
  )

  it.live(
    "allow unknown fields in answers, at every depth, and in no request",
    over(
      Effect.gen(function* () {
        const { schemas } = (yield* openApi).components
        const closed = Object.entries(schemas).filter(([, schema]) =>
          JSON.stringify(schema).includes('"additionalProperties":false')
        )
        expect(closed.map(([name]) => name)).toEqual(["CreateVm", "UpdateVm", "ReplaceVm", "StopVm"])
        for (const name of ["Vm", "Health", "DatabaseStatus", "BadRequest", "Conflict"]) {
          expect(schemas[name], name).toMatchObject({ additionalProperties: true })
        }
      })
    )
  )

  it.live(
    "describe 400 as BadRequest, and name each cause of 503",
    over(
      Effect.gen(function* () {
        const { paths } = yield* openApi
        for (const [path, operations] of Object.entries(paths)) {
          for (const [method, { responses }] of Object.entries(operations)) {
            expect(responses["400"], `${method} ${path}`).toEqual({
              description: expect.stringContaining("malformed"),
              content: { "application/json": { schema: { $ref: "#/components/schemas/BadRequest" } } }
            })
            const { description } = responses["503"] ?? {}
            expect(description, `${method} ${path}`).toMatch(/Too many requests/)
            if (path === "/livez" || path === "/metrics") continue
            expect(description, `${method} ${path}`).toMatch(/store (?:does not answer|can't serve)/)
          }
        }
      })
    )
  )

  it.live(
    "begin at / with the web page, which runs its own scripts alone",
    over(
      Effect.gen(function* () {
        const { body, headers, status } = yield* ask({ path: "/" })
        expect(status).toBe(200)
        expect(headers["content-type"]).toBe("text/html; charset=utf-8")
        expect(headers["content-security-policy"]).toBe(
          "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
        )
        expect(body).toMatch(/^<!DOCTYPE html>/)
      })
    )
  )

  it.live(
    "include /docs as HTML without parts from other servers",
    over(
      Effect.gen(function* () {
        const answer = yield* ask({ path: "/docs" })
        expect(answer.status).toBe(200)
        expect(answer.headers["content-type"]).toMatch(/^text\/html/)
        expect(answer.body).toMatch(/^<!DOCTYPE html>/i)
        expect(answer.body).toContain("/v1/vms")
        expect(answer.body).not.toContain("HttpApiDecodeError")

        const markup = answer.body.replace(/(<script\b[^>]*>)[\s\S]*?<\/script>/g, "$1</script>")
        expect(markup.length).toBeLessThan(answer.body.length / 2)
        expect(markup).not.toMatch(/\b(?:src|href|action|content)\s*=\s*["']?\s*(?:\w+:)?\/\//i)
        expect(markup).not.toMatch(/@import|url\(\s*["']?\s*(?:https?:)?\/\//i)
        expect(answer.body).not.toMatch(/<script\b[^>]*\bsrc\b/i)
        expect(answer.body).not.toMatch(/<link\b[^>]*\brel\s*=\s*["']?stylesheet/i)
      })
    )
  )

  it.live(
    "have a policy for /docs: its own script, requests to this daemon, nothing else",
    over(
      Effect.gen(function* () {
        const { body, headers } = yield* ask({ path: "/docs" })
        const policy = headers["content-security-policy"] ?? ""
        const directives = Object.fromEntries(
          policy.split(";").map((directive) => {
            const [name = "", ...sources] = directive.trim().split(/\s+/)
            return [name, sources]
          })
        )
        expect(directives["default-src"]).toEqual(["'none'"])
        expect(directives["connect-src"]).toEqual(["'self'"])
        expect(policy).not.toMatch(/https?:|\*|'unsafe-eval'/)
        const scripts = Array.from(
          body.matchAll(/<script(?: type="module")?>([\s\S]*?)<\/script>/g),
          ([, script = ""]) => createHash("sha256").update(script).digest("base64")
        )
        expect(scripts).not.toEqual([])
        expect(directives["script-src"]).toEqual(scripts.map((hash) => `'sha256-${hash}'`))
      })
    )
  )
})
