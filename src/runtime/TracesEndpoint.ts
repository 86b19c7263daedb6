/**
 * The URL that spans are sent to, or `undefined`: `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, else
 * `OTEL_EXPORTER_OTLP_ENDPOINT` and `/v1/traces` (OpenTelemetry Protocol Exporter, "Endpoint URLs for OTLP/HTTP").
 */
export const tracesEndpoint = (): string | undefined => {
  const { OTEL_EXPORTER_OTLP_ENDPOINT: all, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: traces } = process.env
  return traces || (all ? `${all.replace(/\/$/, "")}/v1/traces` : undefined)
}
