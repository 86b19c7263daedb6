import * as Net from "node:net"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { vi } from "vitest"
import { Gone } from "../../src/domain/Errors.js"
import { type EventStream, openEvents, takeEvents } from "../support/EventStream.js"
import { requestBytes } from "../support/HttpBytes.js"
import { call, sendRequest } from "../support/HttpJson.js"
import { record } from "../support/Records.js"
import { jsonOf, outage, send, TestServer } from "../support/TestServer.js"

/** Runs the body against a server of its own, which has the record web. */
const over =
  <A, E>(body: Effect.Effect<A, E, TestServer | Scope.Scope>, options: Parameters<typeof TestServer.layer>[0] = {}) =>
  () =>
    Effect.provide(Effect.scoped(body), TestServer.layer({ initial: [record("web")], ...options }))

const follow = (since?: string, headers: Readonly<Record<string, string>> = {}) =>
  Effect.flatMap(TestServer, (server) =>
    Effect.acquireRelease(
      Effect.promise(() => openEvents(server, since, headers)),
      (stream) => Effect.sync(stream.close)
    )
  )
const take = (stream: EventStream, count: number) => Effect.promise(() => takeEvents(stream, count))

const ask = (method: string, path: string, content?: unknown) =>
  Effect.flatMap(TestServer, (server) => Effect.promise(() => call(server, method, path, content)))
const textOf = (path: string) =>
  Effect.flatMap(TestServer, (server) => Effect.promise(() => sendRequest(server, "GET", path)))

/** A configuration of 64 KiB. */
const large = (at: number) => "{}".padEnd(65_000 + (at % 500))

