import { appendFileSync } from "node:fs"
import { createServer } from "node:http"
import { join } from "node:path"
import { describe, expect, it } from "vitest"
import { type DaemonOptions, startDaemon } from "../support/Daemon.js"
import { type AtEnd, makeHome } from "../support/Home.js"
import { call, sendRequest } from "../support/HttpJson.js"
import { listen } from "../support/LocalServer.js"
import { hasPostgres, needsPostgres, Server } from "../support/PostgresCluster.js"
import { createVm } from "../support/VmCalls.js"

interface Span {
  readonly name: string
  readonly kind: number
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly attributes: ReadonlyArray<{
    readonly key: string
    readonly value: { readonly stringValue?: string; readonly intValue?: number; readonly doubleValue?: number }
  }>
}

interface LogRecord extends Pick<Span, "attributes"> {
  readonly severityText: string
  readonly body: { readonly stringValue?: string }
  readonly traceId?: string
  readonly spanId?: string
}

interface Export {
  readonly resourceSpans?: ReadonlyArray<{
    readonly resource: { readonly attributes: Span["attributes"] }
    readonly scopeSpans: ReadonlyArray<{ readonly spans: ReadonlyArray<Span> }>
  }>
  readonly resourceLogs?: ReadonlyArray<{
    readonly resource: { readonly attributes: Span["attributes"] }
    readonly scopeLogs: ReadonlyArray<{ readonly logRecords: ReadonlyArray<LogRecord> }>
  }>
}

/** A collector of OpenTelemetry's, as much of one as takes spans and log entries over HTTP. */
const startCollector = async (atEnd: AtEnd) => {
  const received: Array<{ readonly path: string | undefined; readonly body: Export }> = []
  const server = createServer(async (request, response) => {
    const parts = await request.toArray()
    received.push({ path: request.url, body: JSON.parse(Buffer.concat(parts).toString("utf8")) })
    response.end("{}")
  })
  const { address } = await listen(server, atEnd)
  const resourceSpans = () => received.flatMap(({ body }) => body.resourceSpans ?? [])
  const resourceLogs = () => received.flatMap(({ body }) => body.resourceLogs ?? [])
  return {
    url: `http://${address}`,
    received,
    resourceSpans,
    resourceLogs,
    spans: () => resourceSpans().flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans)),
    logs: () => resourceLogs().flatMap(({ scopeLogs }) => scopeLogs.flatMap(({ logRecords }) => logRecords))
  }
}

const valueOf = ({ attributes }: { readonly attributes: Span["attributes"] }, name: string) => {
  const value = attributes.find(({ key }) => key === name)?.value
  return value?.stringValue ?? Number(value?.intValue ?? value?.doubleValue)
}

