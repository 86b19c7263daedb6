import { createServer } from "node:http"
import { describe, expect, it } from "vitest"
import { type DaemonOptions, startDaemon } from "../support/Daemon.js"
import { type AtEnd, makeHome } from "../support/Home.js"
import { call } from "../support/HttpJson.js"
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

interface Export {
  readonly resourceSpans: ReadonlyArray<{
    readonly resource: { readonly attributes: Span["attributes"] }
    readonly scopeSpans: ReadonlyArray<{ readonly spans: ReadonlyArray<Span> }>
  }>
}

/** A collector of OpenTelemetry's, as much of one as takes spans over HTTP. */
const startCollector = async (atEnd: AtEnd) => {
  const received: Array<{ readonly path: string | undefined; readonly body: Export }> = []
  const server = createServer(async (request, response) => {
    const parts = await request.toArray()
    received.push({ path: request.url, body: JSON.parse(Buffer.concat(parts).toString("utf8")) })
    response.end("{}")
  })
  const { address } = await listen(server, atEnd)
  const spans = () =>
    received.flatMap(({ body }) => body.resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap((s) => s.spans)))
  return { url: `http://${address}`, received, spans }
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
    const resource = collector.received[0]?.body.resourceSpans[0]?.resource
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

  it("serves and stops as usual without a collector", async ({ onTestFinished }) => {
    const daemon = await startDaemon(makeHome(onTestFinished), {
      env: { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "http://127.0.0.1:1/v1/traces" }
    })
    await createVm(daemon, "web")
    expect((await daemon.stop()).code).toBe(0)
  })
})
