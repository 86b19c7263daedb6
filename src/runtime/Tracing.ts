import * as OtlpSerialization from "@effect/opentelemetry/OtlpSerialization"
import * as OtlpTracer from "@effect/opentelemetry/OtlpTracer"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as Layer from "effect/Layer"
import { version } from "../domain/Version.js"

/** Exports spans as OTLP/HTTP with JSON. When the program stops, the remaining spans are sent within 3 s. */
export const layer = (url: string) =>
  OtlpTracer.layer({
    url,
    resource: { serviceName: "nexusd", serviceVersion: version },
    exportInterval: "1 second"
  }).pipe(Layer.provide([OtlpSerialization.layerJson, NodeHttpClient.layer]))
