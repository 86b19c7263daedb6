/** The URLs that a collector takes spans and log entries at, where the environment names one. */
export interface OtlpEndpoints {
  readonly traces: string | undefined
  readonly logs: string | undefined
}

/**
 * The variable of the signal, else `OTEL_EXPORTER_OTLP_ENDPOINT` and the signal's path (OpenTelemetry Protocol Exporter,
 * "Endpoint URLs for OTLP/HTTP").
 */
export const otlpEndpoints = (): OtlpEndpoints => {
  const all = process.env["OTEL_EXPORTER_OTLP_ENDPOINT"]
  const endpoint = (signal: "traces" | "logs") =>
    process.env[`OTEL_EXPORTER_OTLP_${signal.toUpperCase()}_ENDPOINT`] ||
    (all ? `${all.replace(/\/$/, "")}/v1/${signal}` : undefined)
  return { traces: endpoint("traces"), logs: endpoint("logs") }
}
