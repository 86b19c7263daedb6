import * as Http from "node:http"
import * as Net from "node:net"
import * as HttpApi from "@effect/platform/HttpApi"
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as HttpApiSchema from "@effect/platform/HttpApiSchema"
import * as HttpServerError from "@effect/platform/HttpServerError"
import { describe, expect, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import { formatAddress } from "../../src/domain/Address.js"
import * as HttpApiServer from "../../src/http/server/HttpApiServer.js"
import { HttpResponse } from "../../src/http/server/HttpResponse.js"

class Teapot extends Schema.TaggedError<Teapot>("test/Teapot")("Teapot", { error: Schema.String }) {}

const Item = Schema.Struct({ name: Schema.String })
const NotModified = HttpApiSchema.Empty(304)
const path = Schema.Struct({ name: Schema.String })

class Items extends HttpApiGroup.make("items")
  .add(
    HttpApiEndpoint.put("put", "/items/:name")
      .setPath(path)
      .setPayload(Schema.NullOr(Item))
      .addSuccess(Item, { status: 200 })
      .addSuccess(Item, { status: 201 })
      .addError(Teapot, { status: 418 })
  )
  .add(
    HttpApiEndpoint.get("get", "/items/:name")
      .setPath(path)
      .setHeaders(Schema.Struct({ "if-none-match": Schema.optional(Schema.String) }))
      .addSuccess(Item)
      .addSuccess(NotModified)
  )
  .add(
    HttpApiEndpoint.post("stop", "/items/:name/stop")
      .setPath(path)
      .setPayload(Schema.UndefinedOr(Schema.Struct({ force: Schema.Boolean })))
      .addSuccess(Schema.Struct({ force: Schema.NullOr(Schema.Boolean) }))
  )
  .add(HttpApiEndpoint.post("slow", "/items/:name/slow").setPath(path))
  .add(HttpApiEndpoint.get("wait", "/items/:name/wait").setPath(path).addSuccess(Item))
  .add(HttpApiEndpoint.get("events", "/events").addSuccess(Schema.String)) {}

class Api extends HttpApi.make("test").add(Items) {}

/** What the handlers of one test share with it. */
interface Probe {
  readonly started: Deferred.Deferred<void>
  readonly proceed: Deferred.Deferred<void>
  readonly ended: Deferred.Deferred<Exit.Exit<unknown, unknown>>
  /** One entry for each wait that has begun. */
  readonly waits: Array<string>
}

const handlers = ({ ended, proceed, started, waits }: Probe, uninterruptible: boolean) =>
  HttpApiServer.group(Api, "items", (group) =>
    Effect.succeed(
      group
        .handle("put", ({ path, payload }) => {
          if (path.name === "teapot") return new Teapot({ error: "short and stout" })
          return payload === null
            ? Effect.succeed({ name: "null" })
            : Effect.succeed(HttpResponse.value(payload, { status: 201, headers: { location: `/items/${path.name}` } }))
        })
        .handle("get", ({ headers, path }) =>
          Effect.succeed(
            headers["if-none-match"] === '"1"'
              ? HttpResponse.empty({ status: 304, headers: { etag: '"1"' } })
              : { name: path.name }
          )
        )
        .handle("stop", ({ payload }) => Effect.succeed({ force: payload?.force ?? null }))
        .handle(
          "slow",
          () =>
            Effect.zipRight(Deferred.succeed(started, undefined), Deferred.await(proceed)).pipe(
              Effect.onExit((exit) => Deferred.succeed(ended, exit))
            ),
          { uninterruptible }
        )
        .handle(
          "wait",
          ({ path }) => {
            waits.push(path.name)
            return Effect.as(Deferred.await(proceed), path).pipe(Effect.onExit((exit) => Deferred.succeed(ended, exit)))
          },
          { longLived: "until-stop" }
        )
        .handle("events", () => {
          const events = Stream.concat(Stream.make(Buffer.from("event: ready\n\n")), Stream.never)
          const observed = Stream.ensuringWith(events, (exit) => Deferred.succeed(ended, exit))
          return Effect.succeed(HttpResponse.stream("text/event-stream", observed, { endless: {} }))
        })
    )
  )

/** A server of the definition on a free port; `stop` closes it. */
const serve = (uninterruptible = false, options: Omit<HttpApiServer.Options, "address"> = {}) =>
  Effect.gen(function* () {
    const probe: Probe = {
      started: yield* Deferred.make<void>(),
      proceed: yield* Deferred.make<void>(),
      ended: yield* Deferred.make<Exit.Exit<unknown, unknown>>(),
      waits: []
    }
    const scope = yield* Scope.make()
    const server = HttpApiServer.layer(Api, { ...options, address: { host: "127.0.0.1", port: 0 } })
    const context = yield* Layer.buildWithScope(Layer.provide(server, handlers(probe, uninterruptible)), scope)
    const { address } = Context.get(context, HttpApiServer.HttpApiServer)
    const stop = Scope.close(scope, Exit.void)
    yield* Effect.addFinalizer(() => Effect.zipRight(Deferred.succeed(probe.proceed, undefined), stop))
    return { ...probe, url: `http://${formatAddress(address)}`, stop }
  })

const call = (url: string, init?: RequestInit) =>
  Effect.promise(async () => {
    const response = await fetch(url, init)
    const { headers, status } = response
    return { status, headers, body: await response.text() }
  })

const openSocket = (url: string) =>
  Effect.acquireRelease(
    Effect.async<Net.Socket>((resume) => {
      const { hostname, port } = new URL(url)
      const socket = Net.connect(Number(port), hostname, () => resume(Effect.succeed(socket)))
      socket.on("error", () => {}).resume()
    }),
    (socket) => Effect.sync(() => socket.destroy())
  )

const until = (isDone: () => boolean) =>
  Effect.repeat(Effect.sync(isDone), { until: (done) => done, schedule: Schedule.spaced("10 millis") })

const json = (method: string, value: unknown): RequestInit => ({
  method,
  headers: { "content-type": "application/json" },
  body: JSON.stringify(value)
})

/** Sends a request and disconnects once `reached` is done. */
const disconnectAfter = <E>(url: string, method: string, reached: Effect.Effect<void, E>) =>
  Effect.gen(function* () {
    const request = Http.request(url, { method, agent: false })
    request.on("error", () => {})
    request.end()
    yield* reached
    request.destroy()
  })

describe("HttpApiServer", () => {
  it.scoped("responds with the success that the handler chose, and its headers", () =>
    Effect.gen(function* () {
      const { url } = yield* serve()
      const created = yield* call(`${url}/items/a`, json("PUT", { name: "a" }))
      expect([created.status, created.headers.get("location"), created.body]).toEqual([201, "/items/a", '{"name":"a"}'])
    })
  )

  it.scoped("decodes a body of null, and responds with the first success by default", () =>
    Effect.gen(function* () {
      const { url } = yield* serve()
      const replaced = yield* call(`${url}/items/a`, json("PUT", null))
      expect([replaced.status, replaced.body]).toEqual([200, '{"name":"null"}'])
    })
  )

  it.scoped("responds with the status and the body of a declared error", () =>
    Effect.gen(function* () {
      const { url } = yield* serve()
      const failed = yield* call(`${url}/items/teapot`, json("PUT", null))
      expect([failed.status, JSON.parse(failed.body)]).toEqual([418, { _tag: "Teapot", error: "short and stout" }])
    })
  )

  it.scoped("decodes headers, and sends no body with 304", () =>
    Effect.gen(function* () {
      const { url } = yield* serve()
      const fresh = yield* call(`${url}/items/a`)
      expect([fresh.status, fresh.body]).toEqual([200, '{"name":"a"}'])
      const same = yield* call(`${url}/items/a`, { headers: { "if-none-match": '"1"' } })
      expect([same.status, same.headers.get("etag"), same.body]).toEqual([304, '"1"', ""])
    })
  )

  it.scoped("takes a request with and without an optional body", () =>
    Effect.gen(function* () {
      const { url } = yield* serve()
      const without = yield* call(`${url}/items/a/stop`, { method: "POST" })
      expect([without.status, without.body]).toEqual([200, '{"force":null}'])
      const withBody = yield* call(`${url}/items/a/stop`, json("POST", { force: true }))
      expect([withBody.status, withBody.body]).toEqual([200, '{"force":true}'])
      const wrong = yield* call(`${url}/items/a/stop`, json("POST", { force: 1 }))
      expect(wrong.status).toBe(400)
    })
  )

  it.scopedLive("interrupts a handler whose client disconnects, by the library's client-abort fiber id", () =>
    Effect.gen(function* () {
      const { ended, started, url } = yield* serve()
      yield* disconnectAfter(`${url}/items/a/slow`, "POST", Deferred.await(started))
      const interruptors = Exit.match(yield* Deferred.await(ended), {
        onFailure: (cause) => Array.from(Cause.interruptors(cause)),
        onSuccess: () => []
      })
      expect(interruptors).toContainEqual(HttpServerError.clientAbortFiberId)
    })
  )

  it.scopedLive("lets an uninterruptible handler finish, even while the server stops", () =>
    Effect.gen(function* () {
      const { ended, proceed, started, stop, url } = yield* serve(true)
      yield* disconnectAfter(`${url}/items/a/slow`, "POST", Deferred.await(started))
      const stopped = yield* Effect.fork(stop)
      yield* Effect.sleep("100 millis")
      expect(yield* Deferred.poll(ended)).toEqual(Option.none())
      expect(stopped.unsafePoll()).toBeNull()
      yield* Deferred.succeed(proceed, undefined)
      expect(yield* Deferred.await(ended)).toEqual(Exit.void)
      yield* stopped
    })
  )

  it.scopedLive("lets an uninterruptible handler finish that began while the server stops", () =>
    Effect.gen(function* () {
      const { ended, proceed, started, stop, url } = yield* serve(true)
      const socket = yield* openSocket(url)
      // The head is not complete when the server stops, so that the drain waits for it.
      socket.write(`POST /items/a/slow HTTP/1.1\r\nHost: ${new URL(url).host}\r\n`)
      yield* Effect.sleep("50 millis")
      const stopped = yield* Effect.fork(stop)
      yield* Effect.sleep("50 millis")
      socket.write("\r\n")
      yield* Deferred.await(started)
      socket.destroy()
      yield* Effect.sleep("100 millis")
      expect(stopped.unsafePoll()).toBeNull()
      yield* Deferred.succeed(proceed, undefined)
      yield* stopped
      expect(yield* Deferred.poll(ended)).toEqual(Option.some(Exit.succeed(Exit.void)))
    })
  )

  it.scoped("stops within 10 seconds though an uninterruptible handler never finishes", () =>
    Effect.gen(function* () {
      const { ended, started, stop, url } = yield* serve(true)
      yield* disconnectAfter(`${url}/items/a/slow`, "POST", Deferred.await(started))
      const stopped = yield* Effect.fork(stop)
      while (stopped.unsafePoll() === null) {
        yield* TestClock.adjust("10 seconds")
        yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
      }
      expect(yield* Deferred.poll(ended)).toEqual(Option.none())
    })
  )

  it.scopedLive("interrupts a long-lived handler whose client disconnects", () =>
    Effect.gen(function* () {
      const { ended, url } = yield* serve()
      yield* disconnectAfter(`${url}/items/a/wait`, "GET", Effect.sleep("100 millis"))
      expect(Exit.isInterrupted(yield* Deferred.await(ended))).toBe(true)
    })
  )

  it.scopedLive("ends long-lived handlers with 503 at once when the server stops", () =>
    Effect.gen(function* () {
      const { ended, stop, url } = yield* serve()
      const waiting = yield* Effect.fork(call(`${url}/items/a/wait`))
      yield* Effect.sleep("100 millis")
      yield* stop
      const answer = yield* waiting
      expect([answer.status, JSON.parse(answer.body)]).toEqual([
        503,
        { _tag: "Overloaded", error: "nexusd is stopping; try again later" }
      ])
      expect(answer.headers.get("retry-after")).toBe("1")
      expect(Exit.isInterrupted(yield* Deferred.await(ended))).toBe(true)
    })
  )

  it.scopedLive("counts 2,000 long-lived requests apart from others", () =>
    Effect.gen(function* () {
      const { proceed, url, waits } = yield* serve()
      const { host } = new URL(url)
      // Pipelined on a few connections.
      const request = `GET /items/a/wait HTTP/1.1\r\nHost: ${host}\r\n\r\n`
      const sockets = yield* Effect.all(Array.from({ length: 20 }, () => openSocket(url)))
      for (const socket of sockets) socket.write(request.repeat(100))
      yield* until(() => waits.length === 2000)
      const refused = yield* call(`${url}/items/a/wait`)
      expect([refused.status, JSON.parse(refused.body)]).toEqual([
        503,
        {
          _tag: "Overloaded",
          error: "2000 requests that take long are under way; try again later"
        }
      ])
      expect((yield* call(`${url}/events`)).status).toBe(503)
      expect((yield* call(`${url}/items/a`)).status).toBe(200)
      yield* Deferred.succeed(proceed, undefined)
      yield* until(() => sockets.every((socket) => socket.bytesRead > 100 * "HTTP/1.1 200 OK".length))
      expect((yield* call(`${url}/items/a/wait`)).status).toBe(200)
    })
  )

  it.scopedLive("does not count the connections of long-lived requests as others", () =>
    Effect.gen(function* () {
      const { url, waits } = yield* serve(false, { maxConnections: 1 })
      const { host } = new URL(url)
      const sockets: Array<Net.Socket> = []
      for (const _ of [1, 2, 3]) {
        const socket = yield* openSocket(url)
        sockets.push(socket)
        socket.write(`GET /items/a/wait HTTP/1.1\r\nHost: ${host}\r\n\r\n`)
        yield* until(() => waits.length === sockets.length)
      }
      expect((yield* call(`${url}/items/a`, { headers: { connection: "close" } })).status).toBe(200)
      const idle = yield* openSocket(url)
      const over = yield* openSocket(url)
      yield* until(() => over.closed)
      for (const socket of sockets) socket.destroy()
      idle.destroy()
      yield* Effect.sleep("100 millis")
      yield* openSocket(url)
      const stillOver = yield* openSocket(url)
      yield* until(() => stillOver.closed)
    })
  )

  it.scopedLive("ends an endless response when its client disconnects", () =>
    Effect.gen(function* () {
      const { ended, url } = yield* serve()
      const controller = new AbortController()
      const response = yield* Effect.promise(() => fetch(`${url}/events`, { signal: controller.signal }))
      expect(response.headers.get("content-type")).toBe("text/event-stream")
      controller.abort()
      expect(Exit.isInterrupted(yield* Deferred.await(ended))).toBe(true)
    })
  )

  it.scopedLive("cuts an endless response off when the server stops, so that it does not seem whole", () =>
    Effect.gen(function* () {
      const { stop, url } = yield* serve()
      const response = yield* Effect.promise(() => fetch(`${url}/events`))
      const reader = response.body?.getReader()
      const first = yield* Effect.promise(async () => reader?.read())
      expect(Buffer.from(first?.value ?? []).toString()).toBe("event: ready\n\n")
      yield* stop
      const next = yield* Effect.either(Effect.tryPromise(async () => reader?.read()))
      expect(next._tag).toBe("Left")
    })
  )

  it.effect("fails at start when a definition has what it does not support", () =>
    Effect.gen(function* () {
      const items = HttpApiGroup.make("items").add(
        HttpApiEndpoint.get("get", "/items").addSuccess(Schema.Struct({ at: Schema.Date }))
      )
      const api = HttpApi.make("unsupported").add(items)
      const server = HttpApiServer.layer(api, { address: { host: "127.0.0.1", port: 0 } }).pipe(
        Layer.provide(
          HttpApiServer.group(api, "items", (group) =>
            Effect.succeed(group.handle("get", () => Effect.succeed({ at: new Date() })))
          )
        )
      )
      const cause = yield* Effect.flip(Effect.sandbox(Layer.launch(server)))
      expect(String(Cause.squash(cause))).toContain("endpoint get has a success with another shape as JSON")
    })
  )

  it("does not compile without all handlers of a group", () => {
    HttpApiServer.group(Api, "items", (group) =>
      // @ts-expect-error: four endpoints have no handler
      Effect.succeed(group.handle("stop", () => Effect.succeed({ force: null })))
    )
  })
})
