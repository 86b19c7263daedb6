import * as OtlpSerialization from "@effect/opentelemetry/OtlpSerialization"
import * as OtlpTracer from "@effect/opentelemetry/OtlpTracer"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as Layer from "effect/Layer"
import { version } from "../domain/Version.js"

/** Sends spans to a collector, as OTLP over HTTP in JSON; what is left when the program stops goes out within 3 s. */
export const layer = (url: string) =>
  OtlpTracer.layer({
    url,
    resource: { serviceName: "nexusd", serviceVersion: version },
    exportInterval: "1 second"
  }).pipe(Layer.provide([OtlpSerialization.layerJson, NodeHttpClient.layer]))
