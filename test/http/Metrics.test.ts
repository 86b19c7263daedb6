import { expect, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { parseMetrics, type Series, valueOf } from "../support/PrometheusText.js"
import { record } from "../support/Records.js"
import { jsonOf, send, TestServer } from "../support/TestServer.js"

const token = "a-token-of-this-test"
const authorization = `Bearer ${token}`

const scrape = Effect.map(send({ path: "/metrics", headers: { authorization } }), ({ body }) => parseMetrics(body))

const requestsOf = (series: ReadonlyArray<Series>, labels: Series["labels"]) =>
  valueOf(series, "nexus_http_requests_total", labels) ?? 0

const initial = [
  record("web", { cid: 3, role: "work", state: "running" }),
  record("db", { cid: 4, role: "service", state: "stopped" }),
  record("alien", { cid: 5, role: "of another daemon", state: "hibernating" }),
  record("other", { cid: 6, role: "of a third", state: "asleep" })
]

layer(TestServer.layer({ initial, listener: { token } }), { excludeTestServices: true })("probes and metrics", (it) => {
  it.effect("/livez and /readyz need no token, /metrics does", () =>
    Effect.gen(function* () {
      for (const path of ["/livez", "/readyz"]) {
        for (const method of ["GET", "HEAD"]) expect(yield* send({ method, path })).toMatchObject({ status: 200 })
        expect(jsonOf(yield* send({ path }))).toEqual({ status: "ok" })
        expect(yield* send({ path: `${path}?verbose` })).toMatchObject({ status: 400 })
        expect(yield* send({ method: "POST", path })).toMatchObject({ status: 401 })
      }
      expect(yield* send({ path: "/metrics" })).toMatchObject({ status: 401 })
      expect(yield* send({ path: "/metrics", headers: { authorization } })).toMatchObject({
        status: 200,
        headers: { "content-type": "text/plain; version=0.0.4; charset=utf-8" }
      })
    })
  )

  it.effect("foreign hosts and origins are refused, with or without a token", () =>
    Effect.gen(function* () {
      for (const path of ["/livez", "/readyz", "/metrics"]) {
        for (const headers of [{ host: "evil.example" }, { origin: "http://evil.example" }]) {
          expect(yield* send({ path, headers: { ...headers, authorization } })).toMatchObject({ status: 403 })
        }
      }
    })
  )

  it.effect("/metrics counts VMs by role and state, words of other daemons under one label", () =>
    Effect.gen(function* () {
      const series = yield* scrape
      const vms = series.filter(({ name }) => name === "nexus_vms")
      expect(vms).toHaveLength(4 * 6)
      expect(vms.filter(({ value }) => value > 0).map(({ labels, value }) => ({ ...labels, value }))).toEqual([
        { role: "work", state: "running", value: 1 },
        { role: "service", state: "stopped", value: 1 },
        { role: "other", state: "other", value: 2 }
      ])
      expect(valueOf(series, "nexus_build_info", { version: "0.1.0", node_version: process.version })).toBe(1)
      expect(valueOf(series, "nexus_database_up")).toBe(1)
    })
  )

  it.effect("requests are counted by method, route and status, and timed", () =>
    Effect.gen(function* () {
      const route = "/v1/vms/{nameOrId}"
      const before = yield* scrape
      const headers = { authorization }
      for (const path of ["/v1/vms/web", "/v1/vms/db", "/v1/vms/ghost"]) yield* send({ path, headers })
      yield* send({ method: "HEAD", path: "/v1/vms/web", headers })
      const after = yield* scrape
      const difference = (labels: Series["labels"]) => requestsOf(after, labels) - requestsOf(before, labels)
      expect(difference({ method: "GET", route, status: "200" })).toBe(2)
      expect(difference({ method: "GET", route, status: "404" })).toBe(1)
      expect(difference({ method: "HEAD", route, status: "200" })).toBe(1)
      const timed = (series: ReadonlyArray<Series>, le: string) =>
        valueOf(series, "nexus_http_request_duration_seconds_bucket", { method: "GET", route, le }) ?? 0
      expect(timed(after, "+Inf") - timed(before, "+Inf")).toBe(3)
      expect(timed(after, "0.0005")).toBeLessThanOrEqual(timed(after, "10"))
      // The scrape itself.
      expect(valueOf(after, "nexus_http_requests_in_flight", { kind: "ordinary" })).toBe(1)
      expect(valueOf(after, "nexus_http_requests_in_flight", { kind: "long_lived" })).toBe(0)
    })
  )

  it.effect("unknown routes and methods, and what was refused, share labels", () =>
    Effect.gen(function* () {
      const headers = { authorization }
      const before = yield* scrape
      for (const path of ["/nowhere", "/v2/vms", "/v1/vms/web/explode", "/%00"]) yield* send({ path, headers })
      for (const method of ["PROPFIND", "MKCOL", "PURGE"]) yield* send({ method, path: "/v1/vms", headers })
      yield* send({ path: "/v1/vms" })
      const after = yield* scrape
      const difference = (labels: Series["labels"]) => requestsOf(after, labels) - requestsOf(before, labels)
      expect(difference({ method: "GET", route: "none", status: "404" })).toBe(4)
      expect(difference({ method: "other", route: "none", status: "405" })).toBe(3)
      expect(difference({ method: "GET", route: "none", status: "401" })).toBe(1)
      const labels = new Set(after.map(({ labels: { method, route } }) => `${method} ${route}`))
      for (const text of ["nowhere", "explode", "PROPFIND", "web"]) {
        expect(Array.from(labels).filter((label) => label.includes(text))).toEqual([])
      }
    })
  )

  it.effect("a store that can't serve makes /readyz a 503 without its reason, and /metrics goes on", () =>
    Effect.gen(function* () {
      const { storeIs } = yield* TestServer
      yield* storeIs("unavailable")
      const answer = yield* Effect.repeat(send({ path: "/readyz" }), { until: ({ status }) => status === 503 })
      expect(jsonOf(answer)).toEqual({
        _tag: "NotReady",
        error: "the store can't serve; GET /v1/health says why"
      })
      expect(yield* send({ path: "/livez" })).toMatchObject({ status: 200 })
      const series = yield* scrape
      expect(valueOf(series, "nexus_database_up")).toBe(0)
      expect(series.filter(({ name }) => name === "nexus_vms" || name === "nexus_database_size_bytes")).toEqual([])
      yield* storeIs("healthy")
      yield* Effect.repeat(send({ path: "/readyz" }), { until: ({ status }) => status === 200 })
      expect(valueOf(yield* scrape, "nexus_database_up")).toBe(1)
    })
  )
})