describe.concurrent("tracing", () => {
  it("sends a span for each request to the endpoint in the environment", async ({ onTestFinished }) => {
    const collector = await startCollector(onTestFinished)
    const daemon = await startDaemon(makeHome(onTestFinished), {
      env: { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url }
    })
    const traceId = "0af7651916cd43dd8448eb211c80319c"
    await createVm(daemon, "web")
    await fetch(`${daemon.url}/v1/vms/web`, { headers: { traceparent: `00-${traceId}-b7ad6b7169203331-01` } })
    await call(daemon, "GET", "/v1/vms/ghost")
    await call(daemon, "GET", "/nowhere")
    const { code } = await daemon.stop()
    expect(code).toBe(0)

    expect(collector.received.map(({ path }) => path)).toContain("/v1/traces")
    const resource = collector.resourceSpans()[0]?.resource
    expect(resource && valueOf(resource, "service.name")).toBe("nexusd")
    const seen = collector
      .spans()
      .map((span) => [span.name, valueOf(span, "url.path"), valueOf(span, "http.response.status_code")])
    expect(seen).toEqual(
      expect.arrayContaining([
        ["POST /v1/vms", "/v1/vms", 201],
        ["GET /v1/vms/{nameOrId}", "/v1/vms/web", 200],
        ["GET /v1/vms/{nameOrId}", "/v1/vms/ghost", 404],
        ["GET", "/nowhere", 404]
      ])
    )
    expect(collector.spans().find((span) => valueOf(span, "url.path") === "/v1/vms/web")).toMatchObject({
      kind: 2,
      traceId,
      parentSpanId: "b7ad6b7169203331"
    })
  })

  /** Checks the spans of some calls of a daemon: the request, the store call and its SQL statement. */
  const expectSpans = async (atEnd: AtEnd, system: string, options: DaemonOptions = {}) => {
    const collector = await startCollector(atEnd)
    const daemon = await startDaemon(makeHome(atEnd), {
      ...options,
      env: { ...options.env, OTEL_EXPORTER_OTLP_ENDPOINT: collector.url }
    })
    await createVm(daemon, "web")
    await call(daemon, "GET", "/v1/vms/web")
    await call(daemon, "GET", "/v1/vms?limit=2")
    await call(daemon, "DELETE", "/v1/vms/web")
    await daemon.stop()

    const spans = collector.spans()
    const chains = spans
      .filter(({ name }) => name === "sql.execute")
      .map((statement) => {
        const store = spans.find(({ spanId }) => spanId === statement.parentSpanId)
        const request = spans.find(({ spanId }) => spanId === store?.parentSpanId)
        const text = String(valueOf(statement, "db.query.text"))
        const command = ["INSERT", "DELETE", "SELECT"].find((word) => text.includes(word))
        return [request?.name, store?.name, valueOf(statement, "db.system.name"), command]
      })
    expect(chains).toEqual(
      expect.arrayContaining([
        ["POST /v1/vms", "VmStore.create", system, "INSERT"],
        ["GET /v1/vms/{nameOrId}", "VmStore.get", system, "SELECT"],
        ["GET /v1/vms", "VmStore.list", system, "SELECT"],
        ["DELETE /v1/vms/{nameOrId}", "VmStore.delete", system, "DELETE"]
      ])
    )
  }

  it("shows the request, the store call and the SQL statement, one inside the other", ({ onTestFinished }) =>
    expectSpans(onTestFinished, "sqlite"))

  it.skipIf(!hasPostgres)(`does so over PostgreSQL${needsPostgres}`, async ({ onTestFinished }) => {
    const server = await Server.create(onTestFinished)
    await expectSpans(onTestFinished, "postgresql", {
      env: { NEXUS_DATABASE_URL: server.url(await server.database()) }
    })
  })

  it("sends log entries too, with the ids of the request, its trace and its span", async ({ onTestFinished }) => {
    const collector = await startCollector(onTestFinished)
    const home = makeHome(onTestFinished)
    const daemon = await startDaemon(home, { env: { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url } })
    await createVm(daemon, "web")
    // A file that is not a whole number of pages counts as damaged.
    appendFileSync(join(home.path, "state/nexus/nexus.db"), "x")
    const traceId = "0af7651916cd43dd8448eb211c80319c"
    const { headers, status } = await sendRequest(daemon, "GET", "/v1/vms/web", {
      headers: { traceparent: `00-${traceId}-b7ad6b7169203331-01` }
    })
    expect(status).toBe(503)
    await daemon.stop()

    const resource = collector.resourceLogs()[0]?.resource
    expect(resource && valueOf(resource, "service.name")).toBe("nexusd")
    const entries = collector.logs().map(({ body, severityText }) => `${severityText} ${body.stringValue}`)
    expect(entries).toContainEqual(expect.stringMatching(/^INFO nexusd .* listening on http/))
    const damage = collector.logs().find(({ body }) => body.stringValue?.includes("was cut short"))
    expect(damage).toMatchObject({ severityText: "ERROR", traceId })
    expect(damage && valueOf(damage, "request_id")).toBe(headers["x-request-id"])
    const span = collector.spans().find(({ spanId }) => spanId === damage?.spanId)
    expect(span).toMatchObject({ name: "VmStore.get", traceId })
    // Stderr has the same.
    expect(daemon.said.stderr).toContain("was cut short")
  })

  it("sends what the environment names an endpoint for alone", async ({ onTestFinished }) => {
    const collector = await startCollector(onTestFinished)
    const daemon = await startDaemon(makeHome(onTestFinished), {
      env: { OTEL_EXPORTER_OTLP_LOGS_ENDPOINT: `${collector.url}/logs` }
    })
    await createVm(daemon, "web")
    await daemon.stop()
    expect(new Set(collector.received.map(({ path }) => path))).toEqual(new Set(["/logs"]))
    expect(collector.spans()).toEqual([])
  })

  it("serves and stops as usual without a collector", async ({ onTestFinished }) => {
    const daemon = await startDaemon(makeHome(onTestFinished), {
      env: { OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:1" }
    })
    await createVm(daemon, "web")
    expect((await daemon.stop()).code).toBe(0)
  })
})
