/**
 * Where spans are to be sent, if anywhere (OpenTelemetry Protocol Exporter, "Endpoint URLs for OTLP/HTTP"): the address
 * for traces as it stands, else `/v1/traces` below the one for every signal.
 */
export const tracesEndpoint = (): string | undefined => {
  const { OTEL_EXPORTER_OTLP_ENDPOINT: all, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: traces } = process.env
  return traces || (all ? `${all.replace(/\/$/, "")}/v1/traces` : undefined)
}