describe("GET /v1/events", () => {
  it.live(
    "sends ready, then each change with the very bytes of GET",
    over(
      Effect.gen(function* () {
        const stream = yield* follow()
        expect(stream.status).toBe(200)
        expect(stream.headers).toMatchObject({ "content-type": "text/event-stream", "cache-control": "no-store" })
        const [ready] = yield* take(stream, 1)
        expect(ready).toEqual({ event: "ready", id: expect.stringMatching(/^\S+$/), data: "{}" })

        yield* ask("POST", "/v1/vms", { name: "db", config_json: '{\n"drives":[]\r\n}' })
        expect(yield* take(stream, 1)).toMatchObject([{ event: "created", data: (yield* textOf("/v1/vms/db")).text }])
        yield* ask("PATCH", "/v1/vms/db", { vcpu_count: 2 })
        expect(yield* take(stream, 1)).toMatchObject([{ event: "updated", data: (yield* textOf("/v1/vms/db")).text }])
        yield* ask("PUT", "/v1/vms/new", {})
        expect(yield* take(stream, 1)).toMatchObject([{ event: "created", data: (yield* textOf("/v1/vms/new")).text }])
        const { body } = yield* ask("GET", "/v1/vms/db")
        yield* ask("DELETE", "/v1/vms/db")
        const [deleted] = yield* take(stream, 1)
        expect(deleted?.event).toBe("deleted")
        expect(JSON.parse(deleted?.data ?? "")).toEqual({ id: (body as { readonly id: string }).id, name: "db" })
      })
    )
  )

  it.live(
    "resumes after since, or after Last-Event-ID, which comes first and may be empty",
    over(
      Effect.gen(function* () {
        const stream = yield* follow()
        for (const name of ["a", "b", "c"]) yield* ask("POST", "/v1/vms", { name })
        const [ready, a, b, c] = yield* take(stream, 4)
        expect(yield* take(yield* follow(a?.id), 3)).toEqual([{ event: "ready", id: a?.id, data: "{}" }, b, c])
        const byHeader = yield* follow(undefined, { "last-event-id": `${b?.id}` })
        expect((yield* take(byHeader, 2))[1]).toEqual(c)
        const byBoth = yield* follow(ready?.id, { "last-event-id": `${b?.id}` })
        expect((yield* take(byBoth, 2))[1]).toEqual(c)
        const byEmpty = yield* follow(b?.id, { "last-event-id": "" })
        expect((yield* take(byEmpty, 2))[1]).toEqual(c)
      })
    )
  )

  it.live(
    "is 410 Gone after an id that is not known, by either way",
    over(
      Effect.gen(function* () {
        const answers = [
          yield* send({ path: "/v1/events?since=x" }),
          yield* send({ path: "/v1/events", headers: { "last-event-id": "x" } })
        ]
        for (const answer of answers) {
          expect(answer.status).toBe(410)
          expect(answer.headers["content-type"]).toBe("application/json")
          expect(jsonOf(answer)).toEqual({ _tag: "Gone", error: Gone.events("x").message })
        }
      })
    )
  )

  it.live(
    "refuses what it does not know, and answers HEAD without a stream",
    over(
      Effect.gen(function* () {
        for (const query of ["since=", `since=${"x".repeat(257)}`, "since=a&since=b", "after=1"]) {
          expect((yield* send({ path: `/v1/events?${query}` })).status, query).toBe(400)
        }
        const { headers, status } = yield* send({ method: "POST", path: "/v1/events", body: "{}" })
        expect([status, headers["allow"]]).toEqual([405, "GET, HEAD"])
        const head = yield* send({ method: "HEAD", path: "/v1/events" })
        expect([head.status, head.headers["content-type"], head.body]).toEqual([200, "text/event-stream", ""])
      })
    )
  )

  it.live(
    "is closed to other sites' pages and to requests without the token",
    over(
      Effect.gen(function* () {
        const authorization = "Bearer 0123456789abcdef0123456789abcdef"
        expect((yield* send({ path: "/v1/events" })).status).toBe(401)
        const foreign = yield* send({ path: "/v1/events", headers: { authorization, origin: "https://example.com" } })
        expect(foreign.status).toBe(403)
        expect((yield* follow(undefined, { authorization })).status).toBe(200)
      }),
      { listener: { token: "0123456789abcdef0123456789abcdef" } }
    )
  )

  it.live(
    "is a 503 when the store can't tell what has changed",
    over(
      Effect.gen(function* () {
        yield* (yield* TestServer).storeIs("unavailable")
        const answer = yield* send({ path: "/v1/events" })
        expect([answer.status, jsonOf(answer)]).toEqual([503, { _tag: "StoreUnavailable", error: outage }])
      })
    )
  )

  it.live(
    "sends a comment every 15 seconds",
    over(
      Effect.gen(function* () {
        yield* Effect.acquireRelease(
          Effect.sync(() => vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] })),
          () => Effect.sync(() => vi.useRealTimers())
        )
        const stream = yield* follow()
        yield* take(stream, 1)
        vi.advanceTimersByTime(14_999)
        yield* ask("POST", "/v1/vms", { name: "a" })
        yield* take(stream, 1)
        expect(stream.comments).toEqual([])
        vi.advanceTimersByTime(1)
        vi.advanceTimersByTime(15_000)
        yield* ask("POST", "/v1/vms", { name: "b" })
        yield* take(stream, 1)
        expect(stream.comments).toEqual([":", ":"])
      })
    )
  )

  it.live(
    "disconnects a subscriber that does not read, and no other",
    over(
      Effect.gen(function* () {
        const { address, logs } = yield* TestServer
        const stalled = yield* Effect.acquireRelease(
          Effect.sync(() => Net.connect(address)),
          (socket) => Effect.sync(() => socket.destroy())
        )
        // Without a listener for data nothing is read.
        stalled.on("error", () => {}).write(requestBytes(address, { path: "/v1/events" }))
        const reader = yield* follow()
        yield* take(reader, 1)
        // Until the kernel's buffers are full, and the log has dropped the next event.
        let total = 0
        while (!logs.some((line) => line.includes("a subscriber is too far behind"))) {
          yield* ask("PATCH", "/v1/vms/web", { config_json: large(++total) })
          const [event] = yield* take(reader, 1)
          expect(event?.event).toBe("updated")
        }
        const received = yield* Effect.async<string>((resume) => {
          const parts: Array<Buffer> = []
          stalled.on("data", (part) => parts.push(part))
          stalled.once("close", () => resume(Effect.succeed(Buffer.concat(parts).toString())))
        })
        expect(received.match(/^event: updated$/gm)?.length ?? 0).toBeLessThan(total)
        // The last chunk would say that the stream is whole.
        expect(received.endsWith("\r\n0\r\n\r\n")).toBe(false)
        yield* ask("POST", "/v1/vms", { name: "db" })
        expect(yield* take(reader, 1)).toMatchObject([{ event: "created" }])
      })
    )
  )

  it.live(
    "ends with its client, also where a body was sent that is not read",
    over(
      Effect.gen(function* () {
        const { address } = yield* TestServer
        const client = yield* Effect.acquireRelease(
          Effect.sync(() => Net.connect({ ...address, allowHalfOpen: true })),
          (socket) => Effect.sync(() => socket.destroy())
        )
        // More than the server buffers.
        client.write(requestBytes(address, { path: "/v1/events", body: " ".repeat(200_000) }))
        yield* Effect.async<void>((resume) => {
          client.once("data", () => client.end())
          client.once("end", () => resume(Effect.void))
        })
      })
    )
  )

  it.live(
    "serves 1,000 subscribers at once, and other requests beside them",
    over(
      Effect.gen(function* () {
        const streams = yield* Effect.forEach(Array.from({ length: 1000 }), () => follow(), { concurrency: 50 })
        yield* Effect.forEach(streams, (stream) => take(stream, 1))
        const names = Array.from({ length: 3 }, (_, at) => `vm-${at}`)
        for (const name of names) expect((yield* ask("POST", "/v1/vms", { name })).status).toBe(201)
        const received = yield* Effect.forEach(streams, (stream) => take(stream, names.length))
        expect(received[0]?.map(({ data }) => JSON.parse(data).name)).toEqual(names)
        for (const events of received) expect(events).toEqual(received[0])
      })
    )
  )
})
